import numpy as np
import pytest

from jaxcurate.data import selection_filter
from jaxcurate.io.errors import UserError
from jaxcurate.ops.ids import hash_ids
from jaxcurate.types import Selection


def _selection(ids, count):
  return Selection(
    id=np.array(ids, object),
    count=np.array(count, np.int32),
    expected_count=np.ones(len(ids)),
  )


def _counts(selection, ids):
  selected = selection_filter.from_selection(selection)
  return selection_filter.counts(selected, hash_ids(ids)).tolist()


def test_counts_by_hand():
  selection = _selection(['b', 'a', 'é\0'], [3, 1, 2])
  assert _counts(selection, ['a', 'x', 'b', 'b', 'é\0', 'é']) == [
    1,
    0,
    3,
    3,
    2,
    0,
  ]


def test_equals_a_dict():
  rng = np.random.default_rng(0)
  ids = [f'document {i}' for i in range(500)]
  chosen = rng.permutation(500)[:200]
  count = rng.integers(1, 9, 200)
  selection = _selection([ids[i] for i in chosen], count)
  table = dict(zip(selection.id, count.tolist(), strict=True))
  assert _counts(selection, ids) == [table.get(i, 0) for i in ids]


def test_order_is_irrelevant_and_content_is_not():
  first = _selection(['a', 'b'], [1, 2])
  digests = [
    selection_filter.digest(selection_filter.from_selection(selection))
    for selection in (
      first,
      _selection(['b', 'a'], [2, 1]),
      _selection(['a', 'b'], [2, 1]),
      _selection(['a'], [1]),
    )
  ]
  assert digests[0] == digests[1]
  assert len(set(digests)) == 3


def test_empty():
  assert _counts(_selection([], []), ['a', 'b']) == [0, 0]
  assert _counts(_selection(['a'], [1]), []) == []


def test_wrong_selections_are_named():
  with pytest.raises(UserError, match="lists id 'a' twice"):
    selection_filter.from_selection(_selection(['a', 'b', 'a'], [1, 1, 1]))
  with pytest.raises(UserError, match="id 'b' the count 0"):
    selection_filter.from_selection(_selection(['a', 'b'], [1, 0]))
