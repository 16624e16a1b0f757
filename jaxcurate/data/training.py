"""Endless span-corrupted training batches that can be left and re-entered.

Documents come in a permutation keyed by (seed, epoch), a block of them at a
time is packed into rows, the rows are shuffled, and batches are taken off.
Nothing depends on what was read before, on the number of hosts or on the size
of the batches: a place is (epoch, block, row).
"""

import collections
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
import functools
import hashlib
import json
from typing import Any, Literal, NamedTuple

from jaxtyping import Float32
import numpy as np

from jaxcurate.data import planned_rows, token_part
from jaxcurate.data.planned_rows import Block
from jaxcurate.data.row_shape import RowSettings
from jaxcurate.data.shuffle import permute
from jaxcurate.data.token_part import TokenPart
from jaxcurate.io.errors import UserError
from jaxcurate.types import Vocabulary

Windowing = Literal['document', 'concat']
# Keys of the independent draws of one seed.
_DOCUMENTS, _ROWS, _MASKS = 1, 2, 3
_BLOCKS_COUNTED = 64


class _Place(NamedTuple):
  """The next row: row `row` of the shuffled rows of a block."""

  epoch: int
  block: int
  row: int


class TrainingBatches:
  """An iterator over batches, never ending.

  A class because it is an iterator with a place, a thread that works ahead
  and a place that can be saved. Construction reads nothing, so a population of
  models can each have their own stream by giving each its seed.
  """

  def __init__(
    self,
    part: TokenPart,
    vocabulary: Vocabulary,
    settings: RowSettings,
    *,
    rows_per_batch: int,
    seed: int,
    windowing: Windowing = 'document',
    columns: Mapping[str, Float32[np.ndarray, ' N']] | None = None,
    shard: int = 0,
    num_shards: int = 1,
    block_documents: int = 1024,
    prefetch: int = 2,
  ):
    """Starts at the first row of epoch 0.

    Args:
      part: documents to train on.
      vocabulary: the one that tokenized them.
      settings: of the rows, see `row_shape.row_settings`.
      rows_per_batch: over all shards.
      seed: of order and masks.
      windowing: 'document' never crosses documents; 'concat' is T5's.
      columns: values per document, carried as document_<name> [rows, S];
        only with windowing='document'.
      shard: which consecutive part of every batch to make.
      num_shards: must divide rows_per_batch.
      block_documents: documents packed together; rows are shuffled within.
      prefetch: batches made ahead in a background thread; 0 for none.

    Raises:
      UserError: there is nothing to train on, or the settings clash.
    """
    if not token_part.num_copies(part):
      raise UserError('there is no document to train on; check the selection')
    if rows_per_batch < 1 or rows_per_batch % num_shards:
      raise UserError(
        f'{rows_per_batch} rows per batch cannot be split among {num_shards}'
        ' hosts; make the batch size a multiple'
      )
    if columns and windowing == 'concat':
      raise UserError(
        f'document columns ({", ".join(columns)}) need windowing="document":'
        ' windows of "concat" cross documents'
      )
    if len(part.spoken) and windowing == 'concat':
      raise UserError(
        'conversations need windowing="document": those of "concat" cross them'
      )
    for name, values in (columns or {}).items():
      if len(values) != token_part.num_documents(part):
        raise ValueError(
          f'column {name!r} has {len(values)} values, the part'
          f' {token_part.num_documents(part)} documents'
        )
    self._part, self._vocabulary, self._settings = part, vocabulary, settings
    self._columns = dict(columns or {})
    self._rows_per_batch = rows_per_batch
    local = rows_per_batch // num_shards
    self._mine = slice(shard * local, (shard + 1) * local)
    self._seed, self._windowing = seed, windowing
    self._block_documents = block_documents
    self._block = functools.lru_cache(maxsize=2)(self._plan)
    self._prefetch = prefetch
    self._worker: ThreadPoolExecutor | None = None
    self._waiting: collections.deque[Future] = collections.deque()
    self._consumed = self._ahead = _Place(0, 0, 0)

  def __iter__(self) -> 'TrainingBatches':
    return self

  def __next__(self) -> dict[str, np.ndarray]:
    if not self._prefetch:
      batch, self._consumed = self._make()
      return batch
    if self._worker is None:
      self._worker = ThreadPoolExecutor(1, 'training-batches')
    while len(self._waiting) <= self._prefetch:
      self._waiting.append(self._worker.submit(self._make))
    batch, self._consumed = self._waiting.popleft().result()
    return batch

  def rows_per_epoch(self) -> int:
    """Rows of an epoch; a large one's from its first blocks."""
    copies = token_part.num_copies(self._part)
    blocks = -(-copies // self._block_documents)
    some = min(blocks, _BLOCKS_COUNTED)
    counted = min(some * self._block_documents, copies)
    rows = sum(self._plan(0, block)[0].num_rows for block in range(some))
    return round(rows * copies / counted)

  def state(self) -> dict[str, Any]:
    """Where the batch that `next` would return begins; JSON-able."""
    return {**self._consumed._asdict(), 'data': self._fingerprint()}

  def restore(self, state: Mapping[str, Any]) -> None:
    """Goes to a place; from there on batches are those of an undisturbed run.

    The batch size and the number of shards may differ from the run that saved
    it: places are rows.

    Raises:
      UserError: the state is of other data or settings.
    """
    if state.get('data') != self._fingerprint():
      raise UserError(
        'the checkpoint was trained on other data (documents, seed, lengths,'
        ' noise or windowing differ); use the settings it was made with, or'
        ' another output folder'
      )
    self.close()
    place = _Place(int(state['epoch']), int(state['block']), int(state['row']))
    self._consumed = self._ahead = place

  def epochs(self) -> int:
    """Whole passes over the documents, up to the last batch.

    A batch may hold rows of two epochs: it is the last one of the first.
    """
    return self._consumed.epoch

  def document_id(self, id_hash: int) -> str | None:
    """Id of the document with this hash, None where there is none."""
    found = np.flatnonzero(self._part.id_hash == np.uint64(id_hash))
    return token_part.document_id(self._part, found[0]) if len(found) else None

  def close(self) -> None:
    """Stops the background thread; batches made ahead are made again."""
    if self._worker is not None:
      self._worker.shutdown(wait=True, cancel_futures=True)
    self._worker = None
    self._waiting.clear()
    self._ahead = self._consumed

  def _make(self) -> tuple[dict[str, np.ndarray], _Place]:
    """The batch at the place ahead, and the place after it."""
    picks: list[tuple[Block, int]] = []
    place = self._ahead
    while len(picks) < self._rows_per_batch:
      block, order = self._block(place.epoch, place.block)
      rows = order[place.row :][: self._rows_per_batch - len(picks)]
      picks += [(block, int(row)) for row in rows]
      if not picks and place.epoch > self._ahead.epoch + 1:
        raise UserError(
          'no conversation has an answer that begins within'
          f' {self._settings.decoder_length} tokens; raise'
          ' train.run.encoder_length'
        )
      place = place._replace(row=place.row + len(rows))
      if place.row == block.num_rows:
        place = self._after(place)
    batch, _ = planned_rows.fill_rows(
      picks[self._mine],
      self._part,
      self._settings,
      self._vocabulary,
      self._columns,
    )
    self._ahead = place
    return batch, place

  def _after(self, place: _Place) -> _Place:
    """The first row of the next block."""
    copies = token_part.num_copies(self._part)
    if (place.block + 1) * self._block_documents < copies:
      return _Place(place.epoch, place.block + 1, 0)
    return _Place(place.epoch + 1, 0, 0)

  def _plan(self, epoch: int, block: int) -> tuple[Block, np.ndarray]:
    """A block and the order of its rows."""
    copies = token_part.num_copies(self._part)
    first = block * self._block_documents
    number = np.arange(first, min(first + self._block_documents, copies))
    number = permute(number, copies, self._seed, epoch, _DOCUMENTS)
    document, copy = token_part.copy_of(self._part, number)
    key = (self._seed, epoch, _MASKS)
    if self._windowing == 'concat':
      eos_id = self._vocabulary.eos_id
      planned = planned_rows.plan_concat(
        self._part, document, self._settings, eos_id, *key, block
      )
    else:
      planned = planned_rows.plan_documents(
        self._part, document, copy, self._settings, *key
      )
    rows = planned.num_rows
    order = permute(np.arange(rows), rows, self._seed, epoch, block, _ROWS)
    return planned, order

  def _fingerprint(self) -> str:
    """Hash of all that decides what a place means."""
    part = self._part
    text = json.dumps(
      [
        [token_part.num_documents(part), token_part.num_copies(part)],
        [len(part.tokens), self._seed, self._windowing, self._block_documents],
        list(self._settings),
      ]
    )
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
