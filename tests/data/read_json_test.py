import json
import lzma

import pytest

from jaxcurate.data.cells import Bad
from jaxcurate.data.read_json import read_json
from jaxcurate.data.readers import open_corpus
from jaxcurate.data.rows import everything

ROWS = [{'text': f'däta {i}'} for i in range(20)]
ARRAY = json.dumps(ROWS, indent=1)


def _read(path, content, plan=everything):
  path.write_bytes(content if isinstance(content, bytes) else content.encode())
  return list(read_json(str(path), plan))


def test_an_array_by_hand(tmp_path):
  found = _read(tmp_path / 'a.json', '[{"text": "a"}, {"text": "b"}]')
  assert found == [(0, {'text': 'a'}), (1, {'text': 'b'})]


@pytest.mark.parametrize(
  'content',
  [
    ARRAY,
    f'\ufeff{ARRAY}',
    f' \n\t{ARRAY}\n',
    json.dumps(ROWS),
    ''.join(json.dumps(row) + '\n' for row in ROWS),
    '\ufeff' + '\n'.join(json.dumps(row) for row in ROWS),
  ],
)
def test_arrays_and_lines_agree(tmp_path, content):
  found = _read(tmp_path / 'a.json', content)
  assert found == list(enumerate(ROWS))


def test_compressed_arrays_are_a_corpus_with_stable_ids(tmp_path):
  path = tmp_path / 'a.json.xz'
  path.write_bytes(lzma.compress(ARRAY.encode()))
  documents = list(open_corpus([str(tmp_path)]).rows())
  assert [d.id for d in documents] == [f'a.json.xz:{i}' for i in range(20)]
  blocks = list(open_corpus([str(path)]).blocks(block_rows=7))
  assert [(b.start, b.end) for b in blocks] == [(0, 7), (7, 14), (14, 20)]


def test_only_wanted_rows(tmp_path):
  found = _read(
    tmp_path / 'a.json',
    ARRAY,
    lambda row: (row // 5 % 2 == 1, row // 5 * 5 + 5),
  )
  assert [row for row, _ in found] == [*range(5, 10), *range(15, 20)]


def test_no_rows(tmp_path):
  for content in ('', ' \n ', '[]', '[ ]'):
    assert _read(tmp_path / 'a.json', content) == []


def test_elements_that_are_no_rows(tmp_path):
  found = _read(tmp_path / 'a.json', '[1, {"text": "a"}, null]')
  assert found == [
    (0, Bad('row not an object', 'it is a int')),
    (1, {'text': 'a'}),
    (2, Bad('row not an object', 'it is a NoneType')),
  ]


@pytest.mark.parametrize(
  ('content', 'reason'),
  [
    (b'[{"text": "a"}', 'broken JSON'),
    (b'[{"text": "\xff"}]', 'invalid UTF-8'),
    (b'[' * 100_000, 'broken JSON'),
    (b'[{"text": "a"}] more', 'broken JSON'),
  ],
)
def test_a_broken_file_is_one_bad_row(tmp_path, content, reason):
  ((row, found),) = _read(tmp_path / 'a.json', content)
  assert (row, found.reason) == (0, reason)


def test_damaged_compression_is_one_bad_row(tmp_path):
  packed = lzma.compress(ARRAY.encode())
  for content, reason in (
    (packed[: len(packed) // 2], 'truncated'),
    (b'no xz at all', 'corrupt'),
  ):
    ((row, found),) = _read(tmp_path / 'a.json.xz', content)
    assert (row, found.reason) == (0, reason)
    unwanted = lambda row: (False, row + 1)  # noqa: E731
    assert _read(tmp_path / 'a.json.xz', content, unwanted) == []
