"""Domains of documents that come in a file of their own."""

from collections.abc import Iterable, Iterator, Mapping
import hashlib
import pathlib

import numpy as np

from jaxcurate.data import label_rows
from jaxcurate.io import manifest as manifests
from jaxcurate.io import tables
from jaxcurate.io.errors import UserError
from jaxcurate.types import Document


def read_domains(path: str, field: str = 'domain') -> dict[str, str]:
  """Id -> domain, of a score folder or of JSON Lines or Parquet.

  Where the method `clusters` scored a folder, the domains are the names of the
  clusters; a document that lies in none has no domain.

  Args:
    path: a folder that `jaxcurate score` wrote, or files with columns.
    field: column of the domain, of files.

  Raises:
    UserError: nothing there, no row, one without id or domain, or an id twice.
  """
  folder = pathlib.Path(path)
  if folder.is_dir() and (folder / manifests.NAME).is_file():
    if (names := _cluster_names(path)) is not None:
      return _of_clusters(path, names)
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
  if not found:
    raise UserError(f'{path}: has no row; a label has an id and a domain')
  return found


def digest(domains: Mapping[str, str]) -> str:
  """A short hash of ids and domains, in any order, for manifests."""
  pairs = sorted(domains.items())
  text = '\0'.join(word for pair in pairs for word in pair)
  return hashlib.blake2b(
    text.encode('utf-8', 'replace'), digest_size=8
  ).hexdigest()


def relabel(
  rows: Iterable[Document], domains: Mapping[str, str]
) -> Iterator[Document]:
  """The documents with other domains, None where one has no label.

  Args:
    rows: documents, whose own domains are forgotten.
    domains: id -> domain.

  Raises:
    UserError: at the end, where no document had a label.
  """
  matched = total = 0
  for row in rows:
    domain = domains.get(row.id)
    total += 1
    matched += domain is not None
    yield row._replace(domain=domain)
  if total and not matched:
    raise UserError(
      f'none of {total:,} documents has one of the {len(domains):,} ids of'
      ' --domains; give the file of this corpus'
    )
  if matched < total:
    print(f'{total - matched:,} of {total:,} documents have no domain')


def _cluster_names(path: str) -> list[str] | None:
  """The names of a score folder's clusters, None where it has none."""
  manifest = manifests.read_manifest(path)
  fitted = manifest.get('diagnostics', {}).get('fitted', {})
  return fitted.get('clusters', {}).get('names')


def _of_clusters(path: str, names: list[str]) -> dict[str, str]:
  """Id -> name of the cluster."""
  column = 'clusters/index'
  table, _ = tables.read_score_table([path], [column])
  return {
    str(id_): names[int(index)]
    for id_, index in zip(table.id, table.scores[column], strict=True)
    if np.isfinite(index)
  }
