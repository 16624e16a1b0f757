"""Score tables and selections: round trips, joins by id, broken files."""

import numpy as np
import pytest

from jaxcurate.io import manifest, tables
from jaxcurate.io.errors import UserError
from jaxcurate.types import Selection


def make_table(folder, ids, column='a', values=None, parts=2):
  values = np.arange(len(ids), dtype=np.float32) if values is None else values
  for part, rows in enumerate(np.array_split(np.arange(len(ids)), parts)):
    tables.write_table(
      folder / f'{part}.parquet',
      {
        'id': np.array(ids, object)[rows],
        'domain': np.array([None] * len(ids), object)[rows],
        'num_tokens': np.full(len(ids), 7, np.int32)[rows],
        column: np.asarray(values, np.float32)[rows],
      },
    )
  manifest.write_manifest(folder, {'kind': 'scores', 'columns': {column: 'u'}})


def test_round_trip_keeps_nan_as_no_score(tmp_path):
  make_table(tmp_path, ['x', 'y', 'z'], values=[1.5, np.nan, -2.0])
  table, left_out = tables.read_score_table([str(tmp_path)])
  assert table.id.tolist() == ['x', 'y', 'z']
  assert table.domain.tolist() == [None, None, None]
  assert table.num_tokens.tolist() == [7, 7, 7]
  np.testing.assert_array_equal(table.scores['a'], [1.5, np.nan, -2.0])
  assert table.scores['a'].dtype == np.float32
  assert table.units == {'a': 'u'} and left_out == {str(tmp_path): 0}
  column = tables.read_parquet(tmp_path / '0.parquet').column('a')
  assert column.null_count == 1


def test_join_is_by_id_and_counts_what_is_missing(tmp_path):
  one, two = tmp_path / 'one', tmp_path / 'two'
  make_table(one, ['x', 'y', 'z'])
  make_table(two, ['z', 'q', 'x'], column='b')
  table, left_out = tables.read_score_table([str(one), str(two)])
  assert table.id.tolist() == ['x', 'z']
  assert table.scores['a'].tolist() == [0.0, 2.0]
  assert table.scores['b'].tolist() == [2.0, 0.0]
  assert left_out == {str(one): 1, str(two): 1}


def test_bad_joins_say_what_to_do(tmp_path):
  one, two, same = tmp_path / 'one', tmp_path / 'two', tmp_path / 'same'
  make_table(one, ['x', 'y'])
  make_table(two, ['p', 'q'], column='b')
  make_table(same, ['x', 'x'], column='c')
  with pytest.raises(UserError, match='no id is common'):
    tables.read_score_table([str(one), str(two)])
  with pytest.raises(UserError, match="'a' is in several"):
    tables.read_score_table([str(one), str(one)])
  with pytest.raises(UserError, match="id 'x' occurs more than once"):
    tables.read_score_table([str(same)])
  with pytest.raises(UserError, match=r"no score column 'k'.*they have a"):
    tables.read_score_table([str(one)], ['k'])


def test_only_wanted_columns_are_read(tmp_path):
  make_table(tmp_path, ['x', 'y'])
  table, _ = tables.read_score_table([str(tmp_path)], ['a'])
  assert list(table.scores) == ['a']


def test_vectors_are_fixed_size_lists(tmp_path):
  vectors = np.arange(6, dtype=np.float32).reshape(3, 2)
  tables.write_table(tmp_path / 'v.parquet', {'v': vectors})
  column = tables.read_parquet(tmp_path / 'v.parquet').column('v')
  assert column.to_pylist() == vectors.tolist()
  assert column.type.list_size == 2


def test_broken_parquet_is_named(tmp_path):
  path = tmp_path / 'x.parquet'
  path.write_bytes(b'PAR1 not really')
  with pytest.raises(UserError, match=r'x\.parquet: cannot be read'):
    tables.read_parquet(path)
  with pytest.raises(UserError, match=r'none\.parquet'):
    tables.read_parquet(tmp_path / 'none.parquet')
  manifest.write_manifest(tmp_path, {'kind': 'selection'})
  path.unlink()
  with pytest.raises(UserError, match='no Parquet file'):
    tables.read_selection(tmp_path)


def test_selection_round_trip(tmp_path):
  selection = Selection(
    id=np.array(['a', 'ü'], object),
    count=np.array([1, 3], np.int32),
    expected_count=np.array([0.25, 2.5]),
  )
  tables.write_selection(tmp_path, selection, {'settings': {'seed': 1}})
  read = tables.read_selection(tmp_path)
  assert read.id.tolist() == ['a', 'ü'] and read.design == 'random'
  assert read.count.tolist() == [1, 3] and read.count.dtype == np.int32
  assert read.expected_count.tolist() == [0.25, 2.5]
  assert manifest.read_manifest(tmp_path)['num_rows'] == 2
