"""Judged texts as training batches: so many judgements a step, packed.

A batch holds the windows of its texts in as few rows as packing finds; which
text a window is of stands beside it. What a step sees depends on the seed and
the step's number alone, so a place in the data is a number.
"""

from collections.abc import Iterator, Mapping
import math
from typing import Any, NamedTuple

import numpy as np

from jaxcurate.data import packing, token_part
from jaxcurate.data.targets import Pairs, Targets
from jaxcurate.data.token_part import TokenPart
from jaxcurate.models import forward
from jaxcurate.ops.ids import hash_ids
from jaxcurate.types import Document, Features

_GROWTH = 1.25  # row counts are rounded up to its powers: few programs


class Items(NamedTuple):
  """Judgements of texts of one part.

  Attributes:
    document: [N, 1] int64 index into the part, or [N, 2] for pairs.
    target: [N, C] float32, NaN where there is none.
  """

  document: np.ndarray
  target: np.ndarray


def find_items(part: TokenPart, targets: Targets | Pairs) -> Items:
  """The judgements whose texts are all in a part.

  Args:
    part: documents.
    targets: judgements by id; rows without any value are left out.
  """
  ids = targets.id.reshape(len(targets.id), -1)
  order = np.argsort(part.id_hash)
  hashes = hash_ids(ids.ravel().tolist())
  place = np.searchsorted(part.id_hash[order], hashes)
  place = np.minimum(place, max(len(order) - 1, 0))
  found = order[place] if len(order) else np.zeros(len(hashes), np.int64)
  known = np.zeros(len(hashes), bool)
  if len(order):
    known = part.id_hash[found] == hashes
  tokens = np.diff(part.offsets)[found] if len(order) else np.zeros(len(known))
  readable = (known & (tokens > 0)).reshape(ids.shape).all(axis=1)
  readable &= ~np.isnan(targets.value).all(axis=1)
  return Items(
    found.reshape(ids.shape)[readable],
    targets.value[readable].astype(np.float32),
  )


def make_batch(
  part: TokenPart,
  items: Items,
  features: Features,
  num_items: int,
  *,
  shards: int = 1,
) -> dict[str, np.ndarray]:
  """One batch of the items, filled up with empty ones.

  Args:
    part: the documents.
    items: at most `num_items`.
    features: makes the windows of a text.
    num_items: I.
    shards: the number of rows is a multiple of it.

  Returns:
    Packed rows; 'text' [R, S] int32, which of the M = I * (1 or 2) texts a
    window is of (all first texts, then all second ones; -1 = none); 'target'
    [I, C] float32.
  """
  num_own, sides = items.document.shape
  text = (np.arange(num_own)[:, None] + num_items * np.arange(sides)).ravel()
  tokens = [
    token_part.document_tokens(part, i).tolist() for i in items.document.ravel()
  ]
  unnamed = [Document('', '', None)] * len(tokens)
  windows = features.examples(unnamed, tokens)
  packed = packing.pack(
    [window for own in windows for window in own],
    encoder_length=features.encoder_length,
    decoder_length=forward.decoder_slots(features),
    max_segments=features.max_segments,
  )
  batch = packing.pad_rows(packed.batch, _num_rows(packed, shards))
  of_window = np.repeat(text, [len(own) for own in windows])
  num_rows = len(next(iter(batch.values())))
  batch['text'] = np.full((num_rows, features.max_segments), -1, np.int32)
  batch['text'][packed.row, packed.segment - 1] = of_window
  target = np.full((num_items, items.target.shape[1]), np.nan, np.float32)
  target[:num_own] = items.target
  return {**batch, 'target': target}


def _num_rows(packed: packing.Packed, shards: int) -> int:
  """Rows rounded up to a power of `_GROWTH`, then to a multiple of shards."""
  used = int(packed.row.max(initial=0)) + 1
  power = math.ceil(math.log(used) / math.log(_GROWTH) - 1e-9)
  return -(-math.ceil(_GROWTH**power) // shards) * shards


class JudgeBatches:
  """Batches without end, in an order of their own for every pass.

  A class because it is the iterator that the training loop saves and restores.
  """

  def __init__(
    self,
    part: TokenPart,
    items: Items,
    features: Features,
    *,
    num_items: int,
    seed: int,
    shards: int = 1,
  ):
    self._part, self._items, self._features = part, items, features
    self._num_items, self._seed, self._shards = num_items, seed, shards
    self._step = 0
    self._order: tuple[int, np.ndarray] | None = None

  def __next__(self) -> Mapping[str, Any]:
    first = self._step * self._num_items
    chosen = [self._place(first + i) for i in range(self._num_items)]
    self._step += 1
    items = Items(self._items.document[chosen], self._items.target[chosen])
    return make_batch(
      self._part, items, self._features, self._num_items, shards=self._shards
    )

  def state(self) -> dict[str, int]:
    """The number of batches handed out."""
    return {'step': self._step}

  def restore(self, state: dict[str, int]) -> None:
    """Goes back to a position."""
    self._step = state['step']

  def epochs(self) -> int:
    """Whole passes over the items."""
    return self._step * self._num_items // len(self._items.target)

  def document_id(self, id_hash: int) -> str | None:
    """None: the batches do not say whose their examples are."""
    del id_hash
    return None

  def _place(self, number: int) -> int:
    epoch, place = divmod(number, len(self._items.target))
    if self._order is None or self._order[0] != epoch:
      rng = np.random.default_rng((self._seed, epoch))
      self._order = epoch, rng.permutation(len(self._items.target))
    return int(self._order[1][place])


def in_order(
  part: TokenPart,
  items: Items,
  features: Features,
  *,
  num_items: int,
  shards: int = 1,
) -> Iterator[tuple[Items, dict[str, np.ndarray]]]:
  """All items once: those of a batch, and the batch.

  Args:
    part, items, features, num_items, shards: see `make_batch`.
  """
  for start in range(0, len(items.target), num_items):
    own = Items(*(array[start : start + num_items] for array in items))
    yield own, make_batch(part, own, features, num_items, shards=shards)
