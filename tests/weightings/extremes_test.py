import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.types import Signals, TrainingShapes
from jaxcurate.weightings import extremes


@functools.cache
def update_of(**settings):
  weighting = extremes.make(**settings)
  assert weighting.batch_coupled and weighting.needs == {'loss'}
  assert weighting.init(TrainingShapes(4)) == {}
  return jax.jit(weighting.update)


def weights_of(losses, step=1, **settings):
  signals = Signals(
    mask_E=jnp.asarray(np.isfinite(losses)),
    step=jnp.int32(step),
    loss_E=jnp.asarray(losses, np.float32),
  )
  return np.asarray(update_of(**settings)(signals, {})[0])


def test_by_hand():
  # f = |h| = 1, 1/2, 0, 1/2, 1; exp(f / 0.4) = 12.1825, 3.4903, 1.
  weights = weights_of([1.0, 2.0, 3.0, 4.0, 5.0])
  np.testing.assert_allclose(
    weights, [1.8832, 0.5395, 0.1546, 0.5395, 1.8832], atol=1e-4
  )


def test_against_the_formula_in_float64():
  losses = np.random.default_rng(0).uniform(1, 9, 5)
  place = 2 * (losses - losses.min()) / np.ptp(losses) - 1
  worth = np.abs(place)
  expected = 5 * np.exp(worth / 0.4) / np.exp(worth / 0.4).sum()
  np.testing.assert_allclose(weights_of(losses), expected, rtol=1e-5)


def test_the_middle_weighs_least_and_both_ends_alike():
  weights = weights_of([1.0, 1.5, 3.0, 4.5, 5.0])
  assert weights.argmin() == 2
  np.testing.assert_allclose(weights, weights[::-1], rtol=1e-5)
  np.testing.assert_allclose(weights[0] / weights[2], np.exp(2.5), rtol=1e-5)


def test_equal_losses_one_example_and_none():
  assert weights_of([2.0] * 5).tolist() == [1.0] * 5
  nothing = [np.nan] * 4
  assert weights_of([*nothing, 2.0]).tolist() == [0.0] * 4 + [1.0]
  assert weights_of([*nothing, np.inf]).tolist() == [0.0] * 5


def test_settings_reach_the_rule():
  losses = [1.0, 2.0, 3.0, 4.0, 90.0]
  settings = {'strength_start': 8.0, 'anneal_steps': 10, 'burn_in_steps': 1}
  spread = [
    np.std(weights_of(losses, step, **settings)) for step in (1, 2, 7, 12)
  ]
  assert spread[0] == 0.0 and spread == sorted(spread)
  with pytest.raises(ValueError, match='strength is -1'):
    extremes.make(strength=-1.0)
  with pytest.raises(ValueError, match='clip_quantiles is'):
    extremes.make(clip_quantiles=(0.9, 0.1))
