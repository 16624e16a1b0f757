import numpy as np
import pytest

from jaxcurate.data import token_part
from jaxcurate.ops.ids import hash_ids


def _write(folder, blocks, token_dtype='uint16'):
  writer = token_part.PartWriter(folder, token_dtype)
  for documents in blocks:
    ids = [id_ for id_, *_ in documents]
    writer.append(
      [tokens for _, tokens, *_ in documents],
      ids,
      hash_ids(ids),
      np.array([domain for _, _, domain, _ in documents], np.int32),
      np.array([copies for *_, copies in documents], np.int32),
    )
  writer.finish()
  return token_part.open_part(folder, token_dtype)


BLOCKS = [
  [('a', [5, 6, 7], 0, 1), ('é\ud800', [65_000], -1, 3)],
  [],
  [('c', [8, 9], 1, 2)],
]


def test_by_hand(tmp_path):
  part = _write(tmp_path / 'part', BLOCKS)
  assert token_part.num_documents(part) == 3
  assert token_part.num_copies(part) == 6
  assert [token_part.document_id(part, i) for i in range(3)] == [
    'a',
    'é\ud800',
    'c',
  ]
  tokens = [token_part.document_tokens(part, i).tolist() for i in range(3)]
  assert tokens == [[5, 6, 7], [65_000], [8, 9]]
  assert part.domain.tolist() == [0, -1, 1]
  np.testing.assert_array_equal(part.id_hash, hash_ids(['a', 'é\ud800', 'c']))
  assert part.tokens.dtype == np.uint16


def test_copies_are_listed_one_after_the_other(tmp_path):
  part = _write(tmp_path / 'part', BLOCKS)
  document, copy = token_part.copy_of(part.copies_end, np.arange(6))
  assert document.tolist() == [0, 1, 1, 1, 2, 2]
  assert copy.tolist() == [0, 0, 1, 2, 0, 1]


@pytest.mark.parametrize('token_dtype', ['uint16', 'int32'])
def test_blocks_do_not_show(tmp_path, token_dtype):
  rng = np.random.default_rng(0)
  documents = [
    (f'id {i}', rng.integers(1, 60_000, rng.integers(1, 20)).tolist(), i, 1)
    for i in range(30)
  ]
  one = _write(tmp_path / 'one', [documents], token_dtype)
  many = _write(
    tmp_path / 'many',
    [documents[:1], documents[1:20], documents[20:]],
    token_dtype,
  )
  for name, first, second in zip(one._fields, one, many, strict=True):
    np.testing.assert_array_equal(first, second, err_msg=name)
    assert first.dtype == second.dtype
  for index, (id_, tokens, *_) in enumerate(documents):
    assert token_part.document_tokens(many, index).tolist() == tokens
    assert token_part.document_id(many, index) == id_


def test_no_documents(tmp_path):
  part = _write(tmp_path / 'part', [])
  assert token_part.num_documents(part) == token_part.num_copies(part) == 0
  assert len(part.offsets) == 1


def test_a_token_that_does_not_fit_is_not_wrapped(tmp_path):
  with pytest.raises(OverflowError, match='65536'):
    _write(tmp_path / 'part', [[('a', [65_536], 0, 1)]])
