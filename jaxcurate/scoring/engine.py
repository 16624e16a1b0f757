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
from typing import Any, NamedTuple

from etils import epath
import jax
import ml_dtypes
import numpy as np

from jaxcurate.data import readers
from jaxcurate.io import atomic
from jaxcurate.io.errors import UserError
from jaxcurate.models import forward
from jaxcurate.scoring import chunks, memory, overlap
from jaxcurate.scoring import parts as parts_lib
from jaxcurate.scoring.chunks import Block
from jaxcurate.types import Document, Features, Scorer, Vocabulary

SCRATCH = '.scratch'
CHUNK_SECONDS = 60.0


class Progress(NamedTuple):
  """What a progress bar shows: totals of this process so far."""

  documents: int
  tokens: int
  file: str


def score_corpus(
  *,
  corpus: readers.Corpus,
  scorers: Sequence[Scorer],
  vocabulary: Vocabulary,
  params: Mapping[str, Any],
  mesh: jax.sharding.Mesh,
  output: epath.PathLike,
  block_rows: int,
  rows_per_batch: int | None = None,
  anchors: Sequence[Document] = (),
  exclude_anchors: bool = False,
  choose: Callable[[Sequence[Document]], np.ndarray] | None = None,
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
    params: name of a pass -> its parameters, already on the mesh.
    mesh: axes 'data' and 'model' over local devices.
    output: folder of the chunks: the table's, or its scratch.
    block_rows: rows that are packed together; the same on every resume.
    rows_per_batch: packed rows per device batch; None chooses by device.
    anchors: what the methods learnt from; documents of the corpus that are
      among them are counted.
    exclude_anchors: skip those documents.
    choose: N documents -> [N] bool, which of them the network reads; the
      others have no score. None reads all.
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
    name: forward.Forward(features, params[name], mesh, rows=rows_per_batch)
    for name, features in passes.items()
    if features.column is None
  }
  chunk = chunks.Chunk(output, chunk_seconds)
  blocks = corpus.blocks(
    block_rows=block_rows,
    shard=shard,
    num_shards=num_shards,
    done=done,
    finished=done.finished() if num_shards == 1 else (),
  )
  documents = tokens = 0
  try:
    known = overlap.remember(anchors)

    def prepare(block: readers.Block) -> Block:
      block, found = overlap.look(known, block, exclude=exclude_anchors)
      ready = _prepare(block, passes, vocabulary, choose)
      return ready._replace(anchors=found)

    for ready in _prepared_ahead(blocks, prepare):
      if not documents:
        memory.announce(scorers, forwards, ready.prepared)
      columns = _score_block(ready, scorers, passes, forwards)
      if corpus.on_bad_row == 'stop':
        _refuse_broken_scores(ready, scorers, columns)
      cost = {n: forwards[n].cost(p) for n, p in ready.prepared.items()}
      of_all = {n: forwards[n].cost(p) for n, p in ready.unread.items()}
      chunk.add(ready, columns, cost, of_all)
      documents += len(ready.block.rows)
      tokens += int(ready.num_tokens.sum())
      on_progress(Progress(documents, tokens, ready.block.file))
  finally:  # a bad row or a signal costs no finished block
    chunk.commit()
  return parts_lib.committed(output)


def _prepared_ahead(
  blocks: Iterator[readers.Block], prepare: Callable[[readers.Block], Block]
) -> Iterator[Block]:
  """Prepares the next block on a thread while the caller uses this one."""
  host = concurrent.futures.ThreadPoolExecutor(max_workers=1)

  def next_block():
    block = next(blocks, None)
    return None if block is None else prepare(block)

  try:
    coming = host.submit(next_block)
    while (ready := coming.result()) is not None:
      coming = host.submit(next_block)
      yield ready
  finally:  # whoever was interrupted commits now, however slow the input is
    host.shutdown(wait=False, cancel_futures=True)


def _prepare(
  block: readers.Block,
  passes: Mapping[str, Features],
  vocabulary: Vocabulary,
  choose: Callable[[Sequence[Document]], np.ndarray] | None,
) -> Block:
  """Tokenises and packs one block."""
  tokens = vocabulary.encode_batch([row.text for row in block.rows])
  chosen = None if choose is None else choose(block.rows)
  counts, prepared, unread = {}, {}, {}
  for name, features in passes.items():
    if features.column is not None:
      continue
    documents = features.examples(block.rows, tokens)
    if chosen is not None:
      unread[name] = _packed(features, documents)
      documents = [
        d if c else [] for d, c in zip(documents, chosen, strict=True)
      ]
    counts[name] = [len(examples) for examples in documents]
    prepared[name] = _packed(features, documents)
  num_tokens = np.array([len(t) for t in tokens], np.int32)
  return Block(block, num_tokens, counts, prepared, unread)


def _packed(
  features: Features, documents: list[list[dict[str, np.ndarray]]]
) -> forward.Prepared:
  examples = [example for own in documents for example in own]
  return forward.prepare(features, examples)


def _score_block(
  ready: Block,
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
      columns[name] = _stacked(
        [row.vector for row in ready.block.rows]
        if scorer.features.column is not None
        else [o['embedding'] if o else None for o in outputs[name]]
      )
      continue
    assert scorer.score is not None, 'a scorer has a score or a summary'
    rows = [scorer.score(o) if o else None for o in outputs[name]]
    for column in scorer.columns:
      columns[column] = np.array(
        [row[column] if row else np.nan for row in rows], np.float32
      )
  return columns


def _refuse_broken_scores(
  ready: Block, scorers: Sequence[Scorer], columns: Mapping[str, np.ndarray]
) -> None:
  """Raises where a document went through the network and NaN came out."""
  for scorer in scorers:
    counts = ready.counts.get(scorer.features.name, [])
    names = scorer.columns if scorer.summary is None else [scorer.features.name]
    for name in names if counts else ():
      what = name if scorer.summary is None else next(iter(scorer.columns))
      values = columns[name].reshape(len(counts), -1)
      broken = ~np.isfinite(values).all(axis=1) & (np.array(counts) > 0)
      if broken.any():
        row = int(broken.argmax())
        raise UserError(
          f'{ready.block.file}: id {ready.block.rows[row].id!r}: {what} is'
          f' {values[row][~np.isfinite(values[row])][0]}; the weights are'
          ' damaged or overflow: try --dtype=float32 or another --model, or'
          ' leave such documents without a score with --on_bad_row=skip'
        )


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
  """[N, D]; NaN where a document has no vector; D = 1 where none has.

  float32, or bfloat16 where the vectors are.
  """
  some = next((v for v in vectors if v is not None), np.zeros(1, np.float32))
  narrow = getattr(some, 'dtype', None) == ml_dtypes.bfloat16
  dtype = ml_dtypes.bfloat16 if narrow else np.float32
  missing = np.full(len(some), np.nan, dtype)
  return np.array(
    [missing if v is None else v for v in vectors], dtype
  ).reshape(len(vectors), len(some))
