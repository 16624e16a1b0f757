"""The best and worst documents of a column, with the start of their text."""

import json

import numpy as np

from jaxcurate.data import readers
from jaxcurate.scoring import excerpts, parts


def commit(folder, scores, *, file='a.jsonl', start=0, ids=None):
  count = len(scores)
  part = parts.Part(file, start, start + count, True, {}, num_rows=count)
  columns = {
    'id': np.array(
      ids or [f'{file}:{start + i}' for i in range(count)], object
    ),
    'domain': np.array(['d'] * count, object),
    'num_tokens': np.ones(count, np.int32),
    'x': np.array(scores, np.float32),
  }
  parts.commit(folder, part, columns)
  return part


def test_three_by_hand(tmp_path):
  part = commit(tmp_path, [2.0, 3.0, 1.0])
  found = excerpts.extremes(tmp_path, [part], ['x'])
  assert [(e.side, e.rank, e.id, e.score) for e in found] == [
    ('high', 0, 'a.jsonl:1', 3.0),
    ('high', 1, 'a.jsonl:0', 2.0),
    ('high', 2, 'a.jsonl:2', 1.0),
    ('low', 0, 'a.jsonl:2', 1.0),
    ('low', 1, 'a.jsonl:0', 2.0),
    ('low', 2, 'a.jsonl:1', 3.0),
  ]
  assert all(e.part == part and e.domain == 'd' for e in found)


def test_as_sorting_everything_at_once(tmp_path):
  rng = np.random.default_rng(0)
  scores = np.round(rng.normal(size=(4, 50)), 2)  # with ties
  found = excerpts.extremes(
    tmp_path,
    [commit(tmp_path, row, start=50 * i) for i, row in enumerate(scores)],
    ['x'],
  )
  flat = np.float32(scores.ravel())
  for side, sign in (('high', -1), ('low', 1)):
    own = [e.score for e in found if e.side == side]
    np.testing.assert_array_equal(own, sign * np.sort(sign * flat)[:20])


def test_ties_go_by_id_and_missing_scores_are_left_out(tmp_path):
  part = commit(tmp_path, [1.0, 1.0, np.nan], ids=['b', 'a', 'c'])
  found = excerpts.extremes(tmp_path, [part], ['x'])
  assert [e.id for e in found] == ['a', 'b', 'a', 'b']


def test_ties_within_one_chunk_beyond_the_count(tmp_path):
  ids = [f'{i:02d}' for i in range(50)][::-1]
  part = commit(tmp_path, [1.0] * 50, ids=ids)
  found = excerpts.extremes(tmp_path, [part], ['x'])
  for side in ('high', 'low'):
    own = [e.id for e in found if e.side == side]
    assert own == sorted(ids)[:20]


def test_texts_come_from_the_chunks_that_hold_them(tmp_path):
  (tmp_path / 'in').mkdir()
  for name in 'ab':
    rows = [{'text': f'{name}{i} <b>é</b> ' + 'x' * 700} for i in range(40)]
    path = tmp_path / 'in' / f'{name}.jsonl'
    path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
  corpus = readers.open_corpus([str(tmp_path / 'in' / '*.jsonl')])
  (tmp_path / 'out').mkdir()
  # Rows 8 to 15 of b.jsonl hold all extremes.
  found = [
    commit(tmp_path / 'out', np.linspace(5, 9, 8), file='b.jsonl', start=8)
  ]
  best = excerpts.extremes(tmp_path / 'out', found, ['x'])
  excerpts.write_excerpts(corpus, best, tmp_path / 'out', 8)
  lines = (tmp_path / 'out' / excerpts.NAME).read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  assert len(rows) == 16
  assert rows[0]['id'] == 'b.jsonl:15'
  assert rows[0]['score'] == 9.0
  assert rows[0]['text'].startswith('b15 <b>é</b> xx')
  assert {len(row['text']) for row in rows} == {excerpts.MAX_CHARACTERS}
  assert list(rows[0]) == [
    'column', 'side', 'rank', 'id', 'domain', 'score', 'text'
  ]  # fmt: skip
