"""Scores of documents that come in a file of their own, joined by id."""

from collections.abc import Mapping, Sequence
import dataclasses
import hashlib
import pathlib
from typing import Any

import numpy as np

from jaxcurate.data import label_rows
from jaxcurate.io import manifest as manifests
from jaxcurate.io import tables
from jaxcurate.io.errors import UserError
from jaxcurate.types import ScoreTable

_OTHER = ('id', 'num_tokens')  # numbers that are no scores


@dataclasses.dataclass(frozen=True)
class Columns:
  """The scores of one file.

  Attributes:
    path: where they are from.
    row: id -> its row.
    scores: column name -> [rows] float32, NaN = no score.
    units: column name -> unit, '' where the file does not say.
  """

  path: str
  row: Mapping[str, int]
  scores: Mapping[str, np.ndarray]
  units: Mapping[str, str]

  def digest(self) -> str:
    """A short hash of ids and scores, for manifests."""
    found = hashlib.blake2b(digest_size=8)
    found.update('\0'.join(self.row).encode('utf-8', 'replace'))
    for name in sorted(self.scores):
      found.update(name.encode() + self.scores[name].tobytes())
    return found.hexdigest()


def read_columns(path: str, names: Sequence[str] | None = None) -> Columns:
  """Numeric columns of a score folder or of JSON Lines or Parquet.

  Args:
    path: a folder that `jaxcurate score` wrote, or files with an 'id'.
    names: columns to read, those that are there; None for all that hold
      numbers.

  Raises:
    UserError: nothing there, a row without id, an id twice, or something else
      than a number in a column.
  """
  folder = pathlib.Path(path)
  if folder.is_dir() and (folder / manifests.NAME).is_file():
    known = manifests.read_manifest(path, 'scores')['columns']
    own = [name for name in known if names is None or name in names]
    table, _ = tables.read_score_table([path], own)
    row = {id_: number for number, id_ in enumerate(table.id)}
    return Columns(path, row, table.scores, table.units)
  row: dict[str, int] = {}
  found: dict[str, dict[int, float]] = {}
  for place, _, fields in label_rows.read_rows(path):
    id_ = fields.get('id')
    if id_ in (None, ''):
      raise UserError(f"{place}: has no 'id'; scores are joined by it")
    if str(id_) in row:
      raise UserError(f'{place}: id {id_!r} has scores already')
    number = row[str(id_)] = len(row)
    for name, value in fields.items():
      if name in _OTHER or value is None:
        continue
      if name in found or (
        _is_number(value) if names is None else name in names
      ):
        found.setdefault(name, {})[number] = _number(place, name, value)
  scores = {}
  for name, own in found.items():
    scores[name] = np.full(len(row), np.nan, np.float32)
    scores[name][list(own)] = list(own.values())
  return Columns(path, row, scores, dict.fromkeys(scores, ''))


def join(
  table: ScoreTable, columns: Columns, names: Sequence[str]
) -> tuple[ScoreTable, dict[str, int]]:
  """The table with columns beside its own.

  Args:
    table: whose documents stay, NaN where the columns lack them.
    columns: of a file.
    names: which of them.

  Returns:
    The table, and 'without a row' and 'not in the tables' -> number of ids.
  """
  rows = np.array([columns.row.get(id_, -1) for id_ in table.id], np.int64)
  there = rows >= 0
  scores = dict(table.scores)
  for name in names:
    own = columns.scores[name][rows] if len(columns.row) else np.nan
    scores[name] = np.where(there, own, np.float32(np.nan))
  units = {name: columns.units[name] for name in names}
  found = int(np.count_nonzero(there))
  return dataclasses.replace(
    table, scores=scores, units={**table.units, **units}
  ), {
    'without a row': len(rows) - found,
    'not in the tables': len(columns.row) - found,
  }


def _is_number(value: Any) -> bool:
  return isinstance(value, int | float) and not isinstance(value, bool)


def _number(place: str, name: str, value: Any) -> float:
  if not _is_number(value):
    raise UserError(
      f'{place}: {name!r} is {str(value)[:40]!r} of type'
      f' {type(value).__name__}, expected a number'
    )
  return float(value)
