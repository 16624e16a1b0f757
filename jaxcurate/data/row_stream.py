"""The endless rows of some documents of a part, by place.

The documents come in a permutation keyed by (seed, epoch), a block of them at a
time is packed into rows, and the rows of a block are shuffled. A row is a
function of its place (epoch, block, row) alone.
"""

from collections.abc import Mapping
import functools
import hashlib
import json
from typing import Any, Literal, NamedTuple

from jaxtyping import Int64
import numpy as np

from jaxcurate.data import planned_rows, token_part
from jaxcurate.data.planned_rows import Block
from jaxcurate.data.row_shape import RowSettings
from jaxcurate.data.shuffle import permute
from jaxcurate.data.token_part import TokenPart
from jaxcurate.io.errors import UserError

Windowing = Literal['document', 'concat']
Pick = tuple[Block, int]  # row i of a block
# Keys of the independent draws of one seed.
_DOCUMENTS, _ROWS, _MASKS = 1, 2, 3
_BLOCKS_COUNTED = 64


class Place(NamedTuple):
  """Of the next row: row `row` of the shuffled rows of a block."""

  epoch: int = 0
  block: int = 0
  row: int = 0

  @classmethod
  def from_state(cls, state: Mapping[str, Any]) -> 'Place':
    """The place that `_asdict` said."""
    return cls(int(state['epoch']), int(state['block']), int(state['row']))


class RowStream:
  """Rows by place.

  A class because it keeps the plans of the last blocks; it has no place itself.
  """

  def __init__(
    self,
    part: TokenPart,
    settings: RowSettings,
    *,
    eos_id: int,
    seed: int,
    windowing: Windowing = 'document',
    block_documents: int = 1024,
    documents: Int64[np.ndarray, ' n'] | None = None,
  ):
    """Reads nothing yet.

    Args:
      part: N documents.
      settings: of the rows.
      eos_id: between the documents of windows that cross them.
      seed: of order and masks.
      windowing: 'document' never crosses documents; 'concat' is T5's.
      block_documents: documents packed together; rows are shuffled within.
      documents: which of the N, ascending; None is all.
    """
    self._part, self._settings, self._eos_id = part, settings, eos_id
    self._seed, self._windowing = seed, windowing
    self._block_documents = block_documents
    self._documents = documents
    self._copies_end = part.copies_end
    if documents is not None:
      copies = np.diff(part.copies_end, prepend=0)[documents]
      self._copies_end = np.cumsum(copies)
    self.block = functools.lru_cache(maxsize=2)(self._plan)

  @property
  def num_copies(self) -> int:
    """Documents of an epoch, repeats counted."""
    return int(self._copies_end[-1]) if len(self._copies_end) else 0

  @property
  def num_tokens(self) -> int:
    """Tokens of the documents, each counted once."""
    if self._documents is None:
      return len(self._part.tokens)
    return int(np.diff(self._part.offsets)[self._documents].sum())

  def take(self, place: Place, count: int) -> tuple[list[Pick], Place]:
    """So many rows from a place on, and the place after them.

    Raises:
      UserError: conversations of two epochs give no row.
    """
    picks, begun = [], place.epoch
    while len(picks) < count:
      block, order = self.block(place.epoch, place.block)
      rows = order[place.row :][: count - len(picks)]
      picks += [(block, int(row)) for row in rows]
      if not picks and place.epoch > begun + 1:
        raise UserError(
          'no conversation has an answer that begins within'
          f' {self._settings.decoder_length} tokens; raise'
          ' train.run.encoder_length'
        )
      place = place._replace(row=place.row + len(rows))
      if place.row == block.num_rows:
        place = self._after(place)
    return picks, place

  def rows_per_epoch(self) -> int:
    """Rows of an epoch; a large one's from its first blocks."""
    copies = self.num_copies
    blocks = -(-copies // self._block_documents)
    some = min(blocks, _BLOCKS_COUNTED)
    counted = min(some * self._block_documents, copies)
    rows = sum(self._plan(0, block)[0].num_rows for block in range(some))
    return round(rows * copies / counted)

  def fingerprint(self) -> str:
    """Hash of all that decides what a place means."""
    documents = token_part.num_documents(self._part)
    if self._documents is not None:
      documents = len(self._documents)
    text = json.dumps(
      [
        [documents, self.num_copies],
        [self.num_tokens, self._seed, self._windowing, self._block_documents],
        list(self._settings),
      ]
    )
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

  def _after(self, place: Place) -> Place:
    """The first row of the next block."""
    if (place.block + 1) * self._block_documents < self.num_copies:
      return Place(place.epoch, place.block + 1, 0)
    return Place(place.epoch + 1, 0, 0)

  def _plan(self, epoch: int, block: int) -> tuple[Block, np.ndarray]:
    """A block and the order of its rows."""
    copies = self.num_copies
    first = block * self._block_documents
    number = np.arange(first, min(first + self._block_documents, copies))
    number = permute(number, copies, self._seed, epoch, _DOCUMENTS)
    document, copy = token_part.copy_of(self._copies_end, number)
    if self._documents is not None:
      document = self._documents[document]
    key = (self._seed, epoch, _MASKS)
    if self._windowing == 'concat':
      planned = planned_rows.plan_concat(
        self._part, document, self._settings, self._eos_id, *key, block
      )
    else:
      planned = planned_rows.plan_documents(
        self._part, document, copy, self._settings, *key
      )
    rows = planned.num_rows
    order = permute(np.arange(rows), rows, self._seed, epoch, block, _ROWS)
    return planned, order


def tokens_of(pick: Pick) -> int:
  """Tokens of documents that a row was made of."""
  block, row = pick
  first, last = np.searchsorted(block.row, [row, row + 1])
  return int((block.stop[first:last] - block.start[first:last]).sum())
