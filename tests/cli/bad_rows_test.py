"""A bad row: one clear line, or skipped and counted; finished work kept."""

import json

import pytest

from jaxcurate.io import manifest as manifests

GOOD = 5  # rows before the bad one; blocks are of two


def line(**row):
  return json.dumps(row).encode() + b'\n'


def good_lines(count=GOOD, start=0):
  return b''.join(
    line(id=f'good{i}', text=f'A good text, number {i}.')
    for i in range(start, start + count)
  )


ROWS = {  # a bad row -> the reason that is counted, words of the message
  'broken JSON': (b'{"text": "a\n', 'broken JSON', []),
  'not an object': (b'[1]\n', 'row not an object', ['list']),
  'missing text field': (
    line(body='a', url='b'), 'missing text field',
    ["'text'", 'body, url'],
  ),
  'null text': (line(text=None), 'text not a string', ['null']),
  'empty text': (line(text=''), 'empty', []),
  'white space': (line(text=' \n\t\u2003'), 'empty', ['whitespace']),
  'invalid UTF-8': (b'{"text": "caf\xe9"}\n', 'invalid UTF-8', ['0xe9']),
  'lone surrogate': (b'{"text": "\\ud800"}\n', 'invalid unicode', ['D800']),
  'NUL byte': (b'{"text": "a\0b"}\n', 'NUL byte', ['at byte']),
  'escaped NUL': (line(text='a\0b'), 'NUL byte', ['at character 1']),
  'duplicate id': (
    line(id='good4', text='Another text.'), 'duplicate id',
    ["'good4'", 'a.jsonl:4'],
  ),
}  # fmt: skip


@pytest.mark.parametrize('name', ROWS)
def test_bad_row_stops_by_default(
  score, tmp_path, fails_clearly, name, kept_ids
):
  row, reason, words = ROWS[name]
  path = tmp_path / 'a.jsonl'
  path.write_bytes(good_lines() + row + good_lines(3, start=10))
  result, output = score(path)
  assert fails_clearly(
    result, f'{path}:{GOOD}', reason, '--on_bad_row=skip', *words
  )
  # Blocks before the bad one are there already.
  assert kept_ids(output) == [f'good{i}' for i in range(4)]


def test_bad_rows_are_skipped_and_counted(score, tmp_path, kept_ids):
  path = tmp_path / 'a.jsonl'
  bad = b''.join(row for row, _, _ in ROWS.values())
  path.write_bytes(good_lines() + bad + good_lines(3, start=10))
  result, output = score(
    path, '--on_bad_row=skip', '--gin.score.run.block_rows=64'
  )
  assert result.code == 0, result.err
  reasons = [reason for _, reason, _ in ROWS.values()]
  expected = {reason: reasons.count(reason) for reason in reasons}
  manifest = manifests.read_manifest(output, 'scores')
  assert manifest['skipped'] == expected
  assert manifest['num_rows'] == len(kept_ids(output)) == GOOD + 3
  assert '1 duplicate id' in result.out


def test_stopped_run_continues_after_the_repair(score, tmp_path, kept_ids):
  path = tmp_path / 'a.jsonl'
  path.write_bytes(good_lines() + b'{\n' + good_lines(3, start=10))
  _, output = score(path)
  first = {p: p.stat().st_mtime_ns for p in output.glob('part-*.parquet')}
  path.write_bytes(good_lines() + good_lines(4, start=10))
  result, _ = score(path)
  assert result.code == 0, result.err
  assert len(kept_ids(output)) == GOOD + 4
  assert all(p.stat().st_mtime_ns == time for p, time in first.items())
