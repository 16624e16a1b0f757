"""Weights by hand, against NumPy, and for masked examples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.types import Signals, TrainingShapes
from jaxcurate.weightings import my_weighting


def signals(losses, mask=None):
  losses = jnp.asarray(losses, jnp.float32)
  mask = jnp.ones(losses.shape, bool) if mask is None else jnp.asarray(mask)
  return Signals(mask_E=mask, step=jnp.int32(1), loss_E=losses)


def test_three_numbers_by_hand():
  weighting = my_weighting.make(width=1.0)
  weights, state, info = weighting.update(
    signals([1.0, 2.0, 3.0]), weighting.init(TrainingShapes(8))
  )
  side = np.exp(-0.5)
  np.testing.assert_allclose(weights, [side, 1.0, side], rtol=1e-6)
  assert float(info['mean_loss']) == 2.0
  assert int(state['num_updates']) == 1


def test_the_running_mean_follows_numpy():
  weighting = my_weighting.make(width=0.5, decay=0.9)
  update = jax.jit(weighting.update)
  rng, state, mean = (
    np.random.default_rng(0),
    weighting.init(TrainingShapes(8)),
    None,
  )
  for _ in range(5):
    losses = rng.gamma(2.0, size=6)
    weights, state, _ = update(signals(losses), state)
    mean = losses.mean() if mean is None else mean
    expected = np.exp(-0.5 * ((losses - mean) / 0.5) ** 2)
    np.testing.assert_allclose(weights, expected, rtol=1e-4, atol=1e-7)
    mean = 0.9 * mean + 0.1 * losses.mean()
  assert update._cache_size() == 1


def test_masked_examples_weigh_nothing_and_change_nothing():
  weighting = my_weighting.make()
  mask = [True, True, False]
  one, _, _ = weighting.update(
    signals([1.0, 2.0, np.nan], mask), weighting.init(TrainingShapes(8))
  )
  two, _, _ = weighting.update(
    signals([1.0, 2.0, 9.0], mask), weighting.init(TrainingShapes(8))
  )
  np.testing.assert_array_equal(one, two)
  assert float(one[2]) == 0.0


def test_no_gradient_flows_through_the_weights():
  weighting = my_weighting.make()

  def total(losses):
    return weighting.update(signals(losses), weighting.init(TrainingShapes(8)))[
      0
    ].sum()

  np.testing.assert_array_equal(jax.grad(total)(jnp.ones(3)), np.zeros(3))


def test_nothing_but_padding_is_survived():
  weighting = my_weighting.make()
  weights, state, _ = weighting.update(
    signals([5.0, 5.0], [False, False]), weighting.init(TrainingShapes(8))
  )
  np.testing.assert_array_equal(weights, [0.0, 0.0])
  assert int(state['num_updates']) == 0


def test_bad_settings_are_refused():
  with pytest.raises(ValueError, match='width is 0'):
    my_weighting.make(width=0.0)
