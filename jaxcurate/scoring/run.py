"""From a corpus to a finished score table: passes, summaries, manifest.

Every step can be repeated: chunks are skipped when they are there, the
manifest is written last and says that the table is whole.
"""

from collections.abc import Callable, Mapping, Sequence
import functools
import time
from typing import Any

from etils import epath
import jax

from jaxcurate.data import duplicates, readers
from jaxcurate.io import hosts, tables
from jaxcurate.io import manifest as manifests
from jaxcurate.io.errors import UserError
from jaxcurate.scoring import cascade as cascades
from jaxcurate.scoring import (
  cascade_table,
  chunks,
  engine,
  excerpts,
  fitting,
  summaries,
)
from jaxcurate.scoring import parts as parts_lib
from jaxcurate.types import Document, Scorer, Vocabulary


def score(
  *,
  corpus: readers.Corpus,
  scorers: Sequence[Scorer],
  vocabulary: Vocabulary,
  params: Any,
  mesh: jax.sharding.Mesh,
  output: epath.PathLike,
  settings: Mapping[str, Any],
  command: Sequence[str] = (),
  second: Any = None,
  anchors: Sequence[Document] = (),
  exclude_anchors: bool = False,
  reuse: str | None = None,
  cascade: cascades.Cascade | None = None,
  seed: int = 0,
  block_rows: int = 1024,
  rows_per_batch: int | None = None,
  chunk_seconds: float = engine.CHUNK_SECONDS,
  on_progress: Callable[[engine.Progress], object] = lambda progress: None,
) -> dict[str, Any]:
  """Scores a corpus into `output`, continuing whatever is there.

  Args:
    corpus: the documents.
    scorers: methods; their column names must differ.
    vocabulary: for `num_tokens` and for every pass.
    params: network parameters on the mesh.
    mesh: axes 'data' and 'model' over this host's devices.
    output: folder of the table.
    settings: all that decides the scores, JSON-able; recorded, and refused
      when it differs from what the folder was begun with.
    command: argv, for the manifest.
    second: parameters of a second network on the mesh, for methods that
      compare two.
    anchors: what the methods learn from; kept beside their fits.
    exclude_anchors: skip documents of the corpus that are anchors too.
    reuse: score folder whose fits are taken instead of fitting, or None.
    cascade: leave documents to a smaller judge's table, or None.
    seed: of what methods fit.
    block_rows, rows_per_batch, chunk_seconds, on_progress: see
      `engine.score_corpus`.

  Returns:
    The manifest.

  Raises:
    UserError: bad input, other settings, duplicate ids, an empty corpus.
  """
  output = epath.Path(output)
  shard, num_shards = jax.process_index(), jax.process_count()
  units = _units(scorers)
  settings = {**settings, 'columns': units, 'block_rows': block_rows}
  choose = None
  if cascade is not None:
    cascades.check(scorers)
    settings['cascade'] = cascades.settings(cascade)
    choose = functools.partial(cascades.choose, cascade)
  if manifests.begin(output, 'scores', settings):
    return manifests.read_manifest(output, 'scores')
  started = time.monotonic()
  if shard == 0 and any(scorer.fit for scorer in scorers):
    fitting.write_anchors(output, anchors)
  params_of = fitting.pass_params(
    scorers,
    params,
    second=second,
    mesh=mesh,
    output=output,
    reuse=reuse,
    seed=seed,
  )
  has_summary = any(s.summary is not None for s in scorers)
  in_two = has_summary or cascade is not None
  first = output / engine.SCRATCH if in_two else output
  parts = engine.score_corpus(
    corpus=corpus,
    scorers=scorers,
    vocabulary=vocabulary,
    params=params_of,
    mesh=mesh,
    output=first,
    block_rows=block_rows,
    rows_per_batch=rows_per_batch,
    anchors=anchors,
    exclude_anchors=exclude_anchors,
    choose=choose,
    chunk_seconds=chunk_seconds,
    shard=shard,
    num_shards=num_shards,
    on_progress=on_progress,
  )
  hosts.wait('scored')
  parts = parts_lib.committed(first)
  if not sum(part.num_rows for part in parts):
    skips = chunks.total([part.skipped for part in parts])
    skipped = ', '.join(f'{n} {why}' for why, n in skips.items())
    raise UserError(
      'no document to score: all rows were skipped'
      f' ({skipped}); check --input and --text_field'
    )
  diagnostics, more_flops = {}, {}
  if has_summary:
    diagnostics, more_flops = summaries.finish(
      scratch=first,
      output=output,
      scorers=scorers,
      fitted={
        s.features.name: params_of[s.features.name][1] for s in scorers if s.fit
      },
      shard=shard,
      num_shards=num_shards,
    )
    hosts.wait('summarised')
  if shard == 0:
    if cascade is not None:
      diagnostics['cascade'] = cascade_table.finish(
        cascade, scratch=first, output=output, column=next(iter(units))
      )
      more_flops = {next(iter(units)): cascade.flops}
    _refuse_duplicates(output, parts)
    if anchors:
      diagnostics['anchors'] = chunks.total([part.anchors for part in parts])
    if said := fitting.reports(output, scorers):
      diagnostics['fitted'] = said
    diagnostics['without_score'] = _without_score(output, parts, units)
    found = excerpts.extremes(output, parts, units)
    excerpts.write_excerpts(corpus, found, output, block_rows)
    cost = _flops(parts, scorers, more_flops)
    content = _manifest(
      parts, units, settings, diagnostics, cost, command, corpus, started
    )
    if in_two:
      first.rmtree()
    manifests.write_manifest(output, content)
  hosts.wait('finished')
  return manifests.read_manifest(output, 'scores')


