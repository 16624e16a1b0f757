"""`jaxcurate score`: a corpus and methods to a score table."""

import argparse
from collections.abc import Callable, Sequence
import functools
import hashlib
from typing import Any

import jax

from jaxcurate.cli import flags as flags_lib
from jaxcurate.cli import (
  gin_files,
  score_cascade,
  score_methods,
  score_report,
)
from jaxcurate.cli import inputs as inputs_lib
from jaxcurate.data import readers
from jaxcurate.io import atomic
from jaxcurate.io.errors import UserError
from jaxcurate.models import mesh as mesh_lib
from jaxcurate.scoring import engine, fitting
from jaxcurate.scoring import run as scoring
from jaxcurate.types import Scorer

# Rows packed together: enough for full batches, few enough to commit often.
_CPU_BLOCK, _ACCELERATOR_BLOCK = 512, 4096


def main(
  flags: argparse.Namespace, bindings: Sequence[str], command: Sequence[str]
) -> None:
  """Parses the run and scores."""
  flags_lib.parse_run(
    flags, 'score', bindings, kind='scorers', methods=flags.method
  )
  gin_files.call(run, command=command)


def run(
  *,
  inputs: Sequence[str],
  output: str,
  methods: Sequence[Callable[..., Scorer]],
  model: str = 'judge',
  vocabulary: str | None = None,
  template: Sequence[str] = (),
  anchors: Sequence[str] = (),
  targets: str | None = None,
  reference: str | None = None,
  exclude_anchors: bool = False,
  fitted: str | None = None,
  cascade: str | None = None,
  band: str | None = None,
  by: str | None = None,
  audit: int = 500,
  sample_documents: int = 2000,
  seed: int = 0,
  format: str | None = None,
  task: str | None = None,
  task_module: str | None = None,
  split: str = 'train',
  text_field: str = 'text',
  id_field: str = 'id',
  domain_field: str = 'domain',
  on_bad_row: str = 'stop',
  turns: bool = False,
  mesh: str | None = None,
  dtype: str | None = None,
  block_rows: int | None = None,
  rows_per_batch: int | None = None,
  chunk_seconds: float = engine.CHUNK_SECONDS,
  command: Sequence[str] = (),
) -> None:
  """Scores a corpus with all methods in as few passes as they share.

  Args:
    inputs: globs, files, folders or URLs.
    output: folder of the table.
    methods: `make` functions of scorers.
    model: checkpoint folder, 'judge' or 'hf:owner/name'.
    vocabulary: spiece.model or 'bytes'; None for the model's own.
    template: prompt files for ask_llm, see `inputs.read_templates`.
    anchors: a small trusted corpus, for methods that learn from one.
    targets: labels of anchors, by id: a file or a score folder.
    reference: a second model, for methods that compare two.
    exclude_anchors: leave documents out that are among the anchors.
    fitted: score folder whose anchors and fits are used again.
    cascade: score folder of a smaller judge: read only what it is unsure of.
    band: 'LOW,HIGH', what that is; see `scoring.cascade.plan`.
    by: column of that folder, or of `targets`; None for the only one.
    audit: documents read anyway, to compare both judges.
    sample_documents: drawn from the corpus for methods that learn from it.
    seed: of what methods draw and fit.
    format: of the inputs; None goes by the extension.
    task: seqio task instead of inputs, registered by `task_module`.
    split: its split.
    text_field, id_field, domain_field: columns.
    on_bad_row: 'stop' or 'skip'.
    turns: read conversations and instructions as turns.
    mesh: devices of this host, e.g. 'data=4,model=2'.
    dtype: of activations; None chooses by device.
    block_rows: rows packed together; None chooses by device. Part of the
      settings: another value changes scores by rounding.
    rows_per_batch: packed rows per device batch; None chooses by device.
    chunk_seconds: a chunk is committed at the latest after this time.
    command: argv, for the manifest.

  Raises:
    UserError: whatever a user can put right.
  """
  if not methods:
    raise UserError(
      'no method: give --method=NAME, one of'
      f' {", ".join(gin_files.known_methods("scorers"))}'
    )
  devices = mesh_lib.make_mesh(mesh, jax.local_devices())
  loaded = inputs_lib.load_model(
    model, devices, vocabulary=vocabulary, dtype=dtype
  )
  second = None
  if reference is not None:
    second = inputs_lib.load_model(
      reference, devices, vocabulary=vocabulary, dtype=dtype
    )
  open_documents = functools.partial(
    inputs_lib.open_documents,
    format=format,
    split=split,
    text_field=text_field,
    id_field=id_field,
    domain_field=domain_field,
    on_bad_row=on_bad_row,
    turns=turns,
  )
  open_corpus = functools.partial(
    open_documents, inputs=inputs, task=task, task_module=task_module
  )
  trusted = score_methods.trusted(
    functools.partial(open_documents, task=None),
    score_methods.Trusted(anchors, targets, by, fitted, id_field),
  )
  scorers = score_methods.make_scorers(
    methods,
    score_methods.Given(
      loaded,
      trusted,
      second,
      lambda: score_methods.sample_documents(
        open_corpus(), sample_documents, seed
      ),
      lambda count: score_methods.total(open_corpus(), count),
      template,
    ),
  )
  columns = {s.features.column for s in scorers if s.features.column}
  if len(columns) > 1:
    raise UserError(f'methods want several vector columns: {sorted(columns)}')
  corpus = open_corpus(vector_field=next(iter(columns), None))
  used = by if cascade or not targets else None  # else --targets has used it
  plan = score_cascade.open_cascade(
    cascade, band, used, scorers=scorers, audit=audit, seed=seed
  )
  on_cpu = jax.default_backend() == 'cpu'
  block_rows = block_rows or (_CPU_BLOCK if on_cpu else _ACCELERATOR_BLOCK)
  names = [column for scorer in scorers for column in scorer.columns]
  cost = _flops_per_token(scorers, loaded, second)
  print(
    f'scoring {", ".join(names)} with {model}'
    f' ({loaded.num_params / 1e6:.1f} M parameters) over'
    f' {len(corpus.sources)} file(s) on {devices.size} {jax.default_backend()}'
    f' device(s); about {cost:.2g} floating-point operations per'
    ' token',
    flush=True,
  )
  settings = {
    **_settings(methods, loaded, corpus, template, dtype),
    'anchors': score_methods.digest(trusted),
    'exclude_anchors': exclude_anchors,
    'turns': turns,
    'reference': reference,
  }
  if any(scorer.fit for scorer in scorers):
    settings['seed'] = seed
    settings['sample_documents'] = sample_documents
    if fitted is None and trusted:
      print(
        f'learning from {len(trusted)} trusted documents, once: kept in'
        f' {output}/{fitting.FOLDER}',
        flush=True,
      )
  bar, stop_counting = inputs_lib.progress_bar(corpus, block_rows, 'score')

  def show(progress: engine.Progress) -> None:
    bar.update(progress.documents - bar.n)
    rate = progress.tokens / max(bar.format_dict['elapsed'], 1e-9)
    bar.set_postfix_str(f'{rate:,.0f} tokens/s')

  try:
    manifest = scoring.score(
      corpus=corpus,
      scorers=scorers,
      vocabulary=loaded.vocabulary,
      params=loaded.params,
      mesh=devices,
      output=output,
      settings=settings,
      command=command,
      second=second.params if second else None,
      anchors=trusted,
      exclude_anchors=exclude_anchors,
      reuse=fitted,
      cascade=plan,
      seed=seed,
      block_rows=block_rows,
      rows_per_batch=rows_per_batch,
      chunk_seconds=chunk_seconds,
      on_progress=show,
    )
    bar.total = bar.n  # counted, where the estimate was by blocks
  finally:
    stop_counting()
    bar.close()
  if jax.process_index() == 0:
    atomic.write_text(f'{output}/config.gin', gin_files.resolved())
    score_report.report(manifest, names, output)


