"""The best documents: highest score first until the budget is reached.

What Ask-LLM does with its scores: "How to Train Data-Efficient LLMs" (arXiv
2402.09668, Algorithm 1), k best without replacement.
"""

from jaxcurate import types
from jaxcurate.samplers import budget as budget_lib
from jaxcurate.samplers import draw


def sample(
  seed: int, candidates: types.Candidates, budget: budget_lib.Budget
) -> types.Selection:
  """Takes the highest scores.

  Args:
    seed: only decides among equal scores, together with the id.
    candidates: what to take from.
    budget: how much to keep.

  Returns:
    A deterministic selection, best first.

  Raises:
    ValueError: see `budget.resolve_budget`.
  """
  cost, limit = budget_lib.resolve_budget(budget, candidates)
  return draw.take_best(seed, candidates, cost, limit)
