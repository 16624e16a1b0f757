"""Every format and compression gives the same rows; damage has a reason."""

import bz2
import gzip
import json
import lzma

import numpy as np
import pytest
import zstandard

from jaxcurate.data import formats
from jaxcurate.data.readers import open_corpus
from jaxcurate.io.errors import UserError

ROWS = [{'text': f'däta {i} 漢字 ' * 40, 'id': f'r{i}'} for i in range(300)]
JSONL = ''.join(json.dumps(row, ensure_ascii=False) + '\n' for row in ROWS)
COMPRESS = {
  '': lambda data: data,
  '.gz': gzip.compress,
  '.xz': lzma.compress,
  '.bz2': lambda data: bz2.compress(data, 1),
  '.zst': zstandard.ZstdCompressor().compress,
}


def read(path, **settings):
  """(rows, skipped) of a corpus of one block."""
  (block,) = open_corpus([str(path)], **settings).blocks(block_rows=10**6)
  return block.rows, block.skipped


@pytest.mark.parametrize('suffix', COMPRESS)
def test_compressions_agree(tmp_path, suffix):
  path = tmp_path / f'a.jsonl{suffix}'
  path.write_bytes(COMPRESS[suffix](JSONL.encode()))
  rows, _ = read(path)
  assert [row.text for row in rows] == [row['text'] for row in ROWS]


@pytest.mark.parametrize('suffix', ['.gz', '.xz', '.bz2', '.zst'])
def test_concatenated_members_are_one_file(tmp_path, suffix):
  path = tmp_path / f'a.jsonl{suffix}'
  half = len(JSONL.encode()) // 2
  first, second = JSONL.encode()[:half], JSONL.encode()[half:]
  path.write_bytes(COMPRESS[suffix](first) + COMPRESS[suffix](second))
  assert len(read(path)[0]) == len(ROWS)


