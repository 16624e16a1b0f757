"""Importance resampling: draws in proportion to exp(score), no replacement.

Gumbel top-k on a column of log weights. With the column `dsir` it is the
resampling of DSIR ("Data Selection for Language Models via Importance
Resampling", arXiv 2302.03169, section 3); with ratings and a temperature it
is how QuRating draws (arXiv 2402.09739, section 4). The temperature of DSIR
is 1: its log weights are sums over a document, hundreds of nats apart, so
that the draw is nearly `top_k`. Inclusion probabilities are ours.
"""

import numpy as np

from jaxcurate import types
from jaxcurate.samplers import budget as budget_lib
from jaxcurate.samplers import draw


def sample(
  seed: int,
  candidates: types.Candidates,
  budget: budget_lib.Budget,
  *,
  temperature: float = 1.0,
) -> types.Selection:
  """Draws without replacement with weight exp(score / temperature).

  Args:
    seed: 0 <= seed < 2**64; the same seed keeps the same ids.
    candidates: what to draw from; scores are natural logs of weights.
    budget: how much to keep.
    temperature: > 0, in the unit of the score; low ones follow the score,
      high ones draw uniformly.

  Returns:
    The selection with inclusion probabilities.

  Raises:
    ValueError: the temperature is not above 0, or see `budget.resolve_budget`.
  """
  if not temperature > 0:
    raise ValueError(f'temperature is {temperature}, expected more than 0')
  cost, limit = budget_lib.resolve_budget(budget, candidates)
  log_weight = candidates.score.astype(np.float64) / temperature
  return draw.draw(seed, candidates, log_weight, cost, limit)
