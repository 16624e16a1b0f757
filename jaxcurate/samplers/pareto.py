"""GPT-3's filter: a noisy line, so that some of what scores low is kept.

"Language Models are Few-Shot Learners" (arXiv 2005.14165, appendix A) keeps a
document when `np.random.pareto(9) > 1 - document_score`, the score being its
classifier's probability of good text. Larger draws are ever rarer: nearly all
documents of a probability near 1 are kept, and 2^-9 of those near 0.

Ours: the draw belongs to (seed, id); expectations are kept with the documents;
and with a budget the line, 1 in the paper, moves to where the budget is met.
"""

import numpy as np

from jaxcurate import types
from jaxcurate.ops import gumbel
from jaxcurate.samplers import budget as budget_lib
from jaxcurate.samplers import draw

UNIT = 'log P('  # how the unit of a probability's column begins


def sample(
  seed: int,
  candidates: types.Candidates,
  budget: budget_lib.Budget | None = None,
  *,
  alpha: float = 9.0,
) -> types.Selection:
  """Keeps documents with P + Pareto(alpha) above a line.

  keep x where X > line - P(x), Pr(X > t) = (1 + max(t, 0))^-alpha

  X is what NumPy calls Pareto, from 0 on (Lomax). Without a budget the line is
  1: the paper's rule, and every document is kept or not by itself, with
  probability (2 - P)^-alpha. With one the highest P + X are taken, and the
  line of a document is the first P + X of the others that was not.

  Args:
    seed: 0 <= seed < 2**64; the same seed keeps the same ids.
    candidates: their unit must be a 'log P(...)'.
    budget: None keeps what the paper's rule keeps.
    alpha: > 0, the paper has 9; high ones follow the score.

  Returns:
    The selection with inclusion probabilities, highest P + X first.

  Raises:
    ValueError: the score is no log probability, alpha is not above 0, nothing
      passes, or see `budget.resolve_budget`.
  """
  if not alpha > 0:
    raise ValueError(f'alpha is {alpha}, expected more than 0')
  whole = budget_lib.Budget(1.0) if budget is None else budget
  cost, limit = budget_lib.resolve_budget(whole, candidates)
  prob = _probabilities(candidates)
  uniform = gumbel.uniforms(seed, candidates.id_hash)
  key = prob + np.expm1(-np.log(uniform) / alpha)
  if budget is None:
    index = np.flatnonzero(key > 1)
    if not len(index):
      raise ValueError(
        f'none of {len(key):,} documents passes, {prob.sum():.3g} are good by'
        ' their probabilities; give a budget'
      )
    order = np.lexsort((~candidates.id_hash[index], -key[index]))
    index, line = index[order], np.ones(len(index))
  else:
    index, line = gumbel.take_prefix(key, candidates.id_hash, cost, limit)
  kept = draw.take_rows(candidates, index)
  return types.Selection(
    id=kept.id,
    count=np.ones(len(index), np.int32),
    expected_count=inclusion_prob(prob[index], line, alpha),
  )


def inclusion_prob(
  prob: np.ndarray, line: np.ndarray, alpha: float
) -> np.ndarray:
  """Probability that prob + Pareto(alpha) is above a line.

  Args:
    prob: [K] in [0, 1].
    line: [K] float64, 1 in the paper; -inf means certain.
    alpha: > 0.

  Returns:
    [K] float64 in (0, 1].

  >>> inclusion_prob(np.array([0.0, 1.0]), np.array([1.0, 1.0]), 9.0).tolist()
  [0.001953125, 1.0]
  """
  return np.exp(-alpha * np.log1p(np.maximum(line - prob, 0.0)))


def _probabilities(candidates: types.Candidates) -> np.ndarray:
  """[N] float64, exp of the scores.

  Raises:
    ValueError: they are no log probabilities.
  """
  if not candidates.unit.startswith(UNIT):
    raise ValueError(
      f'pareto needs a probability, a score with unit log P(...), this one has'
      f' {candidates.unit!r}; sample by a column such as ngram_classifier or'
      ' ask_llm, or use another method'
    )
  highest = int(candidates.score.argmax())
  if candidates.score[highest] > 1e-4:  # rounding may leave one beside 0
    raise ValueError(
      f'id {candidates.id[highest]!r} has log P {candidates.score[highest]},'
      ' expected at most 0'
    )
  return np.exp(np.minimum(candidates.score.astype(np.float64), 0.0))
