"""Random documents, every one with the same chance: the baseline to beat.

The sampler "Random" of "How to Train Data-Efficient LLMs" (arXiv 2402.09668):
uniform without replacement, in whatever way the documents were scored.
"""

import numpy as np

from jaxcurate import types
from jaxcurate.samplers import budget as budget_lib
from jaxcurate.samplers import draw


def sample(
  seed: int, candidates: types.Candidates, budget: budget_lib.Budget
) -> types.Selection:
  """Draws documents uniformly without replacement.

  Args:
    seed: 0 <= seed < 2**64; the same seed keeps the same ids.
    candidates: their scores are not looked at beyond being finite.
    budget: how much to keep.

  Returns:
    The selection with inclusion probabilities.

  Raises:
    ValueError: see `budget.resolve_budget`.
  """
  cost, limit = budget_lib.resolve_budget(budget, candidates)
  return draw.draw(seed, candidates, np.zeros(len(cost)), cost, limit)
