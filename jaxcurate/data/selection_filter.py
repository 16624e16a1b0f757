"""A Selection as a filter over streamed rows: id hash -> copies to keep.

Twelve bytes per selected document, whatever the ids look like. Two of a
hundred million ids share a 64-bit hash with probability 3e-4; that would give
one unselected document the other's count.
"""

import hashlib
from typing import NamedTuple

from jaxtyping import Int32, UInt64
import numpy as np

from jaxcurate.io.errors import UserError
from jaxcurate.ops.ids import hash_ids
from jaxcurate.types import Selection


class SelectionFilter(NamedTuple):
  """Sorted id hashes with their copies.

  Attributes:
    id_hash: [K] uint64, ascending.
    copies: [K] int32 >= 1.
  """

  id_hash: np.ndarray
  copies: np.ndarray


def from_selection(selection: Selection) -> SelectionFilter:
  """The filter of a selection.

  Raises:
    UserError: an id is listed twice, or a count is below 1.
  """
  id_hash = hash_ids(selection.id)
  order = np.argsort(id_hash, kind='stable')
  id_hash, copies = id_hash[order], selection.count[order].astype(np.int32)
  same = np.flatnonzero(id_hash[1:] == id_hash[:-1])
  if len(same):
    raise UserError(
      f'the selection lists id {selection.id[order[same[0]]]!r} twice; sample'
      ' again, or add the counts up'
    )
  if len(copies) and copies.min() < 1:
    raise UserError(
      f'the selection gives id {selection.id[order[copies.argmin()]]!r} the'
      f' count {copies.min()}; leave documents out instead of counting them 0'
    )
  return SelectionFilter(id_hash, copies)


def counts(
  selected: SelectionFilter, id_hash: UInt64[np.ndarray, ' n']
) -> Int32[np.ndarray, ' n']:
  """Copies to keep of each document, 0 for those not selected.

  Args:
    selected: the filter.
    id_hash: [n] `hash_ids` of the documents.
  """
  if not len(selected.id_hash):
    return np.zeros(len(id_hash), np.int32)
  place = np.searchsorted(selected.id_hash, id_hash)
  place = np.minimum(place, len(selected.id_hash) - 1)
  found = selected.id_hash[place] == id_hash
  return np.where(found, selected.copies[place], 0).astype(np.int32)


def digest(selected: SelectionFilter) -> str:
  """A fingerprint: equal filters and no others have it."""
  hashed = hashlib.blake2b(digest_size=16)
  hashed.update(selected.id_hash.tobytes())
  hashed.update(selected.copies.tobytes())
  return hashed.hexdigest()
