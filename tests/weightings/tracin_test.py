from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.ops.dense_gradients import DenseGradients
from jaxcurate.types import Signals, TrainingShapes
from jaxcurate.weightings import tracin

ROWS = np.array([[2.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [2.0, 0.0], [0.0, -9.0]])
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
  weighting = tracin.make(**settings)
  update: Any = jax.jit(weighting.update)
  return update(signals(rows, mask), started(weighting, target))


def test_by_hand():
  # <g, g*> = 6, 1, -3, 6, -9.
  weights, state, info = weigh(keep=0.6)
  np.testing.assert_allclose(weights, [5 / 3, 5 / 3, 0, 5 / 3, 0], rtol=1e-6)
  assert [int(info['kept']), int(state['fallbacks'])] == [3, 0]
  np.testing.assert_allclose(info['ess'], 3, rtol=1e-6)
  # The number is kept, whatever the sign.
  weights, _, _ = weigh(keep=0.8)
  np.testing.assert_allclose(weights, [1.25, 1.25, 1.25, 1.25, 0])


def test_against_numpy_and_in_any_order():
  rng = np.random.default_rng(0)
  weighting = tracin.make(keep=0.3)
  update: Any = jax.jit(weighting.update)
  rows, target = rng.normal(size=(20, 7)), rng.normal(size=7)
  mask = rng.uniform(size=20) < 0.7
  state = started(weighting, target)
  weights, _, _ = update(signals(rows, mask), state)
  score = np.where(mask, rows @ target, -np.inf)
  size = int(np.ceil(0.3 * mask.sum()))
  best = np.argsort(-score)[:size]
  expected = np.zeros(20)
  expected[best] = mask.sum() / size
  np.testing.assert_allclose(weights, expected, rtol=1e-6)
  order = rng.permutation(20)
  moved, _, _ = update(signals(rows[order], mask[order]), state)
  np.testing.assert_array_equal(moved, weights[order])


def test_masks_and_fallbacks():
  mask = np.array([True, True, True, False, False])
  spoiled = np.where(mask[:, None], ROWS, np.nan)
  weights, state, _ = weigh(spoiled, mask=mask)
  np.testing.assert_allclose(weights, [1.5, 1.5, 0, 0, 0])
  assert int(state['fallbacks']) == 0
  for case in (
    {'target': 0 * TARGET},
    {'rows': np.where(mask[:, None], ROWS, np.nan)},
  ):
    weights, state, _ = weigh(**case)
    np.testing.assert_array_equal(weights, 1)
    assert int(state['fallbacks']) == 1
  weights, state, _ = weigh(mask=mask & False)
  np.testing.assert_array_equal(weights, 0)
  assert int(state['fallbacks']) == 0


def test_what_is_missing_or_out_of_range_is_named():
  weighting = tracin.make()
  bare = Signals(mask_E=jnp.ones(5, bool), step=jnp.int32(1))
  with pytest.raises(ValueError, match='lack gradients'):
    weighting.update(bare, started(weighting, TARGET))
  with pytest.raises(ValueError, match='refresh_interval is 0'):
    tracin.make(refresh_interval=0)
