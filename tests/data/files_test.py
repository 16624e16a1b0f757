import fsspec
import pytest

from jaxcurate.data import files
from jaxcurate.data.readers import open_corpus
from jaxcurate.io.errors import UserError


def known(path):
  return path.endswith('.jsonl')


@pytest.fixture
def tree(tmp_path):
  for name in ('a.jsonl', 'x/b.jsonl', 'x/y/c.jsonl', 'x/note.pdf', '.h.jsonl'):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('{"text": "t"}\n')
  return tmp_path


def names(tree, *patterns):
  return [
    f.name for f in files.find_files([f'{tree}/{p}' for p in patterns], known)
  ]


def test_names_are_relative_to_the_fixed_root(tree):
  assert names(tree, '') == ['a.jsonl', 'x/b.jsonl', 'x/y/c.jsonl']
  assert names(tree, 'x') == ['b.jsonl', 'y/c.jsonl']
  assert names(tree, 'x/b.jsonl') == ['b.jsonl']
  assert names(tree, '*/b.jsonl') == ['x/b.jsonl']
  assert names(tree, '**/*.jsonl') == ['a.jsonl', 'x/b.jsonl', 'x/y/c.jsonl']
  assert names(tree, 'x/y*') == ['y/c.jsonl']  # a folder among the matches


def test_lists_and_repeats(tree):
  both = f'{tree}/a.jsonl, {tree}/x/b.jsonl'
  found = files.find_files([both, f'{tree}/*.jsonl'], known)
  assert [file.name for file in found] == ['a.jsonl', 'b.jsonl']


def test_relative_paths_and_names_with_wildcards(tree, monkeypatch):
  monkeypatch.chdir(tree)
  (tree / 'odd[1].jsonl').write_text('{"text": "t"}\n')
  assert [f.name for f in files.find_files(['x'], known)] == [
    'b.jsonl',
    'y/c.jsonl',
  ]
  (file,) = files.find_files(['odd[1].jsonl'], known)
  assert file == ('odd[1].jsonl', f'{tree}/odd[1].jsonl')


def test_two_files_of_one_name_are_refused(tree):
  (tree / 'x' / 'a.jsonl').write_text('')
  with pytest.raises(UserError, match=r"both be named 'a\.jsonl'"):
    names(tree, 'a.jsonl', 'x/a.jsonl')


def test_nothing_found_says_what_is_there(tree):
  with pytest.raises(UserError, match=r'aa\.jsonl; .* holds a\.jsonl'):
    names(tree, 'aa.jsonl')
  with pytest.raises(UserError, match=r'\*\.txt; .*x holds .*note\.pdf'):
    names(tree, 'x/*.txt')
  with pytest.raises(UserError, match=r'holds a\.jsonl, x'):
    names(tree, 'nowhere/deep/*.jsonl')
  with pytest.raises(UserError, match='no input given'):
    files.find_files([' , '], known)
  (tree / 'empty').mkdir()
  with pytest.raises(UserError, match='empty holds nothing'):
    names(tree, 'empty')


def test_any_fsspec_url(tree):
  memory = fsspec.filesystem('memory')
  memory.pipe('/bucket/d/a.jsonl', b'{"text": "one"}\n')
  memory.pipe('/bucket/d/e/b.txt', b'two')
  try:
    for pattern in ('memory://bucket/d', 'memory://bucket/d/**'):
      corpus = open_corpus([pattern])
      assert [tuple(row)[:2] for row in corpus.rows()] == [
        ('a.jsonl:0', 'one'),
        ('e/b.txt:0', 'two'),
      ]
    with pytest.raises(UserError, match=r'memory://bucket/d/\*\.parquet; '):
      open_corpus(['memory://bucket/d/*.parquet'])
  finally:
    memory.rm('/bucket', recursive=True)
  with pytest.raises(UserError, match='nosuch://x cannot be read'):
    open_corpus(['nosuch://x'])
