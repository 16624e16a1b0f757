import json
import tracemalloc

import numpy as np
import pytest

from jaxcurate.data import token_builder, token_cache, token_part
from jaxcurate.data.vocabulary import ByteVocabulary
from jaxcurate.io.errors import UserError
from jaxcurate.ops.ids import hash_ids
from jaxcurate.types import Document, Selection

VOCABULARY = ByteVocabulary()


def _rows(count=200, start=0):
  return [
    Document(f'id{i}', f'text {i}', ['news', None, 'web'][i % 3])
    for i in range(start, start + count)
  ]


def _selection(counts):
  return Selection(
    id=np.array(list(counts), object),
    count=np.array(list(counts.values()), np.int32),
    expected_count=np.ones(len(counts)),
  )


def _build(folder, rows=None, **kwargs):
  kwargs = {'settings': {'input': 'docs'}, **kwargs}
  rows = _rows() if rows is None else rows
  return token_cache.build(folder, rows, VOCABULARY, **kwargs)


def _documents(part, domains):
  """id -> (text, domain name, copies)."""
  copies = np.diff(part.copies_end, prepend=0)
  table = {}
  for index in range(token_part.num_documents(part)):
    code = int(part.domain[index])
    table[token_part.document_id(part, index)] = (
      VOCABULARY.decode(token_part.document_tokens(part, index).tolist()),
      None if code < 0 else domains[code],
      int(copies[index]),
    )
  return table


def test_every_row_is_in_exactly_one_part(tmp_path):
  cache = _build(tmp_path / 'cache', holdout_share=0.25)
  train, held = (
    _documents(p, cache.domains) for p in (cache.train, cache.eval)
  )
  assert not set(train) & set(held)
  rows = {row.id: (row.text, row.domain, 1) for row in _rows()}
  assert {**train, **held} == rows
  assert list(train) == [id_ for id_ in rows if id_ in train]  # in order
  np.testing.assert_array_equal(cache.train.id_hash, hash_ids(train))
  assert cache.skipped == {'no tokens': 0, 'not selected': 0}
  # 200 draws of probability 1/4.
  assert abs(len(held) - 50) < 4 * np.sqrt(200 * 0.25 * 0.75)


def test_who_is_held_out_depends_on_the_id_alone(tmp_path):
  whole = _build(tmp_path / 'whole', holdout_share=0.2)
  held = set(_documents(whole.eval, whole.domains))
  some = _build(tmp_path / 'some', _rows(100, 50)[::-1], holdout_share=0.2)
  ids = {row.id for row in _rows(100, 50)}
  assert set(_documents(some.eval, some.domains)) == held & ids


def test_a_selection_filters_and_repeats_but_leaves_the_held_out_alone(
  tmp_path,
):
  whole = _build(tmp_path / 'whole', holdout_share=0.2)
  held = _documents(whole.eval, whole.domains)
  counts = {f'id{i}': 1 + i % 3 for i in range(0, 200, 2)}
  cache = _build(
    tmp_path / 'kept',
    selection=_selection({**counts, 'nowhere': 1}),
    holdout_share=0.2,
  )
  assert _documents(cache.eval, cache.domains) == held
  train = _documents(cache.train, cache.domains)
  expected = {id_: n for id_, n in counts.items() if id_ not in held}
  assert {id_: row[2] for id_, row in train.items()} == expected
  assert token_part.num_copies(cache.train) == sum(expected.values())
  assert cache.skipped == {
    'no tokens': 0,
    'not selected': 200 - len(held) - len(expected),
    'selected but not in the corpus': 1,
  }


def test_an_evaluation_corpus_replaces_the_held_out_share(tmp_path):
  cache = _build(tmp_path / 'cache', eval_rows=_rows(7, 1000))
  assert token_part.num_documents(cache.train) == 200
  assert list(_documents(cache.eval, cache.domains)) == [
    f'id{i}' for i in range(1000, 1007)
  ]


def test_the_same_settings_open_it_and_others_are_refused(tmp_path):
  folder = tmp_path / 'cache'
  first = _build(folder)
  again = _build(folder, iter(()))  # nothing is read
  assert again.fingerprint == first.fingerprint
  np.testing.assert_array_equal(again.train.tokens, first.train.tokens)
  with pytest.raises(UserError, match=r"input: 'docs' there, 'other' now"):
    _build(folder, settings={'input': 'other'})
  with pytest.raises(UserError, match=r'holdout_share: 0.01 there, 0.5 now'):
    _build(folder, holdout_share=0.5)
  with pytest.raises(UserError, match='selection: None there'):
    _build(folder, selection=_selection({'id1': 1}))
  with pytest.raises(UserError, match=r'vocabulary: .bytes\+100. there'):
    token_cache.build(folder, [], ByteVocabulary(7), settings={'input': 'docs'})


