"""Rows of benchmark files, packed as their repositories have them."""

from collections.abc import Iterator
import csv
import gzip
import io
import json
import lzma
import pathlib
import tarfile
from typing import Any
import zipfile

from jaxcurate.io.errors import UserError

_BROKEN = (
  lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile, EOFError, OSError,
  ValueError,
)  # fmt: skip


def json_lines(
  folder: pathlib.Path, file: str, member: str | None = None
) -> list[dict[str, Any]]:
  """The objects of a JSON Lines file.

  Args:
    folder: of the benchmarks.
    file: '*.xz', '*.gz', plain, or '*.tar.xz' with a member.
    member: path within the archive; may itself end in '.gz'.

  Raises:
    UserError: missing or broken.
  """
  if member is not None:
    [(_, text)] = members(folder, file, member)
  else:
    text = _read(folder / file)
  name = f'{folder / file}' + (f'/{member}' if member else '')
  rows = []
  for number, line in enumerate(text.split('\n'), 1):
    try:
      rows += [json.loads(line)] if line.strip() else []
    except ValueError as error:
      raise UserError(
        f'{name}: line {number} is no JSON ({error}); fetch the file again'
      ) from error
  return rows


def members(
  folder: pathlib.Path, file: str, pattern: str
) -> list[tuple[str, str]]:
  """Path and text of the members of a .tar.xz or .zip that match a glob.

  Args:
    folder: of the benchmarks.
    file: the archive.
    pattern: e.g. 'bbh/*.json'.

  Raises:
    UserError: missing, broken, or nothing matches.
  """
  path = folder / file
  _must_exist(path)
  try:
    found = [
      (name, _text(name, data)) for name, data in _matching(path, pattern)
    ]
  except _BROKEN as error:
    raise _broken(path, error) from error
  if not found:
    raise UserError(
      f'{path}: has no {pattern}; the archive is another one than the task'
      ' expects'
    )
  return sorted(found)


def csv_rows(text: str) -> list[list[str]]:
  """Rows of a CSV text without header."""
  return list(csv.reader(io.StringIO(text, newline='')))


def _matching(path: pathlib.Path, pattern: str) -> Iterator[tuple[str, bytes]]:
  def matches(name: str) -> bool:
    return pathlib.PurePosixPath(name).match(pattern)

  if path.suffix == '.zip':
    with zipfile.ZipFile(path) as archive:
      for name in filter(matches, archive.namelist()):
        yield name, archive.read(name)
    return
  with tarfile.open(path) as archive:
    for item in archive:
      content = archive.extractfile(item) if matches(item.name) else None
      if content is not None:
        yield item.name, content.read()


def _read(path: pathlib.Path) -> str:
  _must_exist(path)
  try:
    return _text(path.name, path.read_bytes())
  except _BROKEN as error:
    raise _broken(path, error) from error


def _text(name: str, data: bytes) -> str:
  if name.endswith('.gz'):
    data = gzip.decompress(data)
  elif name.endswith('.xz'):
    data = lzma.decompress(data)
  return data.decode('utf-8')


def _must_exist(path: pathlib.Path) -> None:
  if not path.is_file():
    raise UserError(
      f'{path}: not there; give the folder of the benchmark files as'
      ' --benchmarks'
    )


def _broken(path: pathlib.Path, error: Exception) -> UserError:
  return UserError(f'{path}: cannot be read ({error}); fetch the file again')
