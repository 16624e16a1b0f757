"""Ids from selections, tables and labelled files."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jaxcurate.data import read_ids
from jaxcurate.io import manifest as manifests
from jaxcurate.io import tables
from jaxcurate.io.errors import UserError
from jaxcurate.types import Selection


def write_lines(path, rows):
  path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
  return str(path)


def test_rows_of_every_format(tmp_path):
  rows = [{'id': 'b', 'label': 1}, {'id': 7, 'label': 0}]
  lines = write_lines(tmp_path / 'a.jsonl', rows)
  assert read_ids.read_ids(lines) == ['b', '7']
  pq.write_table(
    pa.table({'id': ['x', 'y'], 'n': [1, 2]}), tmp_path / 'b.parquet'
  )
  assert read_ids.read_ids(str(tmp_path / 'b.parquet')) == ['x', 'y']
  (tmp_path / 'c.tsv').write_text('id\tlabel\np\t1\nq\t0\n')
  assert read_ids.read_ids(str(tmp_path / 'c.tsv')) == ['p', 'q']
  (tmp_path / 'note.txt').write_text('not rows')
  assert read_ids.read_ids(str(tmp_path)) == ['b', '7', 'x', 'y', 'p', 'q']
  other = write_lines(tmp_path / 'd.jsonl', [{'name': 'n'}])
  assert read_ids.read_ids(other, 'name') == ['n']


def test_a_selection_and_a_table_by_their_parquet_files_alone(tmp_path):
  ids = np.array(['a', 'b'], object)
  kept = Selection(ids, np.ones(2, np.int32), np.ones(2))
  tables.write_selection(tmp_path / 'kept', kept, {'settings': {}})
  assert read_ids.read_ids(str(tmp_path / 'kept')) == ['a', 'b']
  scores = tmp_path / 'scores'
  for part in 'pq':
    tables.write_table(scores / f'{part}.parquet', {'id': ids + part})
  write_lines(scores / 'examples.jsonl', [{'id': 'ap'}])
  manifests.write_manifest(scores, {'kind': 'scores', 'columns': {}})
  assert read_ids.read_ids(str(scores)) == ['ap', 'bp', 'aq', 'bq']


def test_no_rows_are_no_ids(tmp_path):
  assert read_ids.read_ids(write_lines(tmp_path / 'a.jsonl', [])) == []


@pytest.mark.parametrize(
  'name, text, words',
  [
    ('a.jsonl', '{"id": "x"}\n{"label": 1}\n', ["a.jsonl:1: has no 'id'"]),
    ('a.jsonl', '{"id": ""}\n', ["a.jsonl:0: has no 'id'"]),
    ('a.jsonl', '{"id": "x"}\n{"id": 0.5}\n', ['a.jsonl:1', 'float']),
    ('a.jsonl', '{"id": "x"\n', ['a.jsonl:0', 'broken JSON']),
    ('a.txt', 'x\ny\n', ['a.txt', 'JSON Lines', 'selection']),
    ('a.tsv', 'name\nx\n', ['a.tsv:0', 'columns']),
    ('a.parquet', 'PAR', ['a.parquet:0', 'corrupt']),
  ],
)
def test_bad_files_are_named(tmp_path, name, text, words):
  (tmp_path / name).write_text(text)
  with pytest.raises(UserError) as caught:
    read_ids.read_ids(str(tmp_path / name))
  assert all(word in str(caught.value) for word in words), caught.value


def test_nothing_there(tmp_path):
  with pytest.raises(UserError, match='no file to read found'):
    read_ids.read_ids(str(tmp_path / 'none.jsonl'))
