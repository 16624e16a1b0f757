"""Everything at or above a score, or above a quantile of the scores.

The usual quality filter. With a budget the best of what passes are taken, so
that a budget never buys text below the line. A log-likelihood ratio is cut
where LAMDAS (arXiv:2509.06524, Eq. 3) cuts it, at a ratio: 1 says that a text
is likelier with what was learnt from the reference set than without.
"""

import dataclasses

import numpy as np

from jaxcurate import types
from jaxcurate.ops import log_ratio
from jaxcurate.samplers import budget as budget_lib
from jaxcurate.samplers import draw


def sample(
  seed: int,
  candidates: types.Candidates,
  budget: budget_lib.Budget | None = None,
  *,
  threshold: float | None = None,
  quantile: float | None = None,
) -> types.Selection:
  """Takes documents with score >= threshold.

  Args:
    seed: only decides among equal scores where a budget cuts.
    candidates: what to take from.
    budget: None keeps all that pass. A share is a share of all candidates.
    threshold: lowest score that passes, in the unit of the score; for a
      log-likelihood ratio the ratio itself, > 0.
    quantile: used when threshold is None: that share of documents, in [0, 1],
      lies below the line. None is a ratio of 1 for a log-likelihood ratio and
      0.5 for all other scores.

  Returns:
    A deterministic selection, best first.

  Raises:
    ValueError: nothing passes, less passes than the budget asks for, a ratio
      that is not above 0, or see `budget.resolve_budget`.
  """
  if quantile is not None and not 0 <= quantile <= 1:
    raise ValueError(f'quantile is {quantile}, expected 0 <= quantile <= 1')
  whole = budget_lib.Budget(1.0) if budget is None else budget
  cost, limit = budget_lib.resolve_budget(whole, candidates)
  line = _line(candidates, threshold, quantile)
  passes = candidates.score >= line
  affordable = int(cost[passes].sum())
  if not passes.any():
    raise ValueError(
      f'no score reaches {line:.6g}, the highest is '
      f'{candidates.score.max():.6g}; lower the threshold'
    )
  if budget is None:
    limit = affordable
  if affordable < limit:
    raise ValueError(
      f'budget {budget} asks for {limit:,} {whole.unit}, but only '
      f'{affordable:,} have a score of at least {line:.6g}; lower the budget, '
      'the threshold or threshold.sample.quantile'
    )
  kept = draw.take_rows(candidates, np.flatnonzero(passes))
  selection = draw.take_best(seed, kept, cost[passes], limit)
  return dataclasses.replace(selection, threshold=float(line))


def _line(
  candidates: types.Candidates,
  threshold: float | None,
  quantile: float | None,
) -> np.float32:
  """The lowest score that passes, as scores are stored."""
  is_ratio = candidates.unit == log_ratio.UNIT
  if threshold is None and quantile is None and is_ratio:
    threshold = 1.0  # tau of the paper's main results
  if threshold is None:
    quantile = 0.5 if quantile is None else quantile  # ours: the better half
    return np.quantile(candidates.score, quantile, method='higher')
  return np.float32(log_ratio.from_ratio(threshold) if is_ratio else threshold)
