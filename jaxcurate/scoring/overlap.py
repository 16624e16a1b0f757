"""Documents of a corpus that are also in the reference set.

A scorer that learns from a reference set knows its documents by heart, and
scores them above all others where they turn up in the corpus. They are found
by id and by text (equal up to white space), without keeping either text.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from jaxtyping import Bool
import numpy as np

from jaxcurate.data import readers
from jaxcurate.ops import ids as ids_lib
from jaxcurate.types import Document

REASON = 'also in the anchors'  # why a row was skipped


class Known(NamedTuple):
  """What is remembered of a reference set.

  Attributes:
    ids: of its documents.
    texts: hashes of their texts.
  """

  ids: frozenset[str]
  texts: frozenset[int]


def remember(anchors: Iterable[Document]) -> Known:
  """What `find` needs to know of a reference set."""
  anchors = list(anchors)
  return Known(
    frozenset(document.id for document in anchors),
    frozenset(_hashes(anchors)),
  )


def find(
  known: Known, documents: Sequence[Document]
) -> tuple[Bool[np.ndarray, ' N'], Bool[np.ndarray, ' N']]:
  """Which documents are in the reference set.

  Args:
    known: of `remember`.
    documents: N documents of the corpus.

  Returns:
    (by id, by text). Ids that were made up from file name and row say little
    where two folders have a file of one name: then only the text counts.

  >>> known = remember([Document('a', 'some text', None)])
  >>> pool = [Document('a', 'other', None), Document('b', ' some  text', None)]
  >>> [found.tolist() for found in find(known, pool)]
  [[True, False], [False, True]]
  """
  return (
    np.array([document.id in known.ids for document in documents], bool),
    np.array([key in known.texts for key in _hashes(documents)], bool),
  )


def look(
  known: Known, block: readers.Block, *, exclude: bool
) -> tuple[readers.Block, dict[str, int]]:
  """A block without the documents that are known, or as it is, and counts.

  Args:
    known: of `remember`.
    block: of the corpus.
    exclude: leave them out, counted among the skipped rows.

  Returns:
    The block; documents found by 'id', by 'text' and by 'either'.
  """
  by_id, by_text = find(known, block.rows)
  either = by_id | by_text
  counts = {
    'id': int(by_id.sum()),
    'text': int(by_text.sum()),
    'either': int(either.sum()),
  }
  if not exclude or not counts['either']:
    return block, counts
  rows = [row for row, gone in zip(block.rows, either, strict=True) if not gone]
  skipped = {**block.skipped, REASON: counts['either']}
  return block._replace(rows=rows, skipped=skipped), counts


def warning(by_id: int, by_text: int, either: int) -> str:
  """One line about documents that were scored although they are known.

  Args:
    by_id, by_text: how many were found each way.
    either: how many were found in all, >= 1.
  """
  return (
    f'{either} document(s) of the corpus are also in --anchors ({by_id} by id,'
    f' {by_text} by text): their scores are inflated; leave them out with'
    ' --exclude_anchors'
  )


def _hashes(documents: Sequence[Document]) -> list[int]:
  texts = (' '.join(document.text.split()) for document in documents)
  return ids_lib.hash_ids(texts).tolist()
