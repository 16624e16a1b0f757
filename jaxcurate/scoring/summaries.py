"""Scorers that first summarise the corpus: fit over the scratch, then score.

The first pass left every document's features in `OUTPUT/.scratch`. Here they
are read back three times, never the text: a keyed sample of documents, the
update of the summary (its state and the chunks it has seen are saved together
on a timer), and the scores. Each host updates over its own chunks; states are
exchanged through the output folder and merged in the same order everywhere.
"""

from collections.abc import Callable, Mapping, Sequence
import io
import json
import time
from types import MappingProxyType
from typing import Any

from etils import epath
import jax
import jax.numpy as jnp
import numpy as np

from jaxcurate.io import atomic, hosts, tables
from jaxcurate.io.errors import UserError
from jaxcurate.ops import flops
from jaxcurate.ops import ids as ids_lib
from jaxcurate.scoring import parts as parts_lib
from jaxcurate.scoring import vectors
from jaxcurate.types import Scorer, Summary

_SAVE_SECONDS = 60.0
_SAMPLE_SEED = 0x5A


def finish(
  *,
  scratch: epath.PathLike,
  output: epath.PathLike,
  scorers: Sequence[Scorer],
  fitted: Mapping[str, Any] = MappingProxyType({}),
  shard: int = 0,
  num_shards: int = 1,
  on_part: Callable[[str, int, int], object] = lambda stage, done, total: None,
) -> tuple[dict[str, Any], dict[str, float]]:
  """Fits every summary and writes the final chunks of this host.

  Args:
    scratch: folder of the first pass's chunks, complete on every host.
    output: folder of the final table.
    scorers: all methods of the run, those without a summary included.
    fitted: name of a pass -> what its scorer's `fit` returned.
    shard, num_shards: this host and how many there are.
    on_part: called with stage, chunks done and chunks in all.

  Returns:
    Column -> the summary's diagnostics, and column -> floating-point
    operations of fitting and scoring it, for the manifest.

  Raises:
    UserError: no document has the features a summary needs.
  """
  parts = parts_lib.committed(scratch)
  own = parts[shard::num_shards]
  states = {}
  for index, scorer in enumerate(scorers):
    if scorer.summary is None:
      continue
    name = scorer.features.name
    init = _initial(scorer.summary, scratch, parts, name, fitted)
    path = epath.Path(scratch) / f'summary-{index}-{shard:05d}.npz'
    state = _fit(scorer.summary, init, scratch, own, name, path, on_part)
    states[index] = _merged(
      scorer.summary, init, state, scratch, index, shard, num_shards
    )
    if scorer.summary.finish is not None:
      states[index] = jax.jit(scorer.summary.finish)(states[index])
  for done, part in enumerate(own):
    if not (epath.Path(output) / part.name).exists():
      _write_part(part, scratch, output, scorers, states)
    on_part('score', done + 1, len(own))
  diagnostics, cost = {}, {}
  for index, state in states.items():
    summary, name = scorers[index].summary, scorers[index].features.name
    assert summary is not None, 'only summaries are fitted'
    for column in scorers[index].columns:
      diagnostics[column] = summary.diagnose(state)
      cost[column] = _cost(summary, name, state, scratch, parts)
  return diagnostics, cost


def _initial(
  summary: Summary,
  scratch: epath.PathLike,
  parts: list[parts_lib.Part],
  name: str,
  fitted: Mapping[str, Any],
) -> Any:
  """The summary's first state, from the documents of smallest keyed hash."""
  if not sum(part.num_rows for part in parts):
    raise UserError(
      f'{scratch}: no document to summarise; is the corpus empty?'
    )
  more = {'fitted': fitted[name]} if name in fitted else {}
  if not summary.sample_size:
    return summary.init(more, sum(part.num_rows for part in parts))
  hashes = np.zeros(0, np.uint64)
  num_documents = 0
  for part in parts:
    path = epath.Path(scratch) / part.name
    own = ids_lib.hash_ids(
      tables.read_parquet(path, ['id']).column('id').to_pylist(), _SAMPLE_SEED
    )
    num_documents += len(own)
    hashes = np.sort(np.concatenate([hashes, own]))[: summary.sample_size]
  found, ids, keys = [], [], []
  for part in parts:
    table = tables.read_parquet(epath.Path(scratch) / part.name, ['id', name])
    own_ids = table.column('id').to_pylist()
    own = ids_lib.hash_ids(own_ids, _SAMPLE_SEED)
    embedding = vectors.from_column(table.column(name))
    known = np.isfinite(embedding).all(axis=1)
    chosen = np.flatnonzero((own <= hashes[-1]) & known)
    if len(chosen):  # a chunk without any vector does not know their width
      found.append(embedding[chosen])
      ids.extend(own_ids[i] for i in chosen)
      keys.append(own[chosen])
  if not ids:
    raise UserError(f'{scratch}: no document has a vector for {name}')
  # Sorted by hash, so that the sample does not depend on the chunks.
  order = np.argsort(np.concatenate(keys), kind='stable')
  features = vectors.features_of(
    np.concatenate(found)[order], [ids[i] for i in order], len(ids)
  )
  return summary.init({**features, **more}, num_documents)


