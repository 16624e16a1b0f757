"""Which documents to label next: those that the judge is least sure of.

A judge learns most from labels of documents that it cannot place: near the
line between keep and drop (uncertainty sampling, Lewis and Gale, "A Sequential
Algorithm for Training Text Classifiers", SIGIR 1994). The nearest ones alone
are much alike, so a batch is drawn with Gumbel noise instead ("Stochastic
Batch Acquisition", arXiv 2106.12059, its softmax acquisition), and every
document keeps a chance, so that the labels also give unbiased totals when each
is divided by its inclusion probability (as in "Importance Weighted Active
Learning", arXiv 0812.4952). The distance is ours: it is counted in ranks and
means the same for every score, whatever its unit and shape.
"""

import math

from jaxtyping import Float64
import numpy as np
import scipy  # its parts load at their first use: stats takes half a second

from jaxcurate import types
from jaxcurate.ops import log_ratio
from jaxcurate.samplers import budget as budget_lib
from jaxcurate.samplers import draw


def sample(
  seed: int,
  candidates: types.Candidates,
  budget: budget_lib.Budget,
  *,
  threshold: float | None = None,
  quantile: float = 0.5,
  width: float = 0.05,
  uniform_share: float = 0.1,
) -> types.Selection:
  """Draws without replacement, most often near the line.

  w_i = uniform_share + (1 - uniform_share) u_i / mean(u)
  u_i = exp(-|rank_i / N - line| / width), `line` a rank as a share of N

  Args:
    seed: 0 <= seed < 2**64; the same seed draws the same ids.
    candidates: what to draw from.
    budget: how much to label.
    threshold: the line, in the unit of the score; for a log-likelihood ratio
      the ratio itself, > 0. None goes by `quantile`.
    quantile: that share of the documents lies below the line, in [0, 1].
    width: > 0, share of the documents between the line and where the first
      term has fallen to 1 / e.
    uniform_share: in (0, 1]; this share is drawn uniformly, 1 ignores scores.

  Returns:
    The selection with inclusion probabilities.

  Raises:
    ValueError: a setting out of its range, or see `budget.resolve_budget`.
  """
  if not 0 <= quantile <= 1 or not width > 0 or not 0 < uniform_share <= 1:
    raise ValueError(
      f'quantile is {quantile}, width {width} and uniform_share'
      f' {uniform_share}, expected 0 <= quantile <= 1, width > 0 and 0 <'
      ' uniform_share <= 1'
    )
  cost, limit = budget_lib.resolve_budget(budget, candidates)
  line = quantile
  if threshold is not None:
    line = _share_below(candidates, threshold)
  away = distance(candidates.score, line)
  near = np.exp((away.min() - away) / width)  # scaled: never 0 everywhere
  weight = uniform_share + (1 - uniform_share) * near / near.mean()
  return draw.draw(seed, candidates, np.log(weight), cost, limit)


def distance(score: np.ndarray, line: float) -> Float64[np.ndarray, ' N']:
  """How far every score is from the line, as a share of all scores.

  Args:
    score: [N] finite; equal ones share their mean rank.
    line: share of the scores that lie below it.

  Returns:
    [N] in [0, 1].

  >>> distance(np.array([5.0, 7.0, 9.0, 6.0]), 0.5).tolist()
  [0.375, 0.125, 0.375, 0.125]
  """
  # Some SciPy versions rank float32 in float32.
  rank = (scipy.stats.rankdata(score).astype(np.float64) - 0.5) / len(score)
  return np.abs(rank - line)


def _share_below(candidates: types.Candidates, threshold: float) -> float:
  """Rank of the line among the scores; equal scores count by half."""
  if not math.isfinite(threshold):
    raise ValueError(f'threshold is {threshold}, expected a finite number')
  if candidates.unit == log_ratio.UNIT:
    threshold = log_ratio.from_ratio(threshold)
  line = np.float32(threshold)
  below, up_to = (candidates.score < line), (candidates.score <= line)
  return float(below.mean() + up_to.mean()) / 2
