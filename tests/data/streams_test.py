import io
import json

import numpy as np
import pytest
import zstandard

from jaxcurate.data import streams
from jaxcurate.data.read_text import parse_json, read_documents, read_jsonl
from jaxcurate.data.rows import Bad, everything
from jaxcurate.io.errors import UserError


def test_lines_equal_pythons_own_for_any_cut():
  rng = np.random.default_rng(0)
  for _ in range(200):
    content = bytes(rng.choice(list(b'ab\n\r'), rng.integers(0, 30)))
    cuts = np.sort(rng.integers(0, len(content) + 1, rng.integers(0, 6)))
    pieces = [
      content[a:b] for a, b in zip([0, *cuts], [*cuts, None], strict=True)
    ]
    expected = [line.rstrip(b'\n') for line in io.BytesIO(content)]
    assert list(streams.lines(pieces)) == expected


def test_a_line_over_many_chunks_takes_linear_time():
  chunk = b'x' * 1000
  (line,) = streams.lines(chunk for _ in range(20_000))
  assert len(line) == 20_000_000


def test_chunks_are_bounded_though_the_data_expands(tmp_path):
  path = tmp_path / 'a.zst'
  path.write_bytes(zstandard.ZstdCompressor(level=19).compress(bytes(10**8)))
  assert path.stat().st_size < 20_000
  sizes = [len(chunk) for chunk in streams.chunks(str(path))]
  assert sum(sizes) == 10**8


def test_empty_files(tmp_path):
  for suffix in ('', '.gz', '.zst'):
    path = tmp_path / f'a{suffix}'
    path.write_bytes(b'')
    assert list(streams.chunks(str(path))) == []


def test_missing_file():
  with pytest.raises(UserError, match='/no/such does not exist'):
    list(streams.chunks('/no/such'))


def test_damage_says_what_it_is():
  damage = streams.DamagedFile('truncated', 'ends early')
  assert str(damage) == 'truncated: ends early'


# --- rows of text files -------------------------------------------------------


def test_unwanted_lines_are_counted_not_parsed(tmp_path):
  path = tmp_path / 'a.jsonl'
  path.write_text('{\n{"n": 1}\n\n{"n": 3}\n{\n')
  asked = []

  def plan(row):
    asked.append(row)
    return row in (1, 3), row + 1

  found = dict(read_jsonl(str(path), plan))
  assert found == {1: {'n': 1}, 3: {'n': 3}}
  assert asked == [0, 1, 3, 4]  # never for the blank line


def test_the_plan_is_asked_once_per_range(tmp_path):
  path = tmp_path / 'a.jsonl'
  path.write_text(''.join(json.dumps({'n': n}) + '\n' for n in range(100)))
  asked = []

  def plan(row):
    asked.append(row)
    return row >= 50, row // 10 * 10 + 10

  found = [row for row, _ in read_jsonl(str(path), plan)]
  assert found == list(range(50, 100))
  assert asked == list(range(0, 100, 10))


def test_documents_that_are_not_wanted_are_not_opened(tmp_path):
  path = tmp_path / 'b.txt'
  path.write_bytes(b'\xef\xbb\xbfbody')
  paths = ['/no/such.txt', str(path)]
  wanted = read_documents(paths, 'text', lambda row: (row == 1, row + 1))
  assert list(wanted) == [(1, {'text': b'body'})]
  (_, first), _ = read_documents(paths, 'text', everything)
  assert isinstance(first, Bad)
  assert first.reason == 'unreadable'


@pytest.mark.parametrize(
  ('line', 'reason', 'detail'),
  [
    (b'{"a": 1,}', 'broken JSON', 'Illegal trailing comma'),
    (b'{"a": "\t"}', 'broken JSON', 'Invalid control character'),
    (b'{"a": ' + b'9' * 5000 + b'}', 'broken JSON', 'Exceeds the limit'),
    (b'[{"a": 1}]', 'row not an object', 'it is a list; .*--format=json'),
    (b'[', 'broken JSON', '.*--format=json'),
    (b'"a"', 'row not an object', 'it is a str$'),
    (b'null', 'row not an object', 'it is a NoneType$'),
    (b'\xff\xfe{\x00', 'NUL byte', 'at byte 3 of the line'),  # UTF-16
    (b'{"a": "\xc3"}', 'invalid UTF-8', 'byte 0xc3 at byte 7'),
  ],
)
def test_lines_that_are_no_rows(line, reason, detail):
  import re

  found = parse_json(line)
  assert isinstance(found, Bad)
  assert found.reason == reason
  if 'trailing comma' in detail:  # worded so from Python 3.13 on
    detail = '(Illegal trailing comma|Expecting property name)'
  assert re.match(detail, found.detail)
