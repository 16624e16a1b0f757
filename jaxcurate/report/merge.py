"""The score columns of all score folders side by side, joined by id."""

from collections.abc import Sequence
import os

import numpy as np

from jaxcurate.report import artefacts
from jaxcurate.types import ScoreTable


def merged_scores(folders: Sequence[artefacts.Scores]) -> ScoreTable | None:
  """One table of all documents and columns, NaN where a folder has none.

  Unlike sampling, a report wants every document that any folder has. A column
  name that two folders share is written 'folder: column'.

  Args:
    folders: what was found.

  Returns:
    The table, None without folders.
  """
  if not folders:
    return None
  if len(folders) == 1:
    return folders[0].table
  row_of: dict[str, int] = {}
  for folder in folders:
    for name in folder.table.id:
      row_of.setdefault(name, len(row_of))
  domain = np.full(len(row_of), None, dtype=object)
  num_tokens = np.zeros(len(row_of), np.int32)
  scores, units = {}, {}
  for folder in reversed(folders):  # the first folder has the last word
    rows = np.array([row_of[name] for name in folder.table.id], dtype=np.int64)
    known = np.array([name is not None for name in folder.table.domain], bool)
    domain[rows[known]] = folder.table.domain[known]
    num_tokens[rows] = folder.table.num_tokens
  for folder in folders:
    rows = np.array([row_of[name] for name in folder.table.id], dtype=np.int64)
    for name, values in folder.table.scores.items():
      column = column_name(folder, name, folders)
      scores[column] = np.full(len(row_of), np.nan, np.float32)
      scores[column][rows] = values
      units[column] = folder.table.units.get(name, '')
  ids = np.array(list(row_of), dtype=object)
  return ScoreTable(ids, domain, num_tokens, scores, units)


def column_name(
  folder: artefacts.Scores, name: str, folders: Sequence[artefacts.Scores]
) -> str:
  """The name of a folder's column in the merged table."""
  shared = sum(name in other.table.scores for other in folders) > 1
  return f'{os.path.basename(folder.path)}: {name}' if shared else name
