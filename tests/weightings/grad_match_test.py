from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from jaxcurate.ops.dense_gradients import DenseGradients
from jaxcurate.types import Signals, TrainingShapes
from jaxcurate.weightings import grad_match

# Two equal examples along the target, one across, one against it.
ROWS = np.array([[2.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [2.0, 0.0]])
TARGET = np.array([3.0, 1.0])


def signals(rows, mask=None):
  mask = np.ones(len(rows), bool) if mask is None else mask
  return Signals(
    mask_E=jnp.asarray(mask),
    step=jnp.int32(1),
    gradients=DenseGradients({'w': jnp.asarray(rows, jnp.float32)}),
  )


def started(weighting, target):
  target = {'w': jnp.asarray(target, jnp.float32)}
  shapes = jax.eval_shape(lambda: target)
  anchors = Signals(
    mask_E=jnp.ones(2, bool), step=jnp.int32(1), mean_gradient=target
  )
  return weighting.refresh(anchors, weighting.init(TrainingShapes(4, shapes)))


def weigh(rows=ROWS, target=TARGET, mask=None, **settings):
  weighting = grad_match.make(**settings)
  update: Any = jax.jit(weighting.update)
  return update(signals(rows, mask), started(weighting, target))


def slow_grad_match(rows, target, size, ridge):
  """Matching pursuit, each solve a non-negative least squares in float64."""
  root = np.sqrt(ridge * np.mean(np.sum(rows**2, 1)))
  picked, weights = [], np.zeros(len(rows))
  for _ in range(size):
    residual = rows @ (target - weights @ rows)
    residual[picked] = -np.inf
    if residual.max() <= 1e-4 * (rows @ target).max():
      break
    picked.append(int(np.argmax(residual)))
    stacked = np.vstack([rows[picked].T, root * np.eye(len(picked))])
    weights = np.zeros(len(rows))
    weights[picked] = scipy.optimize.nnls(
      stacked, np.concatenate([target, np.zeros(len(picked))])
    )[0]
  return weights / weights.sum() * len(rows)


def test_by_hand():
  # Without ridge the copy has nothing left to bring: 3/2 along and 1 across
  # match the target, (0.6, 0.4) of the sum, times 4.
  weights, state, info = weigh(ridge=0.0, iterations=300)
  np.testing.assert_allclose(weights, [2.4, 1.6, 0, 0], atol=1e-3)
  assert [int(info['kept']), int(state['fallbacks'])] == [2, 0]
  # Mean square 10 / 4, so lambda = 5/2: after 6 / (4 + 5/2) on the first its
  # copy's residual is 6 - 4 * 12/13 = 30/13, more than 1: both, alike.
  weights, _, _ = weigh(ridge=1.0, iterations=300)
  np.testing.assert_allclose(weights, [2, 0, 0, 2], atol=1e-3)


def test_against_matching_pursuit_in_numpy():
  rng = np.random.default_rng(0)
  weighting = grad_match.make(keep=0.4, iterations=300)
  update: Any = jax.jit(weighting.update)
  rows, target, weights = ROWS, TARGET, np.ones(4)
  for _ in range(8):
    rows = rng.normal(size=(10, 25)) + 0.3
    target = rows[:5].mean(0) + 0.3 * rng.normal(size=25)
    weights, _, _ = update(signals(rows), started(weighting, target))
    np.testing.assert_allclose(
      weights, slow_grad_match(rows, target, 4, 0.5), atol=1e-3
    )
    np.testing.assert_allclose(jnp.mean(weights), 1, rtol=1e-5)
  # The scale of the gradients does not matter.
  scaled, _, _ = update(signals(1e3 * rows), started(weighting, 1e-3 * target))
  np.testing.assert_allclose(scaled, weights, atol=1e-4)
  assert update._cache_size() == 1


def test_masks_and_fallbacks():
  weighting = grad_match.make()
  update: Any = jax.jit(weighting.update)
  mask = np.array([True, True, True, False])
  state = started(weighting, TARGET)
  weights, _, _ = update(
    signals(np.where(mask[:, None], ROWS, np.nan), mask), state
  )
  np.testing.assert_allclose(np.sum(weights), 3, rtol=1e-5)
  assert weights[3] == 0
  against = started(weighting, np.array([0.0, -1.0]))
  broken = np.where(mask[:, None], ROWS, np.inf)
  zero = started(weighting, 0 * TARGET)
  for given, before in (
    (signals(ROWS), zero),
    (signals(broken), state),
    (signals(ROWS), against),  # nothing points there
    (signals(0 * ROWS), state),
  ):
    weights, after, info = update(given, before)
    np.testing.assert_array_equal(weights, 1)
    assert int(after['fallbacks']) == 1
    assert all(np.isfinite(x) for x in info.values())
  weights, after, _ = update(signals(ROWS, mask & False), state)
  np.testing.assert_array_equal(weights, 0)
  assert int(after['fallbacks']) == 0


def test_what_is_missing_or_out_of_range_is_named():
  weighting = grad_match.make()
  bare = Signals(mask_E=jnp.ones(4, bool), step=jnp.int32(1))
  with pytest.raises(ValueError, match='lack gradients'):
    weighting.update(bare, started(weighting, TARGET))
  with pytest.raises(ValueError, match=r'ridge is -1\.0'):
    grad_match.make(ridge=-1.0)
  with pytest.raises(ValueError, match=r'target_decay is 1\.0'):
    grad_match.make(target_decay=1.0)