@pytest.mark.parametrize('suffix', ['.gz', '.xz', '.bz2', '.zst'])
def test_truncated_file(tmp_path, suffix):
  rng = np.random.default_rng(0)  # incompressible, so that half holds rows
  noise = [rng.bytes(8_000).hex() for _ in range(80)]
  rows = [json.dumps({'text': text}) + '\n' for text in noise]
  data = COMPRESS[suffix](''.join(rows).encode())
  path = tmp_path / f'a.jsonl{suffix}'
  path.write_bytes(data[: len(data) // 2])
  good, skipped = read(path, on_bad_row='skip')
  assert skipped == {'truncated': 1}
  assert 10 < len(good) <= 40
  assert [row.text for row in good] == noise[: len(good)]
  blocks = open_corpus([str(path)]).blocks(block_rows=len(good))
  assert len(next(blocks).rows) == len(good)
  with pytest.raises(UserError, match=f'{len(good)}: truncated: .*ends early'):
    next(blocks)


@pytest.mark.parametrize('suffix', ['.gz', '.xz', '.bz2', '.zst'])
def test_corrupt_file(tmp_path, suffix):
  path = tmp_path / f'a.jsonl{suffix}'
  data = bytearray(COMPRESS[suffix](JSONL.encode()))
  if suffix == '.gz':
    data[-6] ^= 0xFF  # its checksum; deflate itself decodes almost anything
  else:
    data[len(data) // 2 :] = b'\xff' * (len(data) - len(data) // 2)
  path.write_bytes(data)
  good, skipped = read(path, on_bad_row='skip')
  assert len(good) <= len(ROWS)
  assert skipped == {'corrupt': 1}


def test_damage_belongs_to_one_block_only(tmp_path):
  path = tmp_path / 'a.jsonl.gz'
  path.write_bytes(gzip.compress(JSONL.encode())[:-9])
  corpus = open_corpus([str(path)], on_bad_row='skip')
  blocks = list(corpus.blocks(block_rows=7))
  assert sum(block.skipped.get('truncated', 0) for block in blocks) == 1
  damaged = blocks[-1].start
  rest = corpus.blocks(block_rows=7, done=lambda file, start: start == damaged)
  assert not any(block.skipped for block in rest)


BAD_LINES = [
  (b'{"text": "x"', 'broken JSON'),
  (b'[[[' * 100_000, 'broken JSON'),
  (b'["text"]', 'row not an object'),
  (b'3', 'row not an object'),
  (b'{"txt": "x"}', 'missing text field'),
  (b'{"text": null}', 'text not a string'),
  (b'{"text": 3.5}', 'text not a string'),
  (b'{"text": true}', 'text not a string'),
  (b'{"text": {"a": 1}}', 'text not a string'),
  (b'{"text": ""}', 'empty'),
  (b'{"text": " \\n\\t\\u00a0"}', 'empty'),
  (b'{"text": "a\xff"}', 'invalid UTF-8'),
  (b'{"text": "a\x00"}', 'NUL byte'),
  (b'{"text": "a\\u0000"}', 'NUL byte'),
  (b'{"text": "a\\ud800"}', 'invalid unicode'),
  (b'{"text": "a", "id": "\\udfff"}', 'bad id'),
  (b'{"text": "a", "id": [1]}', 'bad id'),
  (b'{"text": "a", "domain": 1.5}', 'bad domain'),
]


def test_bad_lines_by_reason(tmp_path):
  path = tmp_path / 'a.jsonl'
  for line, reason in BAD_LINES:
    path.write_bytes(b'{"text": "first"}\n' + line + b'\n{"text": "last"}')
    good, skipped = read(path, on_bad_row='skip')
    assert skipped == {reason: 1}, line[:40]
    assert [row.id for row in good] == ['a.jsonl:0', 'a.jsonl:2']
    with pytest.raises(UserError, match=f'a.jsonl:1: {reason}'):
      read(path)


def test_what_is_not_bad(tmp_path):
  path = tmp_path / 'a.jsonl'
  path.write_bytes(
    b'\xef\xbb\xbf{"text": "bom"}\r\n\n  \n'
    b'{"text": "\\ud83d\\ude00", "id": ""}\n{"text": "n", "id": 12}'
  )
  rows, _ = read(path)
  assert [row.text for row in rows] == ['bom', '😀', 'n']
  assert [row.id for row in rows] == ['a.jsonl:0', 'a.jsonl:3', '12']


def test_a_ten_million_character_document(tmp_path):
  text = 'wörd ' * 2_000_000
  rows = [{'text': 'a'}, {'text': text}, {'text': 'b'}]
  path = tmp_path / 'a.jsonl'
  path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
  assert [len(row.text) for row in read(path)[0]] == [1, 10_000_000, 1]


def test_text_files_are_documents_of_one_source(tmp_path):
  (tmp_path / 'b.txt').write_text('two')
  (tmp_path / 'sub').mkdir()
  (tmp_path / 'sub' / 'a.md').write_text('three')
  (tmp_path / 'a.txt.gz').write_bytes(gzip.compress(b'one'))
  (block,) = open_corpus([str(tmp_path)]).blocks(block_rows=8)
  assert (block.file, block.end, block.last) == ('*.txt', 3, True)
  found = {row.id: row.text for row in block.rows}
  assert found == {'a.txt.gz:0': 'one', 'b.txt:0': 'two', 'sub/a.md:0': 'three'}
  (tmp_path / 'b.txt').write_bytes(b'\xff\xfe')
  with pytest.raises(UserError, match=r'b\.txt:0: invalid UTF-8'):
    list(open_corpus([str(tmp_path)]).rows())


def test_format_by_name_overrides_the_extension(tmp_path):
  path = tmp_path / 'rows.data'
  path.write_text('{"text": "x"}')
  with pytest.raises(UserError, match=r'unknown extension; known: \.jsonl'):
    open_corpus([str(path)])
  assert read(path, format='jsonl')[0][0].text == 'x'
  assert read(path, format='text')[0][0].text == '{"text": "x"}'
  with pytest.raises(UserError, match="unknown format 'csv'"):
    open_corpus([str(path)], format='csv')


def test_extensions():
  assert formats.format_of('x/features.json') is None
  assert formats.format_of('x/a.jsonl-00000-of-00002') == 'jsonl'
  assert formats.format_of('x/a.parquet') == 'parquet'
  assert formats.format_of('x/a.gz') is None


def write_many(folder, kind, counts):
  """Files of one format with that many rows each, some of them bad."""
  import pyarrow as pa
  import pyarrow.parquet as pq

  for number, count in enumerate(counts):
    rows = [
      {'text': '' if i % 5 == 3 else f'file {number} row {i}'}
      for i in range(count)
    ]
    path = folder / f'{number}.{kind}'
    if kind == 'parquet':
      table = pa.Table.from_pylist(rows, pa.schema([('text', pa.string())]))
      pq.write_table(table, path, row_group_size=3)
    elif kind == 'txt':
      for i, row in enumerate(rows):
        (folder / f'{number}-{i}.txt').write_text(row['text'])
    else:
      lines = ''.join(json.dumps(row) + '\n' for row in rows).encode()
      path.write_bytes(COMPRESS[kind.removeprefix('jsonl')](lines))


@pytest.mark.parametrize(
  'kind', ['jsonl', 'jsonl.gz', 'jsonl.zst', 'parquet', 'txt']
)
def test_killed_anywhere_and_resumed_gives_the_same_rows(tmp_path, kind):
  write_many(tmp_path, kind, [7, 1, 0, 12])
  corpus = open_corpus([str(tmp_path)], on_bad_row='skip')
  whole = list(corpus.blocks(block_rows=2))
  assert sum(block.end - block.start for block in whole) == 20
  assert sum(block.skipped.get('empty', 0) for block in whole) == 3
  rng = np.random.default_rng(0)
  for num_shards in (1, 2, 3):
    committed = {}
    while len(committed) < len(whole):
      shard = int(rng.integers(num_shards))
      blocks = corpus.blocks(
        block_rows=2,
        shard=shard,
        num_shards=num_shards,
        done=lambda *key, committed=committed: key in committed,
      )
      for _, block in zip(range(rng.integers(1, 4)), blocks, strict=False):
        assert block[:2] not in committed  # nothing is repeated
        committed[block[:2]] = block
    for block in whole:  # nothing is lost, nothing differs
      assert committed[block[:2]][:5] == block[:5]
