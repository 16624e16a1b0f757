"""`jaxcurate sample --mixture`: score tables and a Mixture to a Selection."""

import numpy as np

from jaxcurate.mixtures import expected_copies
from jaxcurate.samplers import budget as budget_lib
from jaxcurate.samplers import draw
from jaxcurate.types import Candidates, Mixture, ScoreTable, Selection


def sample(
  seed: int,
  mixture: Mixture,
  table: ScoreTable,
  candidates: Candidates,
  budget: budget_lib.Budget,
  *,
  max_copies: float,
) -> tuple[Selection, dict[str, int]]:
  """Draws copies that keep the mixture's shares and the budget.

  Shares of domains and the budget are met to within one document.

  Args:
    seed: of the draw.
    mixture: what is wanted.
    table: the pool.
    candidates: the same documents.
    budget: how much to keep, copies counted.
    max_copies: of one document, > 0.

  Returns:
    The selection, and domains that the mixture does not name -> documents.

  Raises:
    ValueError: see `budget.resolve_budget` and `expected_copies`; a budget
      may be above what there is, as far as max_copies allows.
  """
  budget_lib.check_candidates(candidates)
  tokens = candidates.num_tokens.astype(np.int64)
  cost = tokens if budget.unit == 'tokens' else np.ones_like(tokens)
  limit = budget.amount
  if isinstance(limit, float):
    limit = max(1, round(limit * int(cost.sum())))
  expected, other = expected_copies.expected_copies(
    mixture, table, cost, limit, max_copies=max_copies
  )
  domain = np.unique(table.domain.astype(str), return_inverse=True)[1]
  return draw.draw_copies(seed, candidates, expected, cost, domain), other
