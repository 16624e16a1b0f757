"""Fits a judge's head exactly and leaves the network as it is.

For few judgements (people's labels): one pass over the texts, then a convex
problem that is solved to its end, so that nothing depends on a learning rate,
an order or a seed. How much the head is held back is chosen by
cross-validation on the same texts. A linear probe of frozen states is the
usual first step with few labels (arXiv 2202.10054); the n-grams beside it are
ours (`ops.ngrams`).
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from jaxtyping import Float, Int
import numpy as np
import scipy.optimize
import scipy.sparse
import scipy.special

from jaxcurate.ops import judge_loss, ngrams

PENALTIES = (1.0, 0.3, 0.1, 0.03, 0.01)  # of the squared weights, per judgement
_FOLDS = 5
_LENGTH_SCALE = 0.3  # of the standardised log length; ours
_MAX_ITERATIONS = 500
_MAX_DUAL_ROWS = 4_000


class Inputs(NamedTuple):
  """What a head sees of N texts.

  Attributes:
    pooled: [N, D] token-weighted mean of the windows' pooled states.
    grams: [N, buckets] sparse, the same of their n-grams; None without.
    length: [N] natural log of the tokens read.
  """

  pooled: np.ndarray
  grams: scipy.sparse.csr_matrix | None
  length: np.ndarray


class Fit(NamedTuple):
  """A fitted head.

  Attributes:
    head: tensors of a `types.Head`.
    penalty: [C] chosen of `penalties`.
    loss: [C] mean held-out loss in cross-validation at that penalty.
  """

  head: dict[str, np.ndarray]
  penalty: tuple[float, ...]
  loss: tuple[float, ...]


def fit(
  inputs: Inputs,
  text: Int[np.ndarray, 'M sides'],
  target: Float[np.ndarray, 'M C'],
  *,
  loss: str,
  penalties: Sequence[float] = PENALTIES,
  seed: int = 0,
) -> Fit:
  """The head that minimises, for every criterion,

    sum_m loss(z_m, t_m) + penalty / 2 |weights|^2

  over weights of standardised inputs; the bias is free.

  Args:
    inputs: of N texts.
    text: [M, 1] index of the judged text, or [M, 2] of a pair.
    target: [M, C] float, NaN where there is none; every criterion has two
      targets at least.
    loss: of `judge_loss.LOSSES`.
    penalties: to choose from, > 0.
    seed: of the folds.

  Returns:
    The head, and what was chosen.

  Raises:
    ValueError: an unknown loss, or no penalty.
  """
  judge_loss.check(loss)
  if not penalties or min(penalties) <= 0:
    raise ValueError(f'penalties are {tuple(penalties)}, expected some > 0')
  design, scales = _standardised(inputs)
  reduced, back = _reduced(design)
  rows = reduced[text[:, 0]]
  if text.shape[1] == 2:
    rows = rows - reduced[text[:, 1]]
  found, chosen, held_out = [], [], []
  for values in target.astype(np.float64).T:
    known = ~np.isnan(values)
    part, wanted = rows[known], values[known]
    mean, deviation = 0.0, 1.0
    if loss == 'squared':
      mean, deviation = wanted.mean(), wanted.std() or 1.0
      wanted = (wanted - mean) / deviation
    errors = [_validate(part, wanted, loss, p, seed) for p in penalties]
    best = int(np.argmin(errors))
    weights, bias = _solve(part, wanted, loss, penalties[best])
    found.append(np.append(back(weights) * deviation, bias * deviation + mean))
    chosen.append(float(penalties[best]))
    held_out.append(float(errors[best]))
  head = _unscaled(np.stack(found, axis=1), scales, inputs)
  return Fit(head, tuple(chosen), tuple(held_out))


class _Scales(NamedTuple):
  """What turned inputs into columns of the design: mean and scale of each."""

  mean: np.ndarray  # [D + 1]
  scale: np.ndarray  # [D + 1]
  used: np.ndarray  # [U] buckets that occur


def _standardised(inputs: Inputs) -> tuple[scipy.sparse.csr_matrix, _Scales]:
  """[N, D + 1 + U] design and its scales."""
  width = inputs.pooled.shape[1]
  dense = np.column_stack([inputs.pooled, inputs.length]).astype(np.float64)
  mean, deviation = dense.mean(axis=0), dense.std(axis=0)
  # Pooled states weigh in all as much as n-grams, whose rows have norm 1.
  wanted = np.append(np.full(width, width**-0.5), _LENGTH_SCALE)
  scale = np.where(deviation > 1e-9, wanted / np.maximum(deviation, 1e-9), 0.0)
  parts = [scipy.sparse.csr_matrix((dense - mean) * scale)]
  used = np.zeros(0, np.int64)
  if inputs.grams is not None:
    used = np.unique(inputs.grams.indices)
    parts.append(inputs.grams[:, used])
  whole = scipy.sparse.csr_matrix(scipy.sparse.hstack(parts))
  return whole, _Scales(mean, scale, used)


def _reduced(
  design: Any,
) -> tuple[Any, Callable[[np.ndarray], np.ndarray]]:
  """The design in as many columns as it has rows, and the way back.

  The best weights lie in the span of the rows, so that a problem of a few
  hundred texts has a few hundred unknowns, however many n-grams there are.
  """
  num_rows, num_columns = design.shape
  if num_rows > min(num_columns, _MAX_DUAL_ROWS):
    return design, lambda weights: weights
  values, vectors = np.linalg.eigh((design @ design.T).toarray())
  kept = values > values[-1] * 1e-12
  root, vectors = np.sqrt(values[kept]), vectors[:, kept]
  return vectors * root, lambda weights: design.T @ (vectors @ (weights / root))


def _unscaled(
  weights: np.ndarray, scales: _Scales, inputs: Inputs
) -> dict[str, np.ndarray]:
  """[D + 1 + U + 1, C] weights, the bias last, as tensors of a head."""
  width = inputs.pooled.shape[1]
  dense = weights[: width + 1] * scales.scale[:, None]
  head = {
    'kernel': dense[:width],
    'length': dense[width],
    'bias': weights[-1] - scales.mean @ dense,
  }
  if inputs.grams is not None:
    table = np.zeros((ngrams.NUM_BUCKETS, weights.shape[1]))
    table[scales.used] = weights[width + 1 : -1]
    head['ngrams'] = table
  return {name: array.astype(np.float32) for name, array in head.items()}


def _validate(
  rows: Any, target: np.ndarray, loss: str, penalty: float, seed: int
) -> float:
  """Mean held-out loss in cross-validation."""
  fold = np.random.default_rng(seed).permutation(len(target)) % _FOLDS
  total = 0.0
  for held_out in range(min(_FOLDS, len(target))):
    part = fold != held_out
    weights, bias = _solve(rows[part], target[part], loss, penalty)
    rating = rows[~part] @ weights + bias
    total += float(_losses(loss, rating, target[~part])[0].sum())
  return total / len(target)


def _solve(
  rows: Any, target: np.ndarray, loss: str, penalty: float
) -> tuple[np.ndarray, float]:
  """Weights and bias at the minimum; differences of texts have no bias."""
  free = loss != 'bradley_terry'

  def objective(found: np.ndarray) -> tuple[float, np.ndarray]:
    weights = found[:-1]
    value, slope = _losses(loss, rows @ weights + found[-1], target)
    return (
      float(value.sum() + 0.5 * penalty * weights @ weights),
      np.append(rows.T @ slope + penalty * weights, free * slope.sum()),
    )

  found = scipy.optimize.minimize(
    objective,
    np.zeros(rows.shape[1] + 1),
    jac=True,
    method='L-BFGS-B',
    options={'maxiter': _MAX_ITERATIONS},
  ).x
  return found[:-1], float(found[-1])


def _losses(
  loss: str, rating: np.ndarray, target: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Losses in float64 and their derivatives; see `judge_loss`."""
  if loss == 'squared':
    return 0.5 * (rating - target) ** 2, rating - target
  return (
    np.logaddexp(0.0, rating) - target * rating,
    scipy.special.expit(rating) - target,
  )
