"""Which reader a file takes, by its extension or by name."""

from collections.abc import Callable, Iterator, Sequence
import dataclasses
import functools
import posixpath
import re

from jaxcurate.data import (
  read_json,
  read_parquet,
  read_text,
  read_tsv,
  streams,
  tfrecord,
)
from jaxcurate.data.files import File
from jaxcurate.data.rows import Fields, Plan, Raw
from jaxcurate.io.errors import UserError

_EXTENSIONS = {
  '.jsonl': 'jsonl',
  '.ndjson': 'jsonl',
  '.json': 'json',
  '.parquet': 'parquet',
  '.tsv': 'tsv',
  '.txt': 'text',
  '.md': 'text',
  '.tfrecord': 'tfrecord',
  '.tfrecords': 'tfrecord',
}
FORMATS = tuple(sorted(set(_EXTENSIONS.values())))
# c4-train.tfrecord-00000-of-01024
_SHARD_SUFFIX = re.compile(r'-\d{5,}-of-\d{5,}$')
# What describes a TFDS folder is not part of its rows.
_METADATA = ('dataset_info.json', 'features.json')


@dataclasses.dataclass(frozen=True)
class Source:
  """A run of numbered raw rows that is read from front to back.

  Attributes:
    name: stable name; blocks are named by it.
    read: plan -> (row number, raw row) of the wanted rows, in order.
    row_id: row number -> the id of a row that brings none.
    place: row number -> where the user finds that row.
  """

  name: str
  read: Callable[[Plan], Iterator[tuple[int, Raw]]]
  row_id: Callable[[int], str]
  place: Callable[[int], str]


def format_of(path: str) -> str | None:
  """Format by extension, or None for an unknown one.

  >>> format_of('a/b.jsonl.gz'), format_of('c4.tfrecord-00000-of-00002')
  ('jsonl', 'tfrecord')
  """
  base = _SHARD_SUFFIX.sub('', posixpath.basename(path))
  if base in _METADATA:
    return None
  stem, suffix = posixpath.splitext(base)
  if suffix in streams.COMPRESSED:
    suffix = posixpath.splitext(stem)[1]
  return _EXTENSIONS.get(suffix)


def fits(path: str, format: str | None) -> bool:
  """Whether a file of a folder is one to read; None takes every known format.

  >>> fits('a.json', 'jsonl'), fits('a.json', 'text'), fits('a.exe', None)
  (True, False, False)
  """
  found = format_of(path)
  if found is None or format is None:
    return found is not None
  return format == found or {format, found} == {'json', 'jsonl'}


def sources_of(
  files: Sequence[File], fields: Fields, format: str | None = None
) -> list[Source]:
  """One source per file; all text files together are one, `*.txt`.

  A text file is one document, so that a source of its own would leave every
  batch with one row.

  Args:
    files: sorted by name.
    fields: columns to read.
    format: one of `FORMATS`; by extension where None.

  Raises:
    UserError: an extension that no reader knows.
  """
  if format is not None and format not in FORMATS:
    raise UserError(f'unknown format {format!r}; known: {", ".join(FORMATS)}')
  documents, sources = [], []
  for file in files:
    kind = format or format_of(file.path)
    if kind == 'text':
      documents.append(file)
    elif kind is None:
      raise UserError(
        f'{file.path} has an unknown extension; known: '
        f'{", ".join(_EXTENSIONS)}, also with {", ".join(streams.COMPRESSED)}; '
        f'name its format with --format={"|".join(FORMATS)}'
      )
    else:
      sources.append(_source(file, kind, fields))
  if documents:
    sources.append(_text_source(documents, fields))
  return sources


def _source(file: File, kind: str, fields: Fields) -> Source:
  name, path = file
  prefix = f'{name}:'
  if kind == 'jsonl':
    read = functools.partial(read_text.read_jsonl, path)
  elif kind == 'json':
    read = functools.partial(read_json.read_json, path)
  elif kind == 'tsv':
    read = functools.partial(read_tsv.read_tsv, path, fields)
  elif kind == 'parquet':
    read = functools.partial(read_parquet.read_parquet, path, fields)
  else:
    read = functools.partial(tfrecord.read_tfrecord, path)
    if tfrecord.in_tfds_folder(path):
      prefix = f'{posixpath.basename(path)}__'  # what TFDS calls `tfds_id`
  return Source(
    name, read, lambda row: f'{prefix}{row}', lambda row: f'{path}:{row}'
  )


def _text_source(documents: Sequence[File], fields: Fields) -> Source:
  paths = [file.path for file in documents]
  return Source(
    '*.txt',
    functools.partial(read_text.read_documents, paths, fields.text),
    lambda row: f'{documents[row].name}:0',
    lambda row: f'{paths[row]}:0',
  )
