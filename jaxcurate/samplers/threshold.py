"""Everything at or above a score, or above a quantile of the scores.

The usual quality filter. With a budget the best of what passes are taken, so
that a budget never buys text below the line.
"""

import numpy as np

from jaxcurate import types
from jaxcurate.samplers import budget as budget_lib
from jaxcurate.samplers import draw


def sample(
  seed: int,
  candidates: types.Candidates,
  budget: budget_lib.Budget | None = None,
  *,
  min_score: float | None = None,
  quantile: float = 0.5,
) -> types.Selection:
  """Takes documents with score >= min_score.

  Args:
    seed: only decides among equal scores where a budget cuts.
    candidates: what to take from.
    budget: None keeps all that pass. A share is a share of all candidates.
    min_score: lowest score that passes, in the unit of the score.
    quantile: used when min_score is None: that share of documents, in [0, 1],
      lies below the line.

  Returns:
    A deterministic selection, best first.

  Raises:
    ValueError: nothing passes, less passes than the budget asks for, or see
      `budget.resolve_budget`.
  """
  if not 0 <= quantile <= 1:
    raise ValueError(f'quantile is {quantile}, expected 0 <= quantile <= 1')
  whole = budget_lib.Budget(1.0) if budget is None else budget
  cost, limit = budget_lib.resolve_budget(whole, candidates)
  if min_score is None:
    line = np.quantile(candidates.score, quantile, method='higher')
  else:
    line = np.float32(min_score)
  passes = candidates.score >= line
  affordable = int(cost[passes].sum())
  if not passes.any():
    raise ValueError(
      f'no score reaches {line:.6g}, the highest is '
      f'{candidates.score.max():.6g}; lower threshold.sample.min_score'
    )
  if budget is None:
    limit = affordable
  if affordable < limit:
    raise ValueError(
      f'budget {budget} asks for {limit:,} {whole.unit}, but only '
      f'{affordable:,} have a score of at least {line:.6g}; lower the budget, '
      'threshold.sample.min_score or threshold.sample.quantile'
    )
  kept = draw.take_rows(candidates, np.flatnonzero(passes))
  return draw.take_best(seed, kept, cost[passes], limit)
