import numpy as np
import pytest

from jaxcurate.data import windows


def test_document_windows_by_hand():
  # The remainder of 81 is 1: 15 more come from the window before it.
  cut = windows.document_windows(np.array([40, 100, 1, 81]), 40)
  assert cut.document.tolist() == [0, 1, 1, 1, 2, 3, 3, 3]
  assert cut.piece.tolist() == [0, 0, 1, 2, 0, 0, 1, 2]
  assert cut.start.tolist() == [0, 0, 40, 80, 0, 0, 40, 65]
  assert cut.stop.tolist() == [40, 40, 80, 100, 1, 40, 65, 81]


@pytest.mark.parametrize('raw_length', [1, 2, 7, 100])
def test_document_windows_cover_every_token_once(raw_length):
  lengths = np.random.default_rng(0).integers(0, 250, 60)
  cut = windows.document_windows(lengths, raw_length)
  for document, length in enumerate(lengths):
    mine = cut.document == document
    covered = [
      token
      for start, stop in zip(cut.start[mine], cut.stop[mine], strict=True)
      for token in range(start, stop)
    ]
    assert covered == list(range(length))
    sizes = (cut.stop - cut.start)[mine]
    assert len(sizes) == -(-length // raw_length)
    assert (sizes <= raw_length).all()
    assert (sizes[:-2] == raw_length).all()
    if len(sizes) > 1:
      assert sizes[-1] >= min(windows.MIN_TAIL, max(1, raw_length // 2))


def test_concat_by_hand():
  documents = [np.array([5, 6, 7]), np.array([8]), np.array([9, 9])]
  tokens, source = windows.concatenate(documents, eos_id=1)
  assert tokens.tolist() == [5, 6, 7, 1, 8, 1, 9, 9]
  assert source.tolist() == [0, 0, 0, 0, 1, 1, 2, 2]
  start, stop = windows.concat_windows(len(tokens), 3)
  assert start.tolist() == [0, 3, 6]
  assert stop.tolist() == [3, 6, 8]


def test_concat_keeps_every_token_with_its_document():
  rng = np.random.default_rng(1)
  documents = [rng.integers(3, 99, size) for size in (4, 0, 1, 30)]
  tokens, source = windows.concatenate(documents, eos_id=1)
  assert len(tokens) == 35 + len(documents) - 1
  for index, document in enumerate(documents):
    mine = tokens[source == index]
    np.testing.assert_array_equal(mine[: len(document)], document)
    assert (mine[len(document) :] == 1).all()


def test_nothing():
  cut = windows.document_windows(np.zeros(3, np.int64), 5)
  assert all(len(field) == 0 for field in cut)
  tokens, source = windows.concatenate([], eos_id=1)
  assert len(tokens) == len(source) == 0
  assert [len(part) for part in windows.concat_windows(0, 5)] == [0, 0]
