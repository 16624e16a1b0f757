"""Ridge regression in closed form, its strength chosen by leaving one out.

One eigendecomposition of the features' Gram matrix gives the solution and the
exact leave-one-out predictions for every strength (Allen's PRESS; Golub, Heath
and Wahba, Technometrics 21(2), 1979, equation 1.3). Host code in float64: the
features are at most a few thousand numbers wide.
"""

from typing import NamedTuple

from jaxtyping import Float
import numpy as np

# Shares of the mean eigenvalue, strong to weak: ties go to the stronger.
STRENGTHS = tuple(10.0 ** (k / 2) for k in range(6, -13, -1))


class Ridge(NamedTuple):
  """A linear prediction, (x - mean) @ weight + bias.

  Attributes:
    mean: [D] float64 of the features.
    weight: [D] float64; 0 where a feature is constant.
    bias: mean target.
    strength: the chosen one, as a share of the mean eigenvalue.
    left_out: [N] float64, every row's prediction by a fit without it.
  """

  mean: np.ndarray
  weight: np.ndarray
  bias: float
  strength: float
  left_out: np.ndarray


def fit(
  features_NxD: Float[np.ndarray, 'N D'],
  target_N: Float[np.ndarray, ' N'],
  strengths: tuple[float, ...] = STRENGTHS,
) -> Ridge:
  """argmin over w, b of sum_n (y_n - z_n w - b)^2 + strength * s |w|^2.

  z: features less their means, over their standard deviations; s: mean
  eigenvalue of z^T z, which is N where no feature is constant. Of the
  strengths, the one of least squared leave-one-out error

    y_n - yhat_n(without n) = (y_n - yhat_n) / (1 - h_n),

  h_n = 1/N + z_n (z^T z + strength s)^-1 z_n^T, is taken. The identity is exact
  but for z, whose means and deviations are those of all rows.

  Args:
    features_NxD: [N, D] finite, N >= 2.
    target_N: [N] finite.
    strengths: > 0, tried in this order; equal errors leave the first.

  Returns:
    The fit at the chosen strength. Memory: 8 N D bytes, twice.

  Raises:
    ValueError: other shapes, fewer than two rows, a value that is not finite.

  >>> ridge = fit(np.array([[0.0], [1.0], [2.0]]), np.array([1.0, 3.0, 5.0]))
  >>> round(float(ridge.weight[0]), 3), ridge.bias
  (2.0, 3.0)
  """
  num_rows = len(features_NxD)
  if features_NxD.ndim != 2 or target_N.shape != (num_rows,) or num_rows < 2:
    raise ValueError(
      f'features have shape {features_NxD.shape} and targets {target_N.shape},'
      ' expected (N, D) and (N,) with N at least 2'
    )
  if not (np.isfinite(features_NxD).all() and np.isfinite(target_N).all()):
    raise ValueError('features and targets must be finite; leave out the rest')
  mean_D, bias = features_NxD.mean(0, dtype=np.float64), float(target_N.mean())
  scale_D = features_NxD.std(0, dtype=np.float64)
  # What is left of a constant is rounding, which must not be blown up.
  constant_D = scale_D <= 1e-7 * np.abs(mean_D)
  scale_D[constant_D] = np.inf
  z_NxD = (features_NxD - mean_D) / scale_D
  eigenvalue_D, vectors_DxD = np.linalg.eigh(z_NxD.T @ z_NxD)
  eigenvalue_D = eigenvalue_D.clip(0)
  z_NxD = z_NxD @ vectors_DxD
  product_D = (target_N - bias) @ z_NxD
  square_NxD, unit = z_NxD**2, float(eigenvalue_D.mean()) or 1.0
  best, least = None, np.inf
  for strength in strengths:
    inverse_D = 1 / (eigenvalue_D + strength * unit)
    residual_N = target_N - bias - z_NxD @ (inverse_D * product_D)
    leverage_N = 1 / num_rows + square_NxD @ inverse_D
    missed_N = residual_N / np.maximum(1 - leverage_N, 1e-12)
    if best is None or missed_N @ missed_N < least:
      best, least = (strength, inverse_D, missed_N), missed_N @ missed_N
  if best is None:
    raise ValueError('strengths is empty, expected at least one')
  strength, inverse_D, missed_N = best
  return Ridge(
    mean=mean_D,
    weight=vectors_DxD @ (inverse_D * product_D) / scale_D,
    bias=bias,
    strength=strength,
    left_out=target_N - missed_N,
  )


def explained(target_N: np.ndarray, predicted_N: np.ndarray) -> float:
  """Share of the targets' variance that predictions explain, R².

  1 - sum (y - yhat)^2 / sum (y - mean y)^2; 0 for constant targets. Below 0
  where the mean would have been nearer.

  >>> explained(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 2.0]))
  0.5
  """
  total = float(((target_N - target_N.mean()) ** 2).sum())
  missed = float(((target_N - predicted_N) ** 2).sum())
  return 1 - missed / total if total else 0.0
