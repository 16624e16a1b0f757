"""Criteria Mix: the best documents of every criterion, whichever it is.

The baseline of QuaDMix (arXiv 2504.16511, table 2): the union of what each
criterion alone would select, without duplicates. Its union is larger than one
selection; ours is cut to the budget by taking from every criterion equally far
down, until all together spend it. With one criterion it is `top_k`.
"""

import numpy as np

from jaxcurate import types
from jaxcurate.ops import gumbel
from jaxcurate.samplers import budget as budget_lib


def sample(
  seed: int, candidates: types.Candidates, budget: budget_lib.Budget
) -> types.Selection:
  """Takes documents by the best place that some criterion gives them.

  place(x) = min over criteria of the cost of all documents that score higher

  A document is in the union of selections of cost c, one per criterion, where
  place(x) < c; c is what the budget allows.

  Args:
    seed: only decides among equal scores and places, together with the id.
    candidates: what to take from, with one or several `scores`.
    budget: how much to keep in all.

  Returns:
    A deterministic selection, best place first.

  Raises:
    ValueError: a score is not finite, or see `budget.resolve_budget`.
  """
  cost, limit = budget_lib.resolve_budget(budget, candidates)
  lot = gumbel.philox(candidates.id_hash, seed)
  places = [
    _place(np.asarray(score, np.float64), lot, cost)
    for score in (candidates.scores or {'': candidates.score}).values()
  ]
  rows, _ = gumbel.take_prefix(-np.min(places, axis=0), lot, cost, limit)
  return types.Selection(
    id=candidates.id[rows],
    count=np.ones(len(rows), np.int32),
    expected_count=np.ones(len(rows), np.float64),
    design='deterministic',
  )


def _place(score: np.ndarray, lot: np.ndarray, cost: np.ndarray) -> np.ndarray:
  """[N] float64, cost of the documents before each, best first."""
  order = np.lexsort((~lot, -score))
  place = np.empty(len(score))
  place[order] = np.cumsum(cost[order]) - cost[order]
  return place
