"""Streams a corpus through scorers and commits a score table, resumably.

The reader cuts every file into blocks of consecutive rows. A block is
tokenised and packed on a host thread while the devices score the one before;
batches never cross blocks, so a document's score depends on its block alone,
not on when the work was interrupted. Consecutive blocks are committed
together as a chunk (`scoring.parts`), at the latest after a minute. A run
that was killed continues after the last committed chunk.

Scorers with a summary (density) first need the whole corpus: their features
go to `OUTPUT/.scratch` with the finished columns, the summary is fitted over
them, and a last pass writes the table (`scoring.summaries`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import concurrent.futures
import time
from typing import Any, NamedTuple

from etils import epath
import jax
import numpy as np

from jaxcurate.data import readers
from jaxcurate.io import atomic
from jaxcurate.scoring import forward
from jaxcurate.scoring import parts as parts_lib
from jaxcurate.types import Features, Scorer, Vocabulary

SCRATCH = '.scratch'
MAX_CHUNK_ROWS = 65_536
CHUNK_SECONDS = 60.0


class Progress(NamedTuple):
  """What a progress bar shows: totals of this process so far."""

  documents: int
  tokens: int
  file: str


class _Block(NamedTuple):
  """A block ready for the devices."""

  block: readers.Block
  num_tokens: np.ndarray
  counts: dict[str, list[int]]  # pass -> examples per document
  prepared: dict[str, forward.Prepared]


def score_corpus(
  *,
  corpus: readers.Corpus,
  scorers: Sequence[Scorer],
  vocabulary: Vocabulary,
  params: Any,
  mesh: jax.sharding.Mesh,
  output: epath.PathLike,
  block_rows: int,
  rows_per_batch: int | None = None,
  chunk_seconds: float = CHUNK_SECONDS,
  shard: int = 0,
  num_shards: int = 1,
  on_progress: Callable[[Progress], object] = lambda progress: None,
) -> list[parts_lib.Part]:
  """Scores what is not yet committed of this process's share of a corpus.

  Args:
    corpus: where the documents come from.
    scorers: methods; those whose features have one name share a pass.
    vocabulary: for `num_tokens` and for every pass.
    params: network parameters, already on the mesh.
    mesh: axes 'data' and 'model' over local devices.
    output: folder of the chunks: the table's, or its scratch.
    block_rows: rows that are packed together; the same on every resume.
    rows_per_batch: packed rows per device batch; None chooses by device.
    chunk_seconds: a chunk is committed after this time, or 65,536 rows.
    shard, num_shards: this host's share of the blocks.
    on_progress: called after each block.

  Returns:
    All committed parts in `output`, of every run and host.

  Raises:
    UserError: bad input, or a full disk; finished work is kept.
  """
  atomic.remove_stale(output)
  done = parts_lib.Done(parts_lib.committed(output))
  passes = {s.features.name: s.features for s in scorers}
  forwards = {
    name: forward.Forward(features, params, mesh, rows=rows_per_batch)
    for name, features in passes.items()
    if features.column is None
  }
  chunk = _Chunk(output, chunk_seconds)
  blocks = corpus.blocks(
    block_rows=block_rows,
    shard=shard,
    num_shards=num_shards,
    done=done,
    finished=done.finished() if num_shards == 1 else (),
  )
  documents = tokens = 0
  try:
    for ready in _prepared_ahead(blocks, passes, vocabulary):
      columns = _score_block(ready, scorers, passes, forwards)
      cost = {n: forwards[n].cost(p) for n, p in ready.prepared.items()}
      chunk.add(ready, columns, cost)
      documents += len(ready.block.rows)
      tokens += int(ready.num_tokens.sum())
      on_progress(Progress(documents, tokens, ready.block.file))
  finally:  # a bad row or a signal costs no finished block
    chunk.commit()
  return parts_lib.committed(output)


def _prepared_ahead(
  blocks: Iterator[readers.Block],
  passes: Mapping[str, Features],
  vocabulary: Vocabulary,
) -> Iterator[_Block]:
  """Prepares the next block on a thread while the caller uses this one."""
  host = concurrent.futures.ThreadPoolExecutor(max_workers=1)

  def next_block():
    block = next(blocks, None)
    return None if block is None else _prepare(block, passes, vocabulary)

  try:
    coming = host.submit(next_block)
    while (ready := coming.result()) is not None:
      coming = host.submit(next_block)
      yield ready
  finally:  # whoever was interrupted commits now, however slow the input is
    host.shutdown(wait=False, cancel_futures=True)


def _prepare(
  block: readers.Block, passes: Mapping[str, Features], vocabulary: Vocabulary
) -> _Block:
  """Tokenises and packs one block."""
  ids = [row.id for row in block.rows]
  texts = [row.text for row in block.rows]
  tokens = vocabulary.encode_batch(texts)
  counts, prepared = {}, {}
  for name, features in passes.items():
    if features.column is not None:
      continue
    documents = features.examples(ids, texts, tokens)
    counts[name] = [len(examples) for examples in documents]
    prepared[name] = forward.prepare(
      features, [example for examples in documents for example in examples]
    )
  num_tokens = np.array([len(t) for t in tokens], np.int32)
  return _Block(block, num_tokens, counts, prepared)


def _score_block(
  ready: _Block,
  scorers: Sequence[Scorer],
  passes: Mapping[str, Features],
  forwards: Mapping[str, forward.Forward],
) -> dict[str, np.ndarray]:
  """Columns of one block: scores, and features that a summary needs."""
  outputs = {
    name: _by_document(
      passes[name], ready.counts[name], forwards[name](ready.prepared[name])
    )
    for name in forwards
  }
  columns = {}
  for scorer in scorers:
    name = scorer.features.name
    if scorer.summary is not None:
      columns[name] = (
        np.stack([row.vector for row in ready.block.rows])
        if scorer.features.column is not None
        else _stacked([o and o['embedding'] for o in outputs[name]])
      )
      continue
    rows = [o and scorer.score(o) for o in outputs[name]]
    for column in scorer.columns:
      columns[column] = np.array(
        [row[column] if row else np.nan for row in rows], np.float32
      )
  return columns


def _by_document(
  features: Features, counts: list[int], outputs: dict[str, np.ndarray]
) -> list[dict[str, Any] | None]:
  """Each document's combined outputs; None for one without examples."""
  documents, start = [], 0
  for count in counts:
    own = {name: out[start : start + count] for name, out in outputs.items()}
    documents.append(features.combine(own) if count else None)
    start += count
  return documents


