"""What a judge learns from: scores, labels or pairwise judgements, by id.

They come from a folder that `jaxcurate score` wrote, or from JSON Lines or
Parquet files with an id and one column per criterion (people's labels). Rows
without an id are named by file and row, as in a corpus, so that one file can
be both.
"""

from collections.abc import Sequence
import math
import pathlib
from typing import Any, NamedTuple

import numpy as np

from jaxcurate.data import label_rows
from jaxcurate.io import manifest as manifests
from jaxcurate.io import tables
from jaxcurate.io.errors import UserError

_USUAL = ('label', 'score')


class Targets(NamedTuple):
  """Judgements of single texts.

  Attributes:
    id: [N] str (object array), unique.
    value: [N, C] float64, NaN where there is none.
    columns: C names.
    unit: of all columns, '' of files.
    name: where they come from, for messages.
  """

  id: np.ndarray
  value: np.ndarray
  columns: tuple[str, ...]
  unit: str
  name: str


class Pairs(NamedTuple):
  """Judgements of two texts: how likely the first is the better one.

  Attributes:
    id: [N, 2] str (object array).
    value: [N, C] float64 in [0, 1], NaN where there is none.
    columns: C names.
    name: where they come from, for messages.
  """

  id: np.ndarray
  value: np.ndarray
  columns: tuple[str, ...]
  name: str


def read_targets(
  path: str, by: Sequence[str] = (), *, id_field: str = 'id'
) -> Targets:
  """Targets of a score folder or of files.

  Args:
    path: a folder with a manifest, or a file, folder, glob or URL.
    by: columns; () for the only one of a table, or 'label' or 'score' of
      files.
    id_field: column of the id, of files.

  Raises:
    UserError: no such column, a value that is no number, an id twice.
  """
  folder = pathlib.Path(path)
  if folder.is_dir() and (folder / manifests.NAME).is_file():
    return _of_table(path, by)
  ids, values, places = [], [], {}
  for place, row_id, row in label_rows.read_rows(path):
    by = by or _usual(place, row)
    name = row.get(id_field)
    name = row_id if name in (None, '') else str(name)
    if name in places:
      raise UserError(
        f'{place}: id {name!r} is also that of {places[name]}; a document has'
        ' one row of targets'
      )
    places[name] = place
    ids.append(name)
    values.append([_number(place, row, column) for column in by])
  return Targets(
    np.array(ids, object), _stacked(values, by), tuple(by), '', path
  )


def read_pairs(path: str, by: Sequence[str] = ()) -> Pairs:
  """Pairwise judgements of files with id_a, id_b and a probability.

  Args:
    path: a file, folder, glob or URL.
    by: columns of the probability that a is better; () for 'probability'.

  Raises:
    UserError: a field is missing, a text against itself, or a probability
      outside [0, 1].
  """
  by = tuple(by) or ('probability',)
  ids, values = [], []
  for place, _, row in label_rows.read_rows(path):
    pair = []
    for field in ('id_a', 'id_b'):
      if row.get(field) in (None, ''):
        raise UserError(
          f'{place}: has no {field!r}; a pair has id_a, id_b and'
          f' {", ".join(by)}'
        )
      pair.append(str(row[field]))
    if pair[0] == pair[1]:
      raise UserError(f'{place}: compares id {pair[0]!r} with itself')
    ids.append(pair)
    values.append([_number(place, row, column) for column in by])
    check_probabilities(values[-1], f'{place}: {", ".join(by)}')
  found = np.array(ids, object).reshape(-1, 2)
  return Pairs(found, _stacked(values, by), by, path)


def check_probabilities(values: Sequence[float], name: str) -> None:
  """Raises UserError where a value is neither NaN nor in [0, 1]."""
  for value in values:
    if value < 0 or value > 1:
      raise UserError(
        f'{name}: {value:g} is not in [0, 1]; give probabilities or labels'
        ' 0 and 1, or learn numbers with --gin.train_judge.run.loss="squared"'
      )


def _of_table(path: str, by: Sequence[str]) -> Targets:
  known = manifests.read_manifest(path, 'scores')['columns']
  if not by:
    if len(known) != 1:
      raise UserError(f'{path}: give --by=COLUMN, of {", ".join(known)}')
    by = list(known)
  table, _ = tables.read_score_table([path], by)
  units = {table.units[name] for name in by}
  if len(units) > 1:
    raise UserError(
      f'{path}: {", ".join(by)} are in different units'
      f' ({", ".join(sorted(units))}); train one judge for each'
    )
  value = np.stack([table.scores[name] for name in by], axis=1)
  return Targets(
    table.id, value.astype(np.float64), tuple(by), units.pop(), path
  )


def _usual(place: str, row: dict[str, Any]) -> Sequence[str]:
  usual = [name for name in _USUAL if name in row]
  if len(usual) != 1:
    raise UserError(f'{place}: give --by=COLUMN, of {", ".join(map(str, row))}')
  return usual


def _number(place: str, row: dict[str, Any], column: str) -> float:
  if column not in row:
    raise UserError(
      f'{place}: no column {column!r}; it has {", ".join(map(str, row))}'
    )
  value = row[column]
  if value is None:
    return math.nan
  try:
    found = float(value)
  except (TypeError, ValueError):
    found = math.inf
  if math.isinf(found):
    raise UserError(
      f'{place}: {column!r} is {str(value)[:40]!r}, expected a finite number'
    )
  return found


def _stacked(values: list[list[float]], by: Sequence[str]) -> np.ndarray:
  return np.array(values, np.float64).reshape(len(values), len(by))
