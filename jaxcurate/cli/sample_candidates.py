"""Score tables as `jaxcurate sample` hands them to a sampler."""

from collections.abc import Sequence, Set

import numpy as np

from jaxcurate.io.errors import UserError
from jaxcurate.ops import ids as ids_lib
from jaxcurate.samplers import draw
from jaxcurate.types import Candidates, ScoreTable


def of_table(
  table: ScoreTable, columns: Sequence[str]
) -> tuple[Candidates, int]:
  """What a sampler sees: documents with a finite score in every column.

  Args:
    table: the joined score table.
    columns: the columns; none gives every document the score 0.

  Returns:
    Candidates, and how many documents lacked a score; of several columns it is
    printed how many each lacks.

  Raises:
    UserError: no document has all scores.
  """
  finite = np.ones(len(table.id), bool)
  for name in columns:
    own = np.isfinite(table.scores[name])
    finite &= own
    if len(columns) > 1 and not own.all():
      print(f'{np.count_nonzero(~own):,} documents have no score in {name!r}')
  rows = np.flatnonzero(finite)
  if not len(rows):
    raise UserError(
      f'no document has a score in {" and ".join(map(repr, columns))}'
    )
  ids = table.id[rows]
  scores = {name: table.scores[name][rows] for name in columns}
  score = np.zeros(len(rows), np.float32)
  candidates = Candidates(
    id=ids,
    id_hash=ids_lib.hash_ids(ids),
    score=next(iter(scores.values()), score),
    num_tokens=table.num_tokens[rows],
    domain=table.domain[rows],
    unit=table.units[columns[0]] if columns else '',
    scores=scores if len(columns) > 1 else {},
  )
  return candidates, len(table.id) - len(rows)


def leave_out(
  candidates: Candidates, excluded: Set[str]
) -> tuple[Candidates, dict[str, int]]:
  """Candidates that are not excluded, and how many are.

  Args:
    candidates: documents with a score.
    excluded: ids to leave out; others are not missed.

  Raises:
    UserError: nothing is left.
  """
  if not excluded:
    return candidates, {}
  rows = np.flatnonzero([id_ not in excluded for id_ in candidates.id])
  if not len(rows):
    raise UserError(
      '--exclude names every document with a score; nothing is left to sample'
    )
  count = len(candidates.id) - len(rows)
  return draw.take_rows(candidates, rows), {'excluded': count}
