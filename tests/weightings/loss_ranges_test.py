"""LinUpper, Quadratic and Extremes: weights by the place in the range."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.types import Signals, TrainingShapes
from jaxcurate.weightings import extremes, lin_upper, quadratic

WORTH = {  # of the place h in [-1, 1], as the paper's code has it
  lin_upper: lambda place: np.minimum(place + 1, 1),
  quadratic: lambda place: 1 - place**2,
  extremes: np.abs,
}
methods = pytest.mark.parametrize(
  'method', WORTH, ids=lambda method: method.__name__.rpartition('.')[2]
)


@functools.cache
def update_of(method, **settings):
  weighting = method.make(**settings)
  assert weighting.batch_coupled and weighting.needs == {'loss'}
  assert weighting.init(TrainingShapes(4)) == {}
  return jax.jit(weighting.update)


def weights_of(method, losses, step=1, **settings):
  signals = Signals(
    mask_E=jnp.asarray(np.isfinite(losses)),
    step=jnp.int32(step),
    loss_E=jnp.asarray(losses, np.float32),
  )
  return np.asarray(update_of(method, **settings)(signals, {})[0])


@pytest.mark.parametrize(
  'method, expected',
  [
    # f = min(h + 1, 1) = 0, 1/2, 1, 1, 1; exp(f / 0.4) = 1, 3.4903, 12.1825.
    (lin_upper, [0.1218, 0.4253, 1.4843, 1.4843, 1.4843]),
    # f = 1 - h^2 = 0, 3/4, 1, 3/4, 0; exp(f / 0.4) = 1, 6.5208, 12.1825.
    (quadratic, [0.1837, 1.1976, 2.2374, 1.1976, 0.1837]),
    # f = |h| = 1, 1/2, 0, 1/2, 1; exp(f / 0.4) = 12.1825, 3.4903, 1.
    (extremes, [1.8832, 0.5395, 0.1546, 0.5395, 1.8832]),
  ],
)
def test_by_hand(method, expected):
  weights = weights_of(method, [1.0, 2.0, 3.0, 4.0, 5.0])
  np.testing.assert_allclose(weights, expected, atol=1e-4)


@methods
def test_against_the_formula_in_float64(method):
  losses = np.random.default_rng(0).uniform(1, 9, 5)
  place = 2 * (losses - losses.min()) / np.ptp(losses) - 1
  worth = WORTH[method](place)
  expected = 5 * np.exp(worth / 0.4) / np.exp(worth / 0.4).sum()
  np.testing.assert_allclose(weights_of(method, losses), expected, rtol=1e-5)


def test_harder_never_weighs_less_and_the_harder_half_is_flat():
  rng = np.random.default_rng(1)
  for _ in range(20):
    losses = np.sort(rng.uniform(1, 9, 5))
    weights = weights_of(lin_upper, losses)
    assert (np.diff(weights) >= -1e-6).all()
    harder = weights[losses > (losses.min() + losses.max()) / 2]
    np.testing.assert_allclose(harder, harder[0], rtol=1e-5)
    assert weights[-1] / weights[0] <= np.exp(1 / 0.4) * (1 + 1e-5)


@pytest.mark.parametrize('method, middle', [(quadratic, 2.5), (extremes, -2.5)])
def test_both_ends_weigh_alike_and_the_middle_most_or_least(method, middle):
  weights = weights_of(method, [1.0, 1.5, 3.0, 4.5, 5.0])
  assert (weights * middle).argmax() == 2
  np.testing.assert_allclose(weights, weights[::-1], rtol=1e-5)
  np.testing.assert_allclose(weights[2] / weights[0], np.exp(middle), rtol=1e-5)


@methods
def test_equal_losses_one_example_and_none(method):
  assert weights_of(method, [2.0] * 5).tolist() == [1.0] * 5
  nothing = [np.nan] * 4
  assert weights_of(method, [*nothing, 2.0]).tolist() == [0.0] * 4 + [1.0]
  assert weights_of(method, [*nothing, np.inf]).tolist() == [0.0] * 5


@methods
def test_settings_reach_the_rule(method):
  losses = [1.0, 2.0, 3.0, 4.0, 90.0]
  settings = {'strength_start': 8.0, 'anneal_steps': 10, 'burn_in_steps': 1}
  spread = [
    np.std(weights_of(method, losses, step, **settings))
    for step in (1, 2, 7, 12)
  ]
  assert spread[0] == 0.0 and spread == sorted(spread)
  with pytest.raises(ValueError, match='strength is -1'):
    method.make(strength=-1.0)
  with pytest.raises(ValueError, match='clip_quantiles is'):
    method.make(clip_quantiles=(0.9, 0.1))
