"""Benchmark files in every packing, and broken ones."""

import pytest

from jaxcurate.evaluate import benchmark_files
from jaxcurate.io.errors import UserError

ROWS = [{'a': 1}, {'a': 'zwei\u2028\u00fc'}]


@pytest.mark.parametrize('file', ['a.jsonl', 'a.jsonl.gz', 'a.jsonl.xz'])
def test_rows_of_a_file(pack, json_lines, file):
  folder = pack(file, json_lines(*ROWS) + '\n')
  assert benchmark_files.json_lines(folder, file) == ROWS


@pytest.mark.parametrize('member', ['x/a.jsonl', 'x/a.jsonl.gz'])
def test_rows_of_a_member(pack, json_lines, member):
  content = {'x/b.jsonl': '{', member: json_lines(*ROWS)}
  folder = pack('a.tar.xz', content)
  assert benchmark_files.json_lines(folder, 'a.tar.xz', member) == ROWS


@pytest.mark.parametrize('file', ['a.tar.xz', 'a.zip'])
def test_members_are_sorted(pack, file):
  folder = pack(file, {'x/b.txt': 'B', 'x/a.txt': 'A', 'x/a.csv': ''})
  found = benchmark_files.members(folder, file, 'x/*.txt')
  assert found == [('x/a.txt', 'A'), ('x/b.txt', 'B')]


def test_csv_rows_keep_quotes_and_newlines():
  assert benchmark_files.csv_rows('a,"b, ""c""\nd"\r\n1,2\n') == [
    ['a', 'b, "c"\nd'],
    ['1', '2'],
  ]


def test_an_empty_file_has_no_rows(pack):
  assert benchmark_files.json_lines(pack('a.jsonl', ''), 'a.jsonl') == []


def test_missing_files_and_members(pack, tmp_path):
  with pytest.raises(UserError, match=r'a\.jsonl: not there; .*--benchmarks'):
    benchmark_files.json_lines(tmp_path, 'a.jsonl')
  with pytest.raises(UserError, match=r'a\.zip: not there'):
    benchmark_files.members(tmp_path, 'a.zip', '*')
  folder = pack('a.tar.xz', {'x/b.jsonl': ''})
  with pytest.raises(UserError, match=r'has no x/a\.jsonl; the archive is'):
    benchmark_files.json_lines(folder, 'a.tar.xz', 'x/a.jsonl')


def test_a_broken_line_is_named(pack):
  folder = pack('a.tar.xz', {'b.jsonl': '{"a": 1}\n\n{"a": \n'})
  with pytest.raises(
    UserError, match=r'a\.tar\.xz/b\.jsonl: line 3 is no JSON'
  ):
    benchmark_files.json_lines(folder, 'a.tar.xz', 'b.jsonl')


@pytest.mark.parametrize('file', ['a.jsonl.gz', 'a.jsonl.xz', 'a.jsonl'])
def test_a_broken_file_is_named(tmp_path, file):
  (tmp_path / file).write_bytes(b'\xff\xfenothing of the kind')
  with pytest.raises(UserError, match=rf'{file}: cannot be read .*again'):
    benchmark_files.json_lines(tmp_path, file)


@pytest.mark.parametrize('file', ['a.tar.xz', 'a.zip'])
def test_a_broken_archive_is_named(pack, tmp_path, file):
  pack(file, {'b.txt': 'text ' * 1000})
  content = (tmp_path / file).read_bytes()
  (tmp_path / file).write_bytes(content[: len(content) // 2])
  with pytest.raises(UserError, match=rf'{file}: cannot be read .*again'):
    benchmark_files.members(tmp_path, file, '*.txt')
