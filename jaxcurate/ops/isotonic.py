"""One score on the scale of another: the best rising curve between them.

Least-squares isotonic regression (Barlow et al., "Statistical Inference under
Order Restrictions", 1972; for scores of classifiers: Zadrozny and Elkan, KDD
2002). Ours: straight lines between the blocks instead of steps, and a small
slope everywhere, so that no two different scores become one.
"""

from typing import NamedTuple

from jaxtyping import Float
import numpy as np
import scipy  # its parts load at their first use

# Share of std(target) / std(score) that the curve rises at least: far below
# any effect worth having, far above float32 rounding of a million scores.
_MIN_SLOPE = 0.01


class Curve(NamedTuple):
  """A rising function: straight between knots, `slope` beyond them.

  Attributes:
    score: [K] float64, rising.
    target: [K] float64, rising.
    slope: >= 0.
  """

  score: np.ndarray
  target: np.ndarray
  slope: float


def fit(
  score: Float[np.ndarray, ' N'], target: Float[np.ndarray, ' N']
) -> Curve:
  """argmin over g of sum_i (target_i - g(score_i))^2 with g' >= slope.

  Args:
    score: [N] finite, N >= 1.
    target: [N] finite.

  Returns:
    The curve; one knot where all scores are equal.

  Raises:
    ValueError: no rows, or a value is not finite.

  >>> curve = fit(np.arange(1.0, 5.0), np.array([0.0, 2.0, 1.0, 3.0]))
  >>> curve.score.tolist(), curve.target.round(1).tolist()
  ([1.0, 2.5, 4.0], [0.0, 1.5, 3.0])
  """
  if not len(score) or not np.isfinite(score + target).all():
    raise ValueError(
      f'{len(score)} scores and {len(target)} targets, expected as many of'
      ' both, at least one, all finite'
    )
  score, target = score.astype(np.float64), target.astype(np.float64)
  spread = score.std()
  slope = _MIN_SLOPE * float(target.std() / spread) if spread > 0 else 0.0
  level, place = np.unique(score, return_inverse=True)
  weight = np.bincount(place).astype(np.float64)
  # With a least slope the problem is the plain one for what it leaves.
  rest = np.bincount(place, target) / weight - slope * level
  solved = scipy.optimize.isotonic_regression(rest, weights=weight)
  starts = solved.blocks[:-1]
  inside = np.add.reduceat(weight, starts)
  knots = np.add.reduceat(weight * level, starts) / inside
  value = np.add.reduceat(weight * rest, starts) / inside
  return Curve(knots, value + slope * knots, slope)


def apply(
  curve: Curve, score: Float[np.ndarray, ' N']
) -> Float[np.ndarray, ' N']:
  """Values of the curve.

  Args:
    curve: of `fit`.
    score: [N]; NaN stays NaN.

  Returns:
    [N] float64, rising with the score.

  >>> curve = Curve(np.array([0.0, 1.0]), np.array([5.0, 7.0]), 0.5)
  >>> apply(curve, np.array([-1.0, 0.5, 3.0])).tolist()
  [4.5, 6.0, 8.0]
  """
  rest = curve.target - curve.slope * curve.score
  score = score.astype(np.float64)
  return np.interp(score, curve.score, rest) + curve.slope * score
