"""Score tables with a domain for every document, as `mix` and `sample` read."""

from collections.abc import Sequence
import dataclasses

import numpy as np

from jaxcurate.data import domain_labels, score_columns
from jaxcurate.io import manifest as manifests
from jaxcurate.io import tables
from jaxcurate.io.errors import UserError
from jaxcurate.types import ScoreTable


def column(
  inputs: Sequence[str],
  by: str | None,
  more: Sequence[score_columns.Columns] = (),
) -> str:
  """The score column to use.

  Args:
    inputs: score folders.
    by: its name; None for the only one.
    more: columns from files.

  Raises:
    UserError: it is not given and not obvious.
  """
  if by is not None:
    return by
  known = columns(inputs, None, more)
  if len(known) != 1:
    raise UserError(f'give --by=COLUMN, one of {", ".join(known)}')
  return known[0]


def columns(
  inputs: Sequence[str],
  by: str | None,
  more: Sequence[score_columns.Columns] = (),
) -> list[str]:
  """The score columns 'a,b' to use; None: all of the tables and files.

  Args:
    inputs: score folders.
    by: their names.
    more: columns from files.
  """
  if by is not None:
    return [name.strip() for name in by.split(',')]
  own = [manifests.read_manifest(i, 'scores')['columns'] for i in inputs]
  return sorted(
    name for found in (*own, *(m.scores for m in more)) for name in found
  )


def read_files(
  paths: Sequence[str], by: str | None
) -> list[score_columns.Columns]:
  """The files of --columns.

  Args:
    paths: score folders, or files with ids and numbers.
    by: names 'a,b' of the columns that are needed, None: all.

  Raises:
    UserError: see `data.score_columns.read_columns`.
  """
  names = None if by is None else columns((), by)
  return [score_columns.read_columns(path, names) for path in paths]


def settings_of(more: Sequence[score_columns.Columns]) -> dict[str, list[str]]:
  """What a manifest says of the files of --columns; nothing of none.

  Args:
    more: columns from files.
  """
  return {'columns': [found.digest() for found in more]} if more else {}


def read_joined(
  inputs: Sequence[str],
  columns: Sequence[str],
  more: Sequence[score_columns.Columns] = (),
) -> tuple[ScoreTable, dict[str, int]]:
  """Tables joined by id, and reason -> ids left out, which are printed.

  Args:
    inputs: score folders.
    columns: score columns.
    more: columns from files, beside those of the folders; documents that they
      lack have no score.

  Raises:
    UserError: a column is in a folder and a file, or in several, or nowhere;
      or see `io.tables.read_score_table`.
  """
  own = _without_files(inputs, columns, more)
  table, counts = tables.read_score_table(inputs, own)
  for folder, count in counts.items():
    if count:
      print(f'{folder}: {count} ids are not in every table and were left out')
  skipped = {f'not joined: {k}': v for k, v in counts.items() if v}
  for found in more:
    names = [name for name in columns if name in found.scores]
    table, missed = score_columns.join(table, found, names)
    for reason, count in missed.items():
      if count:
        print(f'{found.path}: {count:,} ids {reason}')
        skipped[f'{found.path}: {reason}'] = count
  return table, skipped


def _without_files(
  inputs: Sequence[str],
  columns: Sequence[str],
  more: Sequence[score_columns.Columns],
) -> list[str]:
  """The columns that the score folders have."""
  if not more:
    return list(columns)
  holders = {
    folder: manifests.read_manifest(folder, 'scores')['columns']
    for folder in inputs
  }
  for found in more:
    holders[found.path] = found.scores
  for name in columns:
    places = [path for path, names in holders.items() if name in names]
    if len(places) > 1:
      raise UserError(f'column {name!r} is in several of {", ".join(places)}')
    if not places:
      known = sorted({name for names in holders.values() for name in names})
      raise UserError(
        f'no score column {name!r} in {", ".join(holders)}; they have'
        f' {", ".join(known)}'
      )
  return [name for name in columns if not any(name in m.scores for m in more)]


def read(
  inputs: Sequence[str],
  columns: Sequence[str],
  domains: str | None,
  domain_field: str,
  more: Sequence[score_columns.Columns] = (),
) -> tuple[ScoreTable, dict[str, int]]:
  """Documents with a domain and a finite score in every column.

  Args:
    inputs: score folders, joined by id.
    columns: score columns.
    domains: file or score folder with ids and domains; None: of the first
      input.
    domain_field: column of the domain, of files.
    more: columns from files.

  Returns:
    The table, and reason -> documents that were left out, which are printed.

  Raises:
    UserError: no document is left, two folders name the domain of a document
      differently, or see `read_joined`.
  """
  table, skipped = read_joined(inputs, columns, more)
  if domains is None:
    _refuse_other_domains(inputs)
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
  for name, score in table.scores.items():
    own = np.isfinite(score)
    finite &= own
    if len(table.scores) > 1 and not own.all():
      skipped[f'no score in {name}'] = int(np.count_nonzero(~own))
      print(f'{np.count_nonzero(~own):,} documents have no score in {name!r}')
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
  table = table.take(rows)
  warn_of_constants(table)
  names, count = np.unique(table.domain.astype(str), return_counts=True)
  alone = names[count == 1].tolist()
  if alone:
    print(f'{len(alone):,} domains have a single document: {_some(alone)}')
  return table, skipped


def warn_of_constants(table: ScoreTable) -> None:
  """Prints which columns tell no document from another.

  Args:
    table: NaN = no score.
  """
  for name, score in table.scores.items():
    own = score[np.isfinite(score)]
    if len(own) > 1 and own.min() == own.max():
      print(
        f'{name!r} is {own[0]:g} for all {len(own):,} documents and tells none'
        ' from another'
      )


def _refuse_other_domains(inputs: Sequence[str]) -> None:
  """Raises where a document's domain depends on the folder that is asked."""
  if len(inputs) < 2:
    return
  first, *others = (tables.read_score_table([i], [])[0] for i in inputs)
  label = dict(zip(first.id, first.domain, strict=True))
  for folder, other in zip(inputs[1:], others, strict=True):
    both = [
      (label[id_], name)
      for id_, name in zip(other.id, other.domain, strict=True)
      if name is not None and label.get(id_) is not None
    ]
    different = sum(own != name for own, name in both)
    if different:
      names = [{str(pair[side]) for pair in both} for side in (0, 1)]
      raise UserError(
        f'{inputs[0]} has {len(names[0])} domains and {folder}'
        f' {len(names[1])}, {len(names[0] & names[1])} of them in common, and'
        f' {different:,} of {len(both):,} documents have another domain in the'
        ' one than in the other; say which counts: --domains=FOLDER'
      )


def _some(names: Sequence[str]) -> str:
  """The first few names."""
  return ', '.join(names[:5]) + (', ...' if len(names) > 5 else '')


def token_shares(table: ScoreTable) -> dict[str, float]:
  """Domain -> share of the table's tokens."""
  names, code = np.unique(table.domain.astype(str), return_inverse=True)
  tokens = np.bincount(code, table.num_tokens.astype(np.float64))
  shares = tokens / max(tokens.sum(), 1.0)
  return dict(zip(names.tolist(), shares.tolist(), strict=True))
