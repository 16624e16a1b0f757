import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jaxcurate.data.readers import open_corpus
from jaxcurate.io.errors import UserError


def rows_of(path, **settings):
  return list(open_corpus([str(path)], **settings).rows())


def test_equals_the_same_rows_as_json_lines(tmp_path):
  rows = [
    {'text': f'däta {i}', 'id': i, 'domain': 'ab'[i % 2], 'other': [i]}
    for i in range(50)
  ]
  pq.write_table(
    pa.Table.from_pylist(rows), tmp_path / 'a.parquet', row_group_size=7
  )
  (tmp_path / 'a.jsonl').write_text('\n'.join(map(json.dumps, rows)))
  expected = rows_of(tmp_path / 'a.jsonl')
  assert rows_of(tmp_path / 'a.parquet') == expected


@pytest.mark.parametrize(
  'kind',
  [
    pa.string(),
    pa.large_string(),
    pa.string_view(),
    pa.binary(),
    pa.dictionary(pa.int32(), pa.string()),
  ],
)
def test_text_types(tmp_path, kind):
  column = pa.array(['a', 'ä', None, 'c']).cast(kind)
  path = tmp_path / 'a.parquet'
  pq.write_table(pa.table({'text': column}), path)
  rows = rows_of(path, on_bad_row='skip')
  assert [row.text for row in rows] == ['a', 'ä', 'c']
  assert [row.id for row in rows] == [f'a.parquet:{i}' for i in (0, 1, 3)]


def test_invalid_utf8_is_one_bad_row(tmp_path):
  data = pa.array([b'good', b'\xff', b'fine']).view(pa.string())
  path = tmp_path / 'a.parquet'
  pq.write_table(pa.table({'text': data}), path)
  (block,) = open_corpus([str(path)], on_bad_row='skip').blocks(block_rows=9)
  assert [row.text for row in block.rows] == ['good', 'fine']
  assert block.skipped == {'invalid UTF-8': 1}


@pytest.mark.parametrize(
  'kind', [pa.list_(pa.float32()), pa.list_(pa.float64(), 4)]
)
def test_vectors(tmp_path, kind):
  vectors = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
  table = pa.table(
    {'text': list('abcdef'), 'v': pa.array(vectors.tolist(), kind)}
  )
  path = tmp_path / 'a.parquet'
  pq.write_table(table, path)
  rows = rows_of(path, vector_field='v')
  np.testing.assert_array_equal(np.stack([row.vector for row in rows]), vectors)


@pytest.mark.parametrize('block_rows', [1, 4, 1000, 1500])
def test_blocks_cross_row_groups(tmp_path, block_rows):
  path = tmp_path / 'a.parquet'
  count = 2500 if block_rows >= 1000 else 20
  table = pa.table({'text': [f't{i}' for i in range(count)]})
  pq.write_table(table, path, row_group_size=1100 if count > 20 else 6)
  corpus = open_corpus([str(path)])
  whole = list(corpus.blocks(block_rows=block_rows))
  assert [row.text for block in whole for row in block.rows] == (
    table.column('text').to_pylist()
  )
  odd = [block for block in whole if block.start // block_rows % 2]
  rest = corpus.blocks(
    block_rows=block_rows,
    done=lambda file, start: start // block_rows % 2 == 0,
  )
  assert [block[:4] for block in rest] == [block[:4] for block in odd]


def test_done_row_groups_are_not_read(tmp_path):
  path = tmp_path / 'a.parquet'
  table = pa.table({'text': [str(i) * 500 for i in range(40)]})
  pq.write_table(table, path, row_group_size=10, compression='none')
  offset = pq.ParquetFile(path).metadata.row_group(0).column(0)
  data = bytearray(path.read_bytes())
  start = offset.dictionary_page_offset or offset.data_page_offset
  data[start : start + 40] = bytes(40)  # damage the first row group
  path.write_bytes(data)
  corpus = open_corpus([str(path)])
  late = corpus.blocks(block_rows=10, done=lambda file, start: start == 0)
  assert sum(len(block.rows) for block in late) == 30
  with pytest.raises(UserError, match=r'a\.parquet:0: corrupt'):
    list(corpus.rows())


def test_truncated_and_missing_column(tmp_path):
  path = tmp_path / 'a.parquet'
  pq.write_table(pa.table({'body': ['x'], 'url': ['u']}), path)
  with pytest.raises(UserError, match='fields present: body, url'):
    rows_of(path)
  path.write_bytes(path.read_bytes()[:-20])
  with pytest.raises(UserError, match=r'a\.parquet:0: corrupt'):
    rows_of(path)


def test_conversations_are_read_when_asked_for(tmp_path):
  turns = [{'role': 'user', 'content': 'Hé'}, {'role': 'gpt', 'content': 'b'}]
  table = pa.table({'messages': [turns, None], 'text': [None, 'plain']})
  pq.write_table(table, tmp_path / 'a.parquet')
  first, second = open_corpus([str(tmp_path)], turns=True).rows()
  assert first.turns == (('user', 'Hé'), ('assistant', 'b'))
  assert (second.text, second.turns) == ('plain', None)


def test_columns_that_hold_no_conversation(tmp_path):
  pq.write_table(pa.table({'body': ['a', 'b']}), tmp_path / 'a.parquet')
  corpus = open_corpus([str(tmp_path)], turns=True, on_bad_row='skip')
  (block,) = corpus.blocks(block_rows=9)
  assert block.skipped == {'missing text field': 2}


def test_invalid_utf8_in_a_turn_is_one_bad_row(tmp_path):
  good, bad = b'good', b'bad \xff'
  contents = pa.array([good, bad, good]).cast(pa.binary())
  contents = pa.Array.from_buffers(pa.string(), 3, contents.buffers())
  roles = pa.array(['user'] * 3)
  structs = pa.StructArray.from_arrays([roles, contents], ['role', 'content'])
  lists = pa.ListArray.from_arrays(pa.array([0, 1, 2, 3]), structs)
  pq.write_table(pa.table({'messages': lists}), tmp_path / 'a.parquet')
  corpus = open_corpus([str(tmp_path)], turns=True, on_bad_row='skip')
  (block,) = corpus.blocks(block_rows=9)
  assert [document.text for document in block.rows] == ['good', 'good']
  assert block.skipped == {'invalid UTF-8': 1}
