"""Documents of the reference set that turn up in the corpus."""

import numpy as np

from jaxcurate.scoring import overlap
from jaxcurate.types import Document

ANCHORS = [Document('a', 'one text', 'x'), Document('b', 'another', None)]


def find(*documents):
  return [
    found.tolist()
    for found in overlap.find(
      overlap.remember(ANCHORS), [Document(*d, None) for d in documents]
    )
  ]


def test_by_id_and_by_text():
  found = find(('a', 'new'), ('c', 'another'), ('b', 'another'), ('d', 'new'))
  assert found == [[True, False, True, False], [False, True, True, False]]


def test_white_space_is_not_text_and_case_is():
  assert find(('c', 'one\n\ttext  '), ('d', 'One text'))[1] == [True, False]


def test_agrees_with_comparing_everything_with_everything():
  rng = np.random.default_rng(0)

  def documents(seed):
    words = rng.integers(0, 3, (200, 3))
    return [
      Document(str(rng.integers(300)), ' '.join(map(str, own)), None)
      for own in words
    ]

  anchors, pool = documents(0)[:8], documents(1)
  by_id, by_text = overlap.find(overlap.remember(anchors), pool)
  for row, document in enumerate(pool):
    assert by_id[row] == any(document.id == a.id for a in anchors)
    assert by_text[row] == any(document.text == a.text for a in anchors)
  assert 0 < by_text.sum() < len(pool)


def test_nothing_is_known_of_nothing():
  known = overlap.remember([])
  assert not np.any(overlap.find(known, ANCHORS))
  assert [len(found) for found in overlap.find(known, [])] == [0, 0]


def test_the_warning_names_the_way_out():
  line = overlap.warning(2, 3, 4)
  assert line.startswith('4 document(s)')
  assert '(2 by id, 3 by text)' in line
  assert line.endswith('--exclude_anchors')