def _stacked(vectors: list[np.ndarray | None]) -> np.ndarray:
  """[N, D]; NaN where a document has no vector."""
  width = next((len(v) for v in vectors if v is not None), 0)
  missing = np.full(width, np.nan, np.float32)
  return np.array(
    [missing if v is None else v for v in vectors], np.float32
  ).reshape(len(vectors), width)


class _Chunk:
  """Consecutive blocks of one file on their way to disk.

  A class because blocks arrive one by one and leave together.
  """

  def __init__(self, output: epath.PathLike, seconds: float):
    self._output, self._seconds = output, seconds
    self._started = time.monotonic()
    self._blocks: list[tuple[_Block, dict[str, np.ndarray], dict]] = []

  def add(
    self,
    ready: _Block,
    columns: dict[str, np.ndarray],
    cost: dict[str, float],
  ) -> None:
    """Takes a block; commits when the chunk is full, late or broken off."""
    if self._blocks:
      before = self._blocks[-1][0].block
      if (before.file, before.end) != (ready.block.file, ready.block.start):
        self.commit()
    self._blocks.append((ready, columns, cost))
    rows = ready.block.end - self._blocks[0][0].block.start
    late = time.monotonic() - self._started > self._seconds
    if rows >= MAX_CHUNK_ROWS or late or ready.block.last:
      self.commit()

  def commit(self) -> None:
    """Writes what has arrived, if anything."""
    if not self._blocks:
      return
    first, last = self._blocks[0][0].block, self._blocks[-1][0].block
    skipped: dict[str, int] = {}
    for ready, _, _ in self._blocks:
      for reason, count in ready.block.skipped.items():
        skipped[reason] = skipped.get(reason, 0) + count
    packs = [p for r, _, _ in self._blocks for p in r.prepared.values()]
    rows = [row for r, _, _ in self._blocks for row in r.block.rows]
    columns = {
      'id': np.array([row.id for row in rows], object),
      'domain': np.array([row.domain for row in rows], object),
      'num_tokens': np.concatenate([r.num_tokens for r, _, _ in self._blocks]),
    }
    for name in self._blocks[0][1]:
      columns[name] = _concatenated([c[name] for _, c, _ in self._blocks])
    now = time.monotonic()
    parts_lib.commit(
      self._output,
      parts_lib.Part(
        file=first.file,
        start=first.start,
        end=last.end,
        last=last.last,
        skipped=skipped,
        num_rows=len(rows),
        tokens=sum(p.tokens for p in packs),
        slots=sum(p.slots for p in packs),
        flops={
          name: sum(cost[name] for _, _, cost in self._blocks)
          for name in self._blocks[0][2]
        },
        seconds=now - self._started,
      ),
      columns,
    )
    self._blocks = []
    self._started = now


def _concatenated(arrays: list[np.ndarray]) -> np.ndarray:
  """Concatenation that lets blocks without any vector take others' width."""
  width = max((a.shape[1] for a in arrays if a.ndim == 2), default=None)
  if width is None:
    return np.concatenate(arrays)
  return np.concatenate(
    [
      a if a.shape[1] == width else np.full((len(a), width), np.nan, np.float32)
      for a in arrays
    ]
  )
