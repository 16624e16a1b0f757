"""How well does a score separate sound text from damaged text?

The area under the ROC curve is the chance that a random sound document
scores above a random damaged one, ties counting one half: the Mann-Whitney
statistic over ranks. Ours: the interval, a bootstrap within both classes.
"""

from typing import NamedTuple

from jaxtyping import Bool, Float
import numpy as np
import scipy  # its parts load at their first use: stats takes half a second

_CHUNK = 4_000_000  # resampled weights held at once


class Auc(NamedTuple):
  """Area under the ROC curve.

  Attributes:
    auc: in [0, 1]; 0.5 = no separation; NaN where a class is empty.
    low: lower end of the 95 % interval.
    high: upper end.
    num_positive: sound documents with a score.
    num_negative: damaged documents with a score.
  """

  auc: float
  low: float
  high: float
  num_positive: int
  num_negative: int


def roc_auc(
  score: Float[np.ndarray, ' N'],
  positive: Bool[np.ndarray, ' N'],
  *,
  seed: int = 0,
  num_resamples: int = 1_000,
) -> Auc:
  """AUC of a score, with a 95 % bootstrap interval.

  auc = (sum of the ranks of the positives - P (P + 1) / 2) / (P * M), ties at
  their mean rank.

  Args:
    score: [N], NaN = no score, left out; infinities are ordered as usual.
    positive: [N] True where the score should be high.
    seed: of the resampling.
    num_resamples: draws within each class.

  Returns:
    The area; all NaN where a class has no scored document.

  >>> roc_auc(np.array([1.0, 2.0, 3.0]), np.array([False, True, True])).auc
  1.0
  """
  known = ~np.isnan(score)
  score, positive = score[known], positive[known]
  num_positive = int(positive.sum())
  num_negative = len(score) - num_positive
  if not num_positive or not num_negative:
    return Auc(np.nan, np.nan, np.nan, num_positive, num_negative)
  rank_sum = scipy.stats.rankdata(score)[positive].sum()
  wins = rank_sum - num_positive * (num_positive + 1) / 2
  auc = float(wins / (num_positive * num_negative))
  order = np.argsort(score, kind='stable')
  ordered = score[order]
  first_of_value = np.flatnonzero(
    np.concatenate([[True], ordered[1:] != ordered[:-1]])
  )
  rng = np.random.default_rng(seed)
  draws = []
  rows = max(_CHUNK // len(score), 1)
  for start in range(0, num_resamples, rows):
    size = min(rows, num_resamples - start)
    weight = np.zeros((size, len(score)))
    weight[:, positive] = _counts(rng, num_positive, size)
    weight[:, ~positive] = _counts(rng, num_negative, size)
    weight, sorted_positive = weight[:, order], positive[order]
    above = np.where(sorted_positive, weight, 0)
    below = np.where(sorted_positive, 0, weight)
    # Weight of positives and negatives at each distinct score.
    above = np.add.reduceat(above, first_of_value, axis=1)
    below = np.add.reduceat(below, first_of_value, axis=1)
    beaten = np.cumsum(below, axis=1) - 0.5 * below
    draws.append((above * beaten).sum(axis=1) / (num_positive * num_negative))
  low, high = np.quantile(np.concatenate(draws), [0.025, 0.975])
  return Auc(auc, float(low), float(high), num_positive, num_negative)


def _counts(rng: np.random.Generator, num: int, size: int) -> np.ndarray:
  """How often each of `num` items is drawn in `num` draws, `size` times."""
  return rng.multinomial(num, np.full(num, 1 / num), size=size)
