"""Re-weighting instead of a cut: better documents more often, none never.

Every document is drawn as often as its weight says, in expectation: seldom
where the score is low, several times where it is high. A stand-in: the authors
of "How to Train Data-Efficient LLMs" (arXiv 2402.09668) say that Gemma 3's data
were re-weighted, not filtered, by a judge with several criteria; neither its
prompt nor its map from scores to weights is public. This map is ours; the score
to draw by is a weighted sum of log P(yes), `ask_llm.make.criteria_weights`.
"""

from jaxtyping import Float64
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
  clip: tuple[float, float] = (0.25, 4.0),
) -> types.Selection:
  """Draws copies whose expected numbers are proportional to the weights.

  w = clip(exp((s - mean s) / T), lowest, highest)

  A document has its expected number of copies, rounded up or down; a budget of
  documents is met exactly and one of tokens within one document.

  Args:
    seed: 0 <= seed < 2**64; the same seed keeps the same ids.
    candidates: what to draw from; scores are natural logs.
    budget: how much to keep, copies counted.
    temperature: T > 0; low ones follow the score, high ones draw uniformly.
    clip: lowest and highest weight, 0 < lowest <= highest.

  Returns:
    Documents with a copy or more and their expected counts, which may be
    above 1.

  Raises:
    ValueError: a setting out of its range, or see `budget.resolve_budget`.
  """
  cost, limit = budget_lib.resolve_budget(budget, candidates)
  weight = weights(candidates.score, temperature, clip)
  expected = limit * weight / float(weight @ cost)
  return draw.draw_copies(seed, candidates, expected, cost)


def weights(
  score: np.ndarray, temperature: float, clip: tuple[float, float]
) -> Float64[np.ndarray, ' N']:
  """clip(exp((s - mean s) / T), lowest, highest).

  Args:
    score: [N] finite natural logs.
    temperature: T.
    clip: (lowest, highest).

  Raises:
    ValueError: a setting out of its range.

  >>> weights(np.log([1.0, 2.0, 4.0]), 1.0, (0.6, 4.0)).round(6).tolist()
  [0.6, 1.0, 2.0]
  """
  lowest, highest = clip
  if not temperature > 0 or not 0 < lowest <= highest:
    raise ValueError(
      f'temperature is {temperature} and clip {tuple(clip)}, expected a'
      ' temperature above 0 and 0 < lowest <= highest'
    )
  logit = (
    score.astype(np.float64) - score.mean(dtype=np.float64)
  ) / temperature
  return np.exp(np.clip(logit, np.log(lowest), np.log(highest)))