def _units(scorers: Sequence[Scorer]) -> dict[str, str]:
  """Column -> unit over all scorers.

  Raises:
    UserError: two methods write one column.
  """
  units: dict[str, str] = {}
  for scorer in scorers:
    for name, unit in scorer.columns.items():
      if name in units:
        raise UserError(f'two methods write column {name!r}; drop one')
      units[name] = unit
  return units


def _refuse_duplicates(
  output: epath.Path, parts: Sequence[parts_lib.Part]
) -> None:
  """Raises when an id occurs in two rows of the table."""
  runs = output / '.ids'
  for part in parts:
    ids = tables.read_parquet(output / part.name, ['id']).column('id')
    duplicates.write_run(runs, part.name, ids.to_pylist())
  repeated = duplicates.find_duplicates(runs)
  runs.rmtree()
  if repeated:
    for part in parts:
      rows = f'{part.file}:{part.start}-{part.end}'
      repeated = repeated.replace(part.name, rows)
    raise UserError(repeated)


def _without_score(
  output: epath.Path, parts: Sequence[parts_lib.Part], units: Mapping[str, str]
) -> dict[str, int]:
  """Column -> documents without a score there; columns with none left out."""
  missing = dict.fromkeys(units, 0)
  for part in parts:
    table = tables.read_parquet(output / part.name, list(units))
    for name in units:
      missing[name] += table.column(name).null_count
  return {name: count for name, count in missing.items() if count}


def _manifest(
  parts: Sequence[parts_lib.Part],
  units: Mapping[str, str],
  settings: Mapping[str, Any],
  diagnostics: Mapping[str, Any],
  cost: Mapping[str, Any],
  command: Sequence[str],
  corpus: readers.Corpus,
  started: float,
) -> dict[str, Any]:
  """The table's manifest from its parts."""
  slots = sum(part.slots for part in parts)
  padding = 1 - sum(part.tokens for part in parts) / slots if slots else 0.0
  devices = jax.devices()
  return {
    'kind': 'scores',
    'command': list(command),
    'settings': dict(settings),
    'inputs': [source.name for source in corpus.sources],
    'num_rows': sum(part.num_rows for part in parts),
    'columns': dict(units),
    'skipped': chunks.total([part.skipped for part in parts]),
    'cost': {
      **cost,
      'seconds': sum(part.seconds for part in parts),
      'last_run_seconds': time.monotonic() - started,
      'device': f'{devices[0].device_kind} x{len(devices)}',
    },
    'diagnostics': {'padding_share': padding, **diagnostics},
  }


def _flops(
  parts: Sequence[parts_lib.Part],
  scorers: Sequence[Scorer],
  more_flops: Mapping[str, float],
) -> dict[str, Any]:
  """Operations in all, and of each column as if it were scored alone.

  `more_flops`: column -> operations of its summary, or of the judge before.
  """
  passes = chunks.total([part.flops for part in parts])
  columns = {
    column: passes.get(scorer.features.name, 0.0) + more_flops.get(column, 0.0)
    for scorer in scorers
    for column in scorer.columns
  }
  total = sum(passes.values()) + sum(more_flops.values())
  return {'flops': total, 'columns': columns}
