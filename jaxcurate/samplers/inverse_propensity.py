"""Rare text first: draws in proportion to 1 / density, without replacement.

The sampler of DENSITY in "How to Train Data-Efficient LLMs" (arXiv
2402.09668, section 3.3 and Theorem A.2), by Gumbel top-k.

Erratum: the printed Algorithm 2 normalises S / sum(S), which prefers dense
regions; the text and the theorem need 1 / S, and so it is here. On a pool of
two clusters, 95 % and 5 %, whose members see the other cluster with a kernel
value of 0.1, 1 / S raises the minority's share of the draws to 25 % and the
printed form lowers it below 1 %.
"""

import numpy as np

from jaxcurate import types
from jaxcurate.ops import log_density
from jaxcurate.samplers import budget as budget_lib
from jaxcurate.samplers import draw


def sample(
  seed: int, candidates: types.Candidates, budget: budget_lib.Budget
) -> types.Selection:
  """Draws with weight exp(score) = 1 / density.

  Args:
    seed: 0 <= seed < 2**64; the same seed keeps the same ids.
    candidates: their unit must be '-log density'.
    budget: how much to keep.

  Returns:
    The selection with inclusion probabilities.

  Raises:
    ValueError: the score is not a negative log density; or see
      `budget.resolve_budget`.
  """
  check_unit(candidates.unit)
  cost, limit = budget_lib.resolve_budget(budget, candidates)
  log_weight = candidates.score.astype(np.float64)
  return draw.draw(seed, candidates, log_weight, cost, limit)


def check_unit(unit: str) -> None:
  """Raises ValueError unless exp(score) is an inverse density."""
  if unit != log_density.UNIT:
    raise ValueError(
      f'inverse_propensity needs a score with unit {log_density.UNIT!r}, this '
      f'one has {unit!r}; sample by a density column, or use another method'
    )
