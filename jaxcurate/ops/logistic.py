"""Logistic regression on sparse rows, with an L2 penalty, on the host.

In float64 and by SciPy's L-BFGS: the optimum is unique, so that the weights
depend on the rows alone. On an accelerator the gradient of a sparse product is
a scatter, whose order of additions not every one repeats.
"""

from typing import NamedTuple

from jaxtyping import Bool, Float64
import numpy as np
import scipy

_TOLERANCE = 1e-6  # of the gradient's largest entry; the loss is below ln 2
_MAX_STEPS = 1_000


class Classifier(NamedTuple):
  """A linear classifier; log-odds = row @ weight + bias.

  Attributes:
    weight: [K] float64.
    bias: natural log-odds of a row of zeros.
  """

  weight: Float64[np.ndarray, ' K']
  bias: float


def fit(
  rows: scipy.sparse.csr_matrix, positive: Bool[np.ndarray, ' E'], l2: float
) -> Classifier:
  """The classifier of the lowest loss; both classes count the same.

  L = mean over positives of log(1 + exp(-z)) / 2
      + mean over the others of log(1 + exp(z)) / 2 + l2 |weight|^2 / 2

  Args:
    rows: [E, K] float64.
    positive: [E], not all alike.
    l2: > 0; the bias is not penalised.

  Returns:
    Weights within rounding of the optimum.

  Raises:
    ValueError: a class is empty, or l2 is not above 0.

  >>> rows = scipy.sparse.csr_matrix([[1.0], [-1.0]])
  >>> fit(rows, np.array([True, False]), 1.0).weight.round(3).tolist()
  [0.401]
  """
  if not l2 > 0:
    raise ValueError(f'l2 is {l2}, expected more than 0')
  count = int(positive.sum())
  if not 0 < count < len(positive):
    raise ValueError(
      f'{count} of {len(positive)} rows are positive; give some of both kinds'
    )
  sign_E = np.where(positive, 1.0, -1.0)
  # What no row has stays 0; there may be many such columns.
  used = np.unique(rows.indices)
  own = rows[:, used]
  share_E = 0.5 / np.where(positive, count, len(positive) - count)

  def loss(both: np.ndarray) -> tuple[float, np.ndarray]:
    weight, bias = both[:-1], both[-1]
    margin_E = sign_E * (own @ weight + bias)
    value = share_E @ np.logaddexp(0.0, -margin_E) + l2 / 2 * (weight @ weight)
    slope_E = -sign_E * share_E * scipy.special.expit(-margin_E)
    gradient = np.append(own.T @ slope_E + l2 * weight, slope_E.sum())
    return float(value), gradient

  found = scipy.optimize.minimize(
    loss,
    np.zeros(len(used) + 1),
    jac=True,
    method='L-BFGS-B',
    options={'gtol': _TOLERANCE, 'ftol': 0.0, 'maxiter': _MAX_STEPS},
  )
  weight_K = np.zeros(rows.shape[1])
  weight_K[used] = found.x[:-1]
  return Classifier(weight_K, float(found.x[-1]))


def log_prob(log_odds: float) -> float:
  """log P of natural log-odds z, -log(1 + exp(-z)), however far out.

  >>> log_prob(-800.0)
  -800.0
  """
  return -float(np.logaddexp(0.0, -log_odds))
