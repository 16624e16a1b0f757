"""From the parameters of proxies to their losses, to be asked about others.

LightGBM is what QuaDMix (arXiv 2504.16511, section 3.3) and RegMix (2407.01492,
section 3.3) fit; a line is RegMix's other one; the exponential form is that of
"Data Mixing Laws" (2403.16952, equation 1), for shares.
"""

from collections.abc import Callable

from jaxtyping import Float64
import numpy as np
import scipy  # its parts load at their first use

Predict = Callable[[np.ndarray], np.ndarray]
# (parameters [P, F], losses [P]) -> parameters [Q, F] -> losses [Q].
Regressor = Callable[
  [Float64[np.ndarray, 'P F'], Float64[np.ndarray, ' P']], Predict
]

_FOLDS = 5


def fit_lightgbm(
  parameters: Float64[np.ndarray, 'P F'],
  loss: Float64[np.ndarray, ' P'],
  *,
  learning_rate: float = 0.01,
  max_trees: int = 1000,
  early_stopping: int = 3,
  num_leaves: int = 31,
  min_leaf: int = 5,
  feature_fraction: float = 1.0,
  seed: int = 42,
) -> Predict:
  """Boosted trees; their number is chosen by cross-validation in five folds.

  Args:
    parameters: [P, F].
    loss: [P], finite.
    learning_rate: RegMix's.
    max_trees: RegMix's.
    early_stopping: rounds without a gain; RegMix's.
    num_leaves: of a tree; LightGBM's.
    min_leaf: runs in a leaf; CLIMB's (arXiv 2504.13161, section 4). LightGBM's
      own 20 splits nothing in a search of 40 runs.
    feature_fraction: of the parameters that a tree may use, in (0, 1].
    seed: of the trees and folds.

  Raises:
    ValueError: fewer than 4 min_leaf runs.
  """
  _check_enough(len(loss), 4 * min_leaf, 'LightGBM with leaves of 5 or more')
  import lightgbm  # a search is all that needs it

  settings = {
    'objective': 'regression',
    'learning_rate': learning_rate,
    'num_leaves': num_leaves,
    'min_data_in_leaf': min_leaf,
    'feature_fraction': feature_fraction,
    'seed': seed,
    'deterministic': True,
    'force_row_wise': True,
    'num_threads': 1,  # of few rows: threads would wait for each other
    'verbosity': -1,
  }
  # Losses differ in the second digit: in their own scale nothing is lost.
  center, scale = float(loss.mean()), float(loss.std()) or 1.0
  data = lightgbm.Dataset(
    parameters, (loss - center) / scale, free_raw_data=False
  )
  found = lightgbm.cv(
    settings,
    data,
    num_boost_round=max_trees,
    nfold=_FOLDS,
    stratified=False,
    seed=seed,
    callbacks=[lightgbm.early_stopping(early_stopping, verbose=False)],
  )
  errors: list[float] = found['valid l2-mean']  # type: ignore[assignment]
  trees = max(1, len(errors))
  booster = lightgbm.train(settings, data, num_boost_round=trees)
  return lambda others: np.asarray(booster.predict(others)) * scale + center


def fit_linear(
  parameters: Float64[np.ndarray, 'P F'],
  loss: Float64[np.ndarray, ' P'],
  *,
  ridge: float = 0.0,
) -> Predict:
  """A line through the runs, of least squares.

  Args:
    parameters: [P, F].
    loss: [P], finite.
    ridge: >= 0, penalty of the squared slopes of standardised parameters, per
      run; 0 takes the solution of smallest norm, for shares sum to 1.

  Raises:
    ValueError: no more runs than parameters, without a penalty.
  """
  num_features = parameters.shape[1]
  needed = 2 if ridge else num_features + 2
  _check_enough(len(loss), needed, f'a line in {num_features} parameters')
  mean, scale = parameters.mean(axis=0), parameters.std(axis=0)
  scale = np.where(scale > 0, scale, 1.0)
  rows = (parameters - mean) / scale
  target = loss - loss.mean()
  if ridge:
    penalty = np.sqrt(ridge * len(loss)) * np.eye(num_features)
    rows = np.concatenate([rows, penalty])
    target = np.append(target, np.zeros(num_features))
  slope, *_ = np.linalg.lstsq(rows, target, rcond=None)
  return lambda others: (others - mean) / scale @ slope + loss.mean()


def fit_mixing_law(
  parameters: Float64[np.ndarray, 'P F'],
  loss: Float64[np.ndarray, ' P'],
  *,
  num_starts: int = 8,
  seed: int = 0,
) -> Predict:
  """loss = c + k exp(t · shares), c, k >= 0, by least squares.

  k is absorbed in t, for shares sum to 1.

  Args:
    parameters: [P, F] shares, rows sum to 1.
    loss: [P], finite.
    num_starts: of the optimizer, for there is more than one optimum.
    seed: of the starts.

  Raises:
    ValueError: no more runs than coefficients, or rows that are no shares.
  """
  if not np.allclose(parameters.sum(axis=1), 1.0, atol=1e-6):
    raise ValueError(
      'the mixing law is about shares of domains, and these parameters do not'
      ' sum to 1; use LightGBM'
    )
  num_features = parameters.shape[1]
  _check_enough(
    len(loss), num_features + 2, f'the mixing law of {num_features} domains'
  )

  def predicted(theta: np.ndarray, shares: np.ndarray) -> np.ndarray:
    return theta[0] + np.exp(shares @ theta[1:])

  def residual(theta: np.ndarray) -> np.ndarray:
    return predicted(theta, parameters) - loss

  def jacobian(theta: np.ndarray) -> np.ndarray:
    steep = np.exp(parameters @ theta[1:])
    return np.column_stack([np.ones(len(loss)), steep[:, None] * parameters])

  rng = np.random.default_rng(seed)
  lowest, spread = float(loss.min()), max(float(np.ptp(loss)), 1e-9)
  best = None
  for start in range(num_starts):
    floor = max(lowest - spread * 2.0 ** (start - 2), 0.0)
    exponent = np.log(np.maximum(loss - floor, spread * 1e-3))
    slope, *_ = np.linalg.lstsq(parameters, exponent, rcond=None)
    slope = slope + (start > 0) * rng.normal(0, 0.1, num_features)
    fitted = scipy.optimize.least_squares(
      residual,
      np.concatenate([[floor], slope]),
      jacobian,
      bounds=([0.0] + [-np.inf] * num_features, np.inf),
    )
    if best is None or fitted.cost < best.cost:
      best = fitted
  assert best is not None and np.isfinite(best.cost)
  theta = best.x
  return lambda others: predicted(theta, others)


def _check_enough(runs: int, needed: int, what: str) -> None:
  if runs < needed:
    raise ValueError(
      f'{what} needs at least {needed} finished proxies, and there are {runs};'
      ' train more (num_proxies), or use a simpler regressor'
    )
