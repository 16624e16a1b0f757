"""Which files a list of globs, files and folders means, and their names.

A file's name is its path relative to the fixed root of the pattern that found
it (the part before the first wildcard; the folder of a plain file), so that a
corpus keeps its ids when it moves. Any fsspec URL works.
"""

from collections.abc import Callable, Sequence
import difflib
import itertools
import posixpath
from typing import Any, NamedTuple

import fsspec

from jaxcurate.io.errors import UserError

_WILDCARDS = '*?['


class File(NamedTuple):
  """One file of a corpus.

  Attributes:
    name: stable name, the path relative to the pattern's fixed root.
    path: path or URL that `fsspec.open` takes.
  """

  name: str
  path: str


def find_files(
  patterns: Sequence[str], known: Callable[[str], bool]
) -> list[File]:
  """All files that the patterns mean, sorted by name.

  Args:
    patterns: globs, files or folders; each may be a comma-separated list.
    known: whether a file found in a folder (not named by the user) is one to
      read; the others there are left alone.

  Returns:
    Files sorted by name; a file that two patterns find is there once.

  Raises:
    UserError: a pattern finds nothing, or two files have the same name.
  """
  by_path: dict[str, File] = {}
  for pattern in (part for text in patterns for part in text.split(',')):
    pattern = pattern.strip()
    if not pattern:
      continue
    found = _expand(pattern, known)
    if not found:
      raise UserError(_nothing_found(pattern))
    for file in found:
      by_path.setdefault(file.path, file)
  if not by_path:
    raise UserError('no input given: name files, folders or globs to read')
  files = sorted(by_path.values())
  for first, second in itertools.pairwise(files):
    if first.name == second.name:
      raise UserError(
        f'{first.path} and {second.path} would both be named {first.name!r}, '
        'so their rows could not be told apart; give one glob or folder that '
        'covers both'
      )
  return files


def filesystem(path: str) -> tuple[fsspec.AbstractFileSystem, str]:
  """The fsspec filesystem of a path or URL, and the path within it."""
  try:
    return fsspec.core.url_to_fs(path)
  except ImportError as error:  # gcsfs, s3fs and the like are optional
    raise UserError(f'{path} cannot be read: {error}') from error
  except ValueError as error:  # unknown protocol
    raise UserError(f'{path} cannot be read: {error}') from error


def fixed_root(path: str) -> str:
  """The folder before the first wildcard of a pattern.

  >>> fixed_root('/a/b*/c/*.txt'), fixed_root('/a/b.txt')
  ('/a', '/a')
  """
  parts = path.split('/')
  for index, part in enumerate(parts):
    if any(char in part for char in _WILDCARDS):
      return '/'.join(parts[:index]) or '/'
  return posixpath.dirname(path)


def _expand(pattern: str, known: Callable[[str], bool]) -> list[File]:
  fs, path = filesystem(pattern)
  path = path.rstrip('/') or path
  try:
    if fs.isdir(path):
      return _walk(fs, path, path, known)
    if fs.exists(path):
      return [_file(fs, path, posixpath.dirname(path))]
    if not any(char in path for char in _WILDCARDS):
      return []
    matches: Any = fs.glob(path, detail=True)
  except Exception as error:  # each remote filesystem has its own errors
    if '://' not in pattern and not isinstance(error, OSError):
      raise
    raise UserError(f'{pattern} cannot be listed: {error}') from error
  root, files = fixed_root(path), []
  for match, info in sorted(matches.items()):
    if '/.' in posixpath.join('/', posixpath.relpath(match, root)):
      continue  # as in a shell, wildcards match nothing hidden
    if info['type'] == 'directory':
      # A folder among the matches of `docs/*` stands for what lies below it;
      # `docs/**` names folder and files alike, and finds each file once.
      files += _walk(fs, match, root, known)
    else:
      files.append(_file(fs, match, root))
  return files


def _walk(
  fs: fsspec.AbstractFileSystem,
  folder: str,
  root: str,
  known: Callable[[str], bool],
) -> list[File]:
  """Known files below a folder; hidden and `_`-files and folders are not."""
  files = []
  for path in fs.find(folder):
    below = posixpath.relpath(path, folder).split('/')
    if not any(part[0] in '._' for part in below) and known(path):
      files.append(_file(fs, path, root))
  return files


def _file(fs: fsspec.AbstractFileSystem, path: str, root: str) -> File:
  local = 'file' in fs.protocol  # plain paths read better than file:///
  url = path if local else fs.unstrip_protocol(path)
  return File(posixpath.relpath(path, root or '/'), url)


def _nothing_found(pattern: str) -> str:
  """Says what exists nearest to a pattern that found no file."""
  fs, path = filesystem(pattern)
  folder = path.rstrip('/')
  if not fs.isdir(folder):
    folder = fixed_root(path)
  while not fs.isdir(folder) and folder not in ('', '/'):
    folder = posixpath.dirname(folder)
  names = sorted(
    posixpath.basename(entry.rstrip('/'))
    for entry in (fs.ls(folder, detail=False) if fs.isdir(folder) else [])
    if not posixpath.basename(entry).startswith('.')
  )
  wanted = path[len(folder) :].strip('/').split('/')[0]
  near = difflib.get_close_matches(wanted, names, n=5, cutoff=0.4) or names[:5]
  there = ', '.join(near) if near else 'nothing'
  more = f' and {len(names) - len(near)} more' if len(names) > len(near) else ''
  return (
    f'no file to read found for {pattern}; {folder or "/"} holds {there}{more}'
  )
