"""Rows of files about documents: their labels, domains and columns."""

from collections.abc import Iterator
from typing import Any

from jaxcurate.data import files, formats
from jaxcurate.data.rows import Bad, Fields, everything
from jaxcurate.io import tables
from jaxcurate.io.errors import UserError

_FILES = ('jsonl', 'parquet')


def read_rows(path: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
  """(place in words, default id, columns) of every row.

  Args:
    path: a file, folder, glob or URL of JSON Lines or Parquet.

  Raises:
    UserError: no such file, or a row that is broken.
  """
  found = files.find_files([path], lambda p: formats.format_of(p) in _FILES)
  for file in found:
    if formats.format_of(file.path) == 'parquet':
      for number, row in enumerate(tables.read_parquet(file.path).to_pylist()):
        yield f'{file.path}:{number}', f'{file.name}:{number}', row
      continue
    [source] = formats.sources_of([file], Fields())
    for number, raw in source.read(everything):
      if isinstance(raw, Bad):
        raise UserError(f'{source.place(number)}: {raw.reason}: {raw.detail}')
      yield source.place(number), source.row_id(number), raw
