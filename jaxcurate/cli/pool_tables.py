"""Score tables with a domain for every document, as `mix` and `sample` read."""

from collections.abc import Sequence
import dataclasses

import numpy as np

from jaxcurate.data import domain_labels
from jaxcurate.io import manifest as manifests
from jaxcurate.io import tables
from jaxcurate.io.errors import UserError
from jaxcurate.types import ScoreTable


def column(inputs: Sequence[str], by: str | None) -> str:
  """The score column to use.

  Raises:
    UserError: it is not given and not obvious.
  """
  if by is not None:
    return by
  known = columns(inputs, None)
  if len(known) != 1:
    raise UserError(f'give --by=COLUMN, one of {", ".join(known)}')
  return known[0]


def columns(inputs: Sequence[str], by: str | None) -> list[str]:
  """The score columns 'a,b' to use; None: all of the tables."""
  if by is not None:
    return [name.strip() for name in by.split(',')]
  return sorted(
    name
    for folder in inputs
    for name in manifests.read_manifest(folder, 'scores')['columns']
  )


def read_joined(
  inputs: Sequence[str], columns: Sequence[str]
) -> tuple[ScoreTable, dict[str, int]]:
  """Tables joined by id, and reason -> ids left out, which are printed.

  Args:
    inputs: score folders.
    columns: score columns.

  Raises:
    UserError: see `io.tables.read_score_table`.
  """
  table, counts = tables.read_score_table(inputs, columns)
  for folder, count in counts.items():
    if count:
      print(f'{folder}: {count} ids are not in every table and were left out')
  return table, {f'not joined: {k}': v for k, v in counts.items() if v}


def read(
  inputs: Sequence[str],
  columns: Sequence[str],
  domains: str | None,
  domain_field: str,
) -> tuple[ScoreTable, dict[str, int]]:
  """Documents with a domain and a finite score in every column.

  Args:
    inputs: score folders, joined by id.
    columns: score columns.
    domains: file or score folder with ids and domains; None: of the first
      input.
    domain_field: column of the domain, of files.

  Returns:
    The table, and reason -> documents that were left out, which are printed.

  Raises:
    UserError: no document is left, or see `io.tables.read_score_table`.
  """
  table, skipped = read_joined(inputs, columns)
  if domains is not None:
    label = domain_labels.read_domains(domains, domain_field)
    table = dataclasses.replace(
      table, domain=np.array([label.get(i) for i in table.id], object)
    )
    unknown = len(set(label) - set(table.id))
    if unknown:
      print(f'{domains}: {unknown:,} ids are not in the tables')
  known = np.array([name is not None for name in table.domain], bool)
  finite = np.ones(len(table.id), bool)
  for score in table.scores.values():
    finite &= np.isfinite(score)
  for reason, kept in {'no domain': known, 'no score': finite | ~known}.items():
    if not kept.all():
      skipped[reason] = int(np.count_nonzero(~kept))
      print(f'{skipped[reason]:,} documents have {reason} and were left out')
  rows = np.flatnonzero(known & finite)
  if not len(rows):
    raise UserError(
      f'{", ".join(inputs)}: no document has a domain and every score; give'
      ' --domains=FILE, with the ids of the tables'
    )
  return table.take(rows), skipped


def token_shares(table: ScoreTable) -> dict[str, float]:
  """Domain -> share of the table's tokens."""
  names, code = np.unique(table.domain.astype(str), return_inverse=True)
  tokens = np.bincount(code, table.num_tokens.astype(np.float64))
  shares = tokens / max(tokens.sum(), 1.0)
  return dict(zip(names.tolist(), shares.tolist(), strict=True))