class _Killed(BaseException):
  """Stands for a signal."""


def test_a_killed_build_is_done_again(tmp_path, monkeypatch):
  monkeypatch.setattr(token_cache, '_BLOCK_ROWS', 16)
  folder = tmp_path / 'cache'

  def dying():
    yield from _rows(100)
    raise _Killed

  with pytest.raises(_Killed):
    _build(folder, dying())
  assert not folder.exists()
  # What SIGKILL leaves: half a build.
  (tmp_path / 'cache.building' / 'train').mkdir(parents=True)
  (tmp_path / 'cache.building' / 'train' / 'tokens').write_bytes(b'abc')
  cache, undisturbed = _build(folder), _build(tmp_path / 'other')
  for first, second in zip(cache.train, undisturbed.train, strict=True):
    np.testing.assert_array_equal(first, second)
  assert sorted(path.name for path in tmp_path.iterdir()) == ['cache', 'other']


def test_blocks_do_not_show(tmp_path, monkeypatch):
  whole = _build(tmp_path / 'whole')
  for name, size in (('_BLOCK_ROWS', 7), ('_BLOCK_CHARACTERS', 20)):
    monkeypatch.setattr(token_cache, name, size)
    cache = _build(tmp_path / name)
    for first, second in zip(cache.train, whole.train, strict=True):
      np.testing.assert_array_equal(first, second)


def test_memory_does_not_grow_with_the_corpus(tmp_path, monkeypatch):
  monkeypatch.setattr(token_cache, '_BLOCK_ROWS', 64)
  peaks = []
  for size in (300, 3000):
    rows = (Document(f'id{i}', 'word ' * 40, None) for i in range(size))
    tracemalloc.start()
    _build(tmp_path / str(size), rows)
    peaks.append(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
  assert peaks[1] < 1.5 * peaks[0]


def test_large_vocabularies_take_four_bytes(tmp_path):
  large = token_cache.build(
    tmp_path / 'large', _rows(), ByteVocabulary(70_000), settings={}
  )
  assert large.train.tokens.dtype == np.int32
  assert _build(tmp_path / 'small').train.tokens.dtype == np.uint16


def test_a_column_is_joined_by_id(tmp_path):
  cache = _build(tmp_path / 'cache')
  ids = np.array([row.id for row in _rows()][::-1], object)
  values = np.array([float(id_[2:]) for id_ in ids])
  column = token_cache.document_column(cache.train, ids, values)
  kept = _documents(cache.train, cache.domains)
  assert column.tolist() == [float(id_[2:]) for id_ in kept]
  assert column.dtype == np.float32
  for some in (slice(0, 50), slice(0, 0)):
    with pytest.raises(UserError, match=r'score: \d+ of \d+ documents have no'):
      token_cache.document_column(cache.train, ids[some], values[some], 'score')


def test_nothing_left_is_one_clear_line(tmp_path):
  empty = [Document('a', '', None), Document('b', 'text', None)]
  with pytest.raises(UserError, match=r'left to train on .*1 not selected'):
    _build(tmp_path / 'c', empty, selection=_selection({'a': 1}))
  with pytest.raises(UserError, match='the corpus is empty'):
    _build(tmp_path / 'c', [])
  with pytest.raises(UserError, match=r'held-out share is 1.0'):
    _build(tmp_path / 'c', holdout_share=1.0)
  assert not list(tmp_path.iterdir())


def test_empty_texts_and_empty_selections(tmp_path):
  rows = [Document('a', '', 'web'), *_rows(3)]
  cache = _build(tmp_path / 'c', rows, holdout_share=0.0)
  assert cache.skipped['no tokens'] == 1
  assert token_part.num_documents(cache.train) == 3
  with pytest.raises(UserError, match='200 not selected'):
    _build(tmp_path / 'd', selection=_selection({}), holdout_share=0.0)


def test_broken_folders(tmp_path):
  with pytest.raises(UserError, match='nowhere: not a token cache'):
    token_cache.open_cache(tmp_path / 'nowhere')
  folder = tmp_path / 'cache'
  _build(folder)
  (folder / token_builder.META).write_text(json.dumps({}))
  with pytest.raises(UserError, match=r'not a token cache .*delete the folder'):
    token_cache.open_cache(folder)
  (tmp_path / 'file').write_text('')
  with pytest.raises(UserError, match='cannot write the token cache'):
    _build(tmp_path / 'file' / 'cache')
