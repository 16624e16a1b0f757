"""Domains of documents that come in a file of their own."""

import pathlib

from jaxcurate.data import label_rows
from jaxcurate.io import manifest as manifests
from jaxcurate.io import tables
from jaxcurate.io.errors import UserError


def read_domains(path: str, field: str = 'domain') -> dict[str, str]:
  """Id -> domain, of a score folder or of JSON Lines or Parquet.

  Args:
    path: a folder that `jaxcurate score` wrote, or files with columns.
    field: column of the domain, of files.

  Raises:
    UserError: nothing there, a row without id or domain, or an id twice.
  """
  folder = pathlib.Path(path)
  if folder.is_dir() and (folder / manifests.NAME).is_file():
    table, _ = tables.read_score_table([path], [])
    pairs = [
      (f'{path}: document {id_!r}', id_, domain)
      for id_, domain in zip(table.id, table.domain, strict=True)
    ]
  else:
    pairs = [
      (place, row.get('id'), row.get(field))
      for place, _, row in label_rows.read_rows(path)
    ]
  found: dict[str, str] = {}
  for place, id_, domain in pairs:
    if id_ in (None, '') or domain in (None, ''):
      lacking = 'id' if id_ in (None, '') else field
      raise UserError(f'{place}: has no {lacking!r}; a label has both')
    if str(id_) in found:
      raise UserError(f'{place}: id {id_!r} has a domain already')
    found[str(id_)] = str(domain)
  return found
