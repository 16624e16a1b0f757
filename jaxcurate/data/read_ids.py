"""Ids of documents: of a selection, a score table, or labelled files."""

from etils import epath

from jaxcurate.data import cells, files, formats
from jaxcurate.data.cells import Bad
from jaxcurate.data.rows import Fields, everything
from jaxcurate.io import manifest as manifests
from jaxcurate.io import tables
from jaxcurate.io.errors import UserError


def read_ids(path: str, id_field: str = 'id') -> list[str]:
  """All ids, in order.

  Args:
    path: a folder with a manifest, or files, a folder, glob or URL of rows
      with an id.
    id_field: column of the id, of rows.

  Raises:
    UserError: nothing there, a broken file, or a row without an id.
  """
  folder = epath.Path(path)
  if (folder / manifests.NAME).exists():
    manifests.read_manifest(folder)
    # examples.jsonl beside a score table has ids too, but only the extremes'.
    columns = [
      tables.read_parquet(part, ['id']).column('id').to_pylist()
      for part in sorted(folder.glob('*.parquet'))
    ]
    return [id_ for column in columns for id_ in column]
  # Only the id is read of formats with columns.
  fields = Fields(text=id_field, id=id_field)
  found = files.find_files([path], _has_columns)
  for file in found:
    if not _has_columns(file.path):
      raise UserError(
        f'{file.path}: rows with a column {id_field!r} are needed; give JSON'
        ' Lines, Parquet, TSV, or the folder of a selection'
      )
  ids = []
  for source in formats.sources_of(found, fields):
    for row, raw in source.read(everything):
      value = raw if isinstance(raw, Bad) else cells.string(raw.get(id_field))
      if isinstance(value, Bad):
        raise UserError(f'{source.place(row)}: {value.reason}: {value.detail}')
      if value in (None, ''):
        raise UserError(
          f'{source.place(row)}: has no {id_field!r}; documents are told apart'
          ' by it'
        )
      ids.append(str(value))
  return ids


def _has_columns(path: str) -> bool:
  """Whether a file is of a format whose rows have columns."""
  return formats.format_of(path) not in (None, 'text')
