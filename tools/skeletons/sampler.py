"""One sentence: which documents it prefers. A second one: how it draws.

Title of the paper (arXiv 0000.00000), section 0. Ours: what we changed, and
why. (This skeleton is complete: it draws in proportion to exp(score / T).)
"""

import numpy as np

from jaxcurate.samplers import budget as budget_lib
from jaxcurate.samplers import draw
from jaxcurate.types import Candidates, Selection


def sample(
  seed: int,
  candidates: Candidates,
  budget: budget_lib.Budget,
  *,
  temperature: float = 1.0,
) -> Selection:
  """Draws without replacement with weight exp(score / temperature).

  Args:
    seed: 0 <= seed < 2**64; with a document's id it decides its lot, so that
      neither row order nor shard layout matters.
    candidates: what to draw from; higher score = keep.
    budget: how much to keep.
    temperature: > 0; small values approach the best documents, large ones a
      uniform draw.

  Returns:
    The selection with inclusion probabilities.

  Raises:
    ValueError: temperature is not positive, or see `budget.resolve_budget`.
  """
  if temperature <= 0:
    raise ValueError(f'temperature is {temperature}, expected more than 0')
  cost, limit = budget_lib.resolve_budget(budget, candidates)
  log_weight = candidates.score.astype(np.float64) / temperature
  return draw.draw(seed, candidates, log_weight, cost, limit)
