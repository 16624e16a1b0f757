"""Scores that come in a file of their own."""

import json

import numpy as np
import pytest

from jaxcurate.data import score_columns
from jaxcurate.io import manifest as manifests
from jaxcurate.io import tables
from jaxcurate.io.errors import UserError
from jaxcurate.types import ScoreTable

IDS = np.array(['1', '2', '3'], object)
STARS = np.array([0.5, np.nan, 2.0], np.float32)


@pytest.fixture
def sources(tmp_path):
  """The same scores as JSON Lines, as Parquet and as a score folder."""
  lines = tmp_path / 'l.jsonl'
  rows = [
    {'id': 1, 'stars': 0.5, 'who': 'a', 'num_tokens': 7},
    {'id': 2, 'stars': None},
    {'id': 3, 'stars': 2},
  ]
  lines.write_text(''.join(json.dumps(row) + '\n' for row in rows))
  columns = {'id': IDS, 'stars': STARS}
  tables.write_table(tmp_path / 'p.parquet', columns)
  folder = tmp_path / 'scores'
  rest = {'domain': IDS, 'num_tokens': np.ones(3, np.int32)}
  tables.write_table(folder / 'part-0.parquet', columns | rest)
  content = {'kind': 'scores', 'columns': {'stars': 'of five'}}
  manifests.write_manifest(folder, content)
  return [str(lines), str(tmp_path / 'p.parquet'), str(folder)]


def test_files_and_score_folders_say_the_same(sources):
  found = [score_columns.read_columns(path) for path in sources]
  for one in found:
    assert list(one.scores) == ['stars']
    np.testing.assert_array_equal(one.scores['stars'], STARS)
    assert one.row == {'1': 0, '2': 1, '3': 2}
  assert [one.units['stars'] for one in found] == ['', '', 'of five']
  assert len({one.digest() for one in found}) == 1
  for path in sources:
    assert score_columns.read_columns(path, ['other']).scores == {}


def test_ids_are_joined_whatever_their_order(sources):
  table = ScoreTable(
    id=np.array(['3', 'x', '1'], object),
    domain=np.array([None] * 3, object),
    num_tokens=np.ones(3, np.int32),
    scores={'own': np.zeros(3, np.float32)},
    units={'own': 'nats'},
  )
  columns = score_columns.read_columns(sources[0])
  joined, missed = score_columns.join(table, columns, ['stars'])
  np.testing.assert_array_equal(joined.scores['stars'], [2.0, np.nan, 0.5])
  assert joined.scores['stars'].dtype == np.float32
  assert joined.units == {'own': 'nats', 'stars': ''}
  assert missed == {'without a row': 1, 'not in the tables': 1}


@pytest.mark.parametrize(
  ('line', 'names', 'why'),
  [
    ('{"stars": 1}', None, ":0: has no 'id'"),
    ('{"id": 1}\n{"id": 1, "s": 2}', None, ':1: id 1 has scores already'),
    ('{"id": 1, "s": "good"}', ['s'], ":0: 's' is 'good' of type str, exp"),
    ('{"id": 1, "s": 2}\n{"id": 2, "s": true}', None, ":1: 's' is 'True' of"),
    ('{', None, 'JSON'),
  ],
)  # fmt: skip
def test_rows_without_a_meaning_are_named(tmp_path, line, names, why):
  path = tmp_path / 'scores.jsonl'
  path.write_text(line + '\n')
  with pytest.raises(UserError, match=why) as caught:
    score_columns.read_columns(str(path), names)
  assert str(path) in str(caught.value)


def test_an_empty_file_scores_nothing(tmp_path):
  path = tmp_path / 'scores.jsonl'
  path.write_text('')
  columns = score_columns.read_columns(str(path))
  assert columns.row == {} and columns.scores == {}