def _flops_per_token(
  scorers: Sequence[Scorer],
  loaded: inputs_lib.Loaded,
  second: inputs_lib.Loaded | None,
) -> float:
  """The usual estimate, 2 * parameters per read token, over distinct passes."""
  beside = second.num_params if second else 0
  params = {
    s.features.name: s.features.reads * loaded.num_params + s.second * beside
    for s in scorers
    if s.features.column is None
  }
  return 2.0 * sum(params.values())


def _settings(
  methods: Sequence[Callable[..., Scorer]],
  loaded: inputs_lib.Loaded,
  corpus: readers.Corpus,
  template: Sequence[str],
  dtype: str | None,
) -> dict[str, Any]:
  """Everything that decides the scores, for the manifest and for resuming."""
  modules = [make.__module__.rpartition('.')[2] for make in methods]
  digest = hashlib.blake2b(digest_size=8)
  for text in inputs_lib.read_templates(template).values():
    digest.update(text.encode())
  return {
    'model': loaded.name,
    'num_params': loaded.num_params,
    'dtype': dtype or 'default',
    'methods': modules,
    'templates': digest.hexdigest() if template else None,
    'fields': list(corpus.fields),
    'on_bad_row': corpus.on_bad_row,
    'files': [source.name for source in corpus.sources],
    **gin_files.settings(modules),
  }