def _fit(
  summary: Summary,
  state: Any,
  scratch: epath.PathLike,
  parts: list[parts_lib.Part],
  name: str,
  path: epath.Path,
  on_part: Callable[[str, int, int], object],
) -> Any:
  """Updates the state over this host's chunks, saved as it goes."""
  if summary.update is None:
    return state
  update = jax.jit(summary.update, donate_argnums=0)
  state, seen = _load(path, state)
  saved = time.monotonic()
  for part in parts:
    if part.name in seen:
      continue
    for _, features in vectors.batches(scratch, part, name):
      state = update(state, features)
    seen.append(part.name)
    on_part('fit', len(seen), len(parts))
    if time.monotonic() - saved > _SAVE_SECONDS:
      _save(path, state, seen)
      saved = time.monotonic()
  _save(path, state, seen)
  return state


def _cost(
  summary: Summary,
  name: str,
  state: Any,
  scratch: epath.PathLike,
  parts: list[parts_lib.Part],
) -> float:
  """Floating-point operations of all updates and scores, counted once."""
  _, features = next(
    batch for part in parts for batch in vectors.batches(scratch, part, name)
  )
  size = len(features['mask'])
  batches = sum(-(-part.num_rows // size) for part in parts)
  per_batch = flops.count_flops(summary.score, state, features)
  if summary.update is not None:
    per_batch += flops.count_flops(summary.update, state, features)
  return float(per_batch * batches)


def _merged(
  summary: Summary,
  init: Any,
  state: Any,
  scratch: epath.PathLike,
  index: int,
  shard: int,
  num_shards: int,
) -> Any:
  """The union of all hosts' states, in host order."""
  if summary.update is None or num_shards == 1:
    return state
  hosts.wait(f'summary {index}')
  merged = None
  for other in range(num_shards):
    path = epath.Path(scratch) / f'summary-{index}-{other:05d}.npz'
    if not path.exists():
      raise UserError(
        f'{path}: missing; host {other} of {num_shards} has not finished its'
        f' pass (this is host {shard}); run the command there, then here again'
      )
    theirs, _ = _load(path, init)
    merged = theirs if merged is None else summary.merge(merged, theirs)
  return merged


def _save(path: epath.Path, state: Any, seen: list[str]) -> None:
  """State and cursor in one file, so that they cannot disagree."""
  leaves = jax.device_get(jax.tree.leaves(state))
  arrays = {f'leaf_{i}': leaf for i, leaf in enumerate(leaves)}
  buffer = io.BytesIO()
  np.savez(buffer, seen=np.array(json.dumps(seen)), **arrays)
  atomic.write_bytes(path, buffer.getvalue())


def _load(path: epath.Path, state: Any) -> tuple[Any, list[str]]:
  """What `_save` wrote, in the structure of `state`; else `state` itself."""
  if not path.exists():
    return jax.tree.map(jnp.array, state), []  # a copy: it will be donated
  with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
    leaves, structure = jax.tree.flatten(state)
    loaded = [jnp.asarray(file[f'leaf_{i}']) for i in range(len(leaves))]
    return structure.unflatten(loaded), json.loads(str(file['seen']))


def _write_part(
  part: parts_lib.Part,
  scratch: epath.PathLike,
  output: epath.PathLike,
  scorers: Sequence[Scorer],
  states: dict[int, Any],
) -> None:
  """One final chunk: the scratch's columns, with features made scores."""
  kept = [name for s in scorers if s.summary is None for name in s.columns]
  keys = ['id', 'domain', 'num_tokens']
  path = epath.Path(scratch) / part.name
  table = tables.read_parquet(path, [*keys, *kept])
  columns: dict[str, Any] = {name: table.column(name) for name in keys}
  for index, scorer in enumerate(scorers):
    if scorer.summary is None:
      columns |= {name: table.column(name) for name in scorer.columns}
      continue
    score = jax.jit(scorer.summary.score)
    found = {
      name: np.full(len(table), np.nan, np.float32) for name in scorer.columns
    }
    for rows, features in vectors.batches(scratch, part, scorer.features.name):
      for name, values in score(states[index], features).items():
        found[name][rows] = np.asarray(values)[: len(rows)]
    columns |= found
  parts_lib.commit(output, part, columns)
