"""Fits a judge's head exactly and leaves the network as it is.

For few judgements (people's labels): one pass over the texts, then a convex
problem that is solved to its end, so that nothing depends on a learning rate,
an order or a seed. How much the head is held back, and what states count for
beside n-grams, is chosen by cross-validation on the same texts. A linear probe
of frozen states is the usual first step with few labels (arXiv 2202.10054);
the n-grams beside it are ours (`ops.ngrams`).
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
# Of all states together, beside n-grams, whose rows have norm 1; ours.
STATE_NORMS = (1.0, 0.3, 0.1)
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
    state_norm: [C] chosen of `state_norms`.
    loss: [C] mean held-out loss in cross-validation of what was chosen.
  """

  head: dict[str, np.ndarray]
  penalty: tuple[float, ...]
  state_norm: tuple[float, ...]
  loss: tuple[float, ...]


def fit(
  inputs: Inputs,
  text: Int[np.ndarray, 'M sides'],
  target: Float[np.ndarray, 'M C'],
  *,
  loss: str,
  penalties: Sequence[float] = PENALTIES,
  state_norms: Sequence[float] = STATE_NORMS,
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
    state_norms: root mean square norm of a text's standardised states, > 0, to
      choose from; without n-grams the first is taken.
    seed: of the folds.

  Returns:
    The head, and what was chosen.

  Raises:
    ValueError: an unknown loss, or no penalty or norm.
  """
  judge_loss.check(loss)
  for name, values in (('penalties', penalties), ('state norms', state_norms)):
    if not values or min(values) <= 0:
      raise ValueError(f'{name} are {tuple(values)}, expected some > 0')
  if inputs.grams is None:
    state_norms = state_norms[:1]
  views = [_view(inputs, text, norm) for norm in state_norms]
  found, chosen, held_out = [], [], []
  for values in target.astype(np.float64).T:
    known = ~np.isnan(values)
    wanted = values[known]
    mean, deviation = 0.0, 1.0
    if loss == 'squared':
      mean, deviation = wanted.mean(), wanted.std() or 1.0
      wanted = (wanted - mean) / deviation
    tried = [(i, penalty) for i in range(len(views)) for penalty in penalties]
    errors = [
      _validate(views[i].rows[known], wanted, loss, penalty, seed)
      for i, penalty in tried
    ]
    best = int(np.argmin(errors))
    view, penalty = views[tried[best][0]], tried[best][1]
    weights, bias = _solve(view.rows[known], wanted, loss, penalty)
    whole = np.append(view.back(weights) * deviation, bias * deviation + mean)
    found.append(_unscaled(whole[:, None], view.scales, inputs))
    chosen.append((float(penalty), float(state_norms[tried[best][0]])))
    held_out.append(float(errors[best]))
  head = {
    name: np.concatenate([own[name] for own in found], axis=-1)
    for name in found[0]
  }
  penalties, norms = zip(*chosen, strict=True)
  return Fit(head, penalties, norms, tuple(held_out))


class _Scales(NamedTuple):
  """What turned inputs into columns of the design: mean and scale of each."""

  mean: np.ndarray  # [D + 1]
  scale: np.ndarray  # [D + 1]
  used: np.ndarray  # [U] buckets that occur


class _View(NamedTuple):
  """Judgements as rows, with one norm of the states, and the way back."""

  rows: Any  # [M, K] array or sparse
  back: Callable[[np.ndarray], np.ndarray]  # [K] weights -> [D + 1 + U]
  scales: _Scales


def _view(inputs: Inputs, text: np.ndarray, state_norm: float) -> _View:
  design, scales = _standardised(inputs, state_norm)
  reduced, back = _reduced(design)
  rows = reduced[text[:, 0]]
  if text.shape[1] == 2:
    rows = rows - reduced[text[:, 1]]
  return _View(rows, back, scales)


def _standardised(
  inputs: Inputs, state_norm: float
) -> tuple[scipy.sparse.csr_matrix, _Scales]:
  """[N, D + 1 + U] design and its scales."""
  width = inputs.pooled.shape[1]
  dense = np.column_stack([inputs.pooled, inputs.length]).astype(np.float64)
  mean, deviation = dense.mean(axis=0), dense.std(axis=0)
  wanted = np.append(np.full(width, state_norm * width**-0.5), _LENGTH_SCALE)
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

  def curved(found: np.ndarray, way: np.ndarray) -> np.ndarray:
    curve = np.ones(len(target))
    if loss != 'squared':
      prob = scipy.special.expit(rows @ found[:-1] + found[-1])
      curve = prob * (1 - prob)
    bent = curve * (rows @ way[:-1] + free * way[-1])
    return np.append(rows.T @ bent + penalty * way[:-1], free * bent.sum())

  found = scipy.optimize.minimize(
    objective,
    np.zeros(rows.shape[1] + 1),
    jac=True,
    hessp=curved,
    method='Newton-CG',
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
