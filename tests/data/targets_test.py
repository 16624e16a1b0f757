"""Judgements from tables and files; each bad one is named."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jaxcurate.data import targets
from jaxcurate.io import manifest as manifests
from jaxcurate.io import tables
from jaxcurate.io.errors import UserError


@pytest.fixture
def write(tmp_path):
  """write(row, ...) -> path of a JSON Lines file."""

  def call(*rows):
    path = tmp_path / 'labels.jsonl'
    path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
    return str(path)

  return call


@pytest.fixture
def table(tmp_path):
  """A score folder with two columns of one unit and one of another."""
  folder = tmp_path / 'scores'
  columns = {'good': 'log P(yes)', 'safe': 'log P(yes)', 'rare': '-log density'}
  tables.write_table(
    folder / 'part-0.parquet',
    {
      'id': np.array(['a', 'b'], object),
      'domain': np.array([None, None], object),
      'num_tokens': np.array([3, 4], np.int32),
      'good': np.array([-1.0, np.nan], np.float32),
      'safe': np.array([-2.0, -3.0], np.float32),
      'rare': np.array([5.0, 6.0], np.float32),
    },
  )
  manifests.write_manifest(
    folder, {'kind': 'scores', 'columns': columns, 'settings': {}}
  )
  return str(folder)


def test_labels_of_a_file(write):
  found = targets.read_targets(
    write({'id': 'a', 'label': 1}, {'id': 7, 'label': False}, {'label': None})
  )
  assert found.id.tolist() == ['a', '7', 'labels.jsonl:2']
  np.testing.assert_array_equal(found.value, [[1], [0], [np.nan]])
  assert found.columns == ('label',) and found.unit == ''


def test_columns_by_name_and_parquet(tmp_path):
  path = tmp_path / 'labels.parquet'
  rows = {'doc': ['a', 'b'], 'x': [0.5, None], 'y': [1, 2]}
  pq.write_table(pa.table(rows), path)
  found = targets.read_targets(str(path), ['y', 'x'], id_field='doc')
  assert found.id.tolist() == ['a', 'b'] and found.columns == ('y', 'x')
  np.testing.assert_array_equal(found.value, [[1, 0.5], [2, np.nan]])


def test_columns_of_a_score_table(table):
  found = targets.read_targets(table, ['good', 'safe'])
  assert found.id.tolist() == ['a', 'b'] and found.unit == 'log P(yes)'
  np.testing.assert_array_equal(found.value, [[-1, -2], [np.nan, -3]])
  with pytest.raises(UserError, match='give --by=COLUMN, of good, safe, rare'):
    targets.read_targets(table)
  with pytest.raises(UserError, match='different units'):
    targets.read_targets(table, ['good', 'rare'])


def test_pairs(write):
  pair = {'id_a': 'a', 'id_b': 'b', 'edu': 0.25, 'style': None}
  found = targets.read_pairs(write(pair), ['edu', 'style'])
  assert found.id.tolist() == [['a', 'b']]
  np.testing.assert_array_equal(found.value, [[0.25, np.nan]])


@pytest.mark.parametrize(
  'rows, words',
  [
    ([{'id': 'a', 'grade': 1}], 'give --by=COLUMN, of id, grade'),
    ([{'id': 'a', 'label': 1, 'score': 2}], 'give --by=COLUMN'),
    ([{'id': 'a', 'label': 1}, {'id': 'a', 'label': 0}], "id 'a' is also that"),
    ([{'id': 'a', 'label': 1}, {'id': 'b'}], "labels.jsonl:1: no column 'lab"),
    ([{'id': 'a', 'label': 'good'}], "'label' is 'good', expected a finite"),
    ([{'id': 'a', 'label': [1]}], 'expected a finite number'),
    ([{'id': 'a', 'label': 1e999}], 'expected a finite number'),
  ],
)
def test_bad_targets_are_named(write, rows, words):
  with pytest.raises(UserError, match=words):
    targets.read_targets(write(*rows))


@pytest.mark.parametrize(
  'row, words',
  [
    ({'id_a': 'a', 'probability': 1}, "has no 'id_b'"),
    ({'id_a': 'a', 'id_b': 'a', 'probability': 1}, "'a' with itself"),
    ({'id_a': 'a', 'id_b': 'b', 'probability': 1.5}, r'1.5 is not in \[0, 1\]'),
    ({'id_a': 'a', 'id_b': 'b'}, "no column 'probability'"),
  ],
)
def test_bad_pairs_are_named(write, row, words):
  with pytest.raises(UserError, match=words):
    targets.read_pairs(write(row))


def test_an_empty_file_has_no_targets(write):
  assert targets.read_targets(write()).value.shape == (0, 0)
