import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.ops import loss_weights
from jaxcurate.types import Signals, TrainingShapes

SETTINGS = {
  'strength': 0.5,
  'strength_start': None,
  'anneal_steps': 0,
  'burn_in_steps': 0,
  'clip_quantiles': None,
}


@functools.cache
def identity(**settings):
  return loss_weights.weighting(lambda h: h, **{**SETTINGS, **settings})


@functools.cache
def update_of(weighting):
  return jax.jit(weighting.update)


def weights_of(weighting, losses, mask=None, step=1):
  """Weights of up to eight losses: one shape, few compilations."""
  size = len(losses)
  mask = np.ones(size, bool) if mask is None else np.asarray(mask)
  signals = Signals(
    mask_E=jnp.asarray(np.pad(mask, (0, 8 - size))),
    step=jnp.int32(step),
    loss_E=jnp.asarray(np.pad(losses, (0, 8 - size)), jnp.float32),
  )
  state = weighting.init(TrainingShapes(4))
  weights, _, info = update_of(weighting)(signals, state)
  return np.asarray(weights)[:size], info


def test_by_hand():
  # h = -1, 0, 1; exp(h / 0.5) = 0.1353, 1, 7.3891, of mean 2.8415.
  weights, info = weights_of(identity(), [1.0, 2.0, 3.0])
  np.testing.assert_allclose(weights, [0.0476, 0.3519, 2.6005], atol=1e-4)
  assert float(info['inverse_strength']) == 2.0
  np.testing.assert_allclose(
    info['effective_share'], 3 / (weights**2).sum(), rtol=1e-5
  )


def test_against_the_printed_formula_in_float64():
  rng = np.random.default_rng(0)
  losses = rng.uniform(1, 9, 8)
  low, high = np.quantile(losses, [0.0, 0.8])
  clipped = np.clip(losses, low, high)
  place = (2 * clipped - (high + low)) / (high - low)
  expected = np.exp(place / 0.5)
  expected *= 8 / expected.sum()
  weights, _ = weights_of(identity(clip_quantiles=(0.0, 0.8)), losses)
  np.testing.assert_allclose(weights, expected, rtol=1e-5)


def test_shift_and_scale_of_the_losses_do_not_matter():
  losses = np.array([0.5, 2.0, 1.25, 0.75])
  weights, _ = weights_of(identity(), losses)
  moved, _ = weights_of(identity(), 3 * losses + 7)
  np.testing.assert_allclose(moved, weights, rtol=1e-5)
  np.testing.assert_allclose(weights.mean(), 1.0, rtol=1e-6)
  # A range of one unit in the last place of large losses is still a range.
  close, _ = weights_of(
    identity(), [1000.0, np.nextafter(np.float32(1e3), 2e3)]
  )
  np.testing.assert_allclose(close, [0.036, 1.964], atol=1e-3)


def test_masked_rows_are_zero_and_never_read():
  mask = [True, False, True, False]
  for quantiles in (None, (0.0, 0.8)):
    weighting = identity(clip_quantiles=quantiles)
    weights, info = weights_of(weighting, [1.0, np.nan, 2.0, -np.inf], mask)
    expected, _ = weights_of(weighting, [1.0, 2.0])
    assert weights[[1, 3]].tolist() == [0.0, 0.0]
    np.testing.assert_allclose(weights[[0, 2]], expected, rtol=1e-6)
    assert np.isfinite(float(info['effective_share']))


@pytest.mark.parametrize('quantiles', [None, (0.0, 0.8)])
def test_degenerate_batches_are_uniform(quantiles):
  weighting = identity(clip_quantiles=quantiles)
  assert weights_of(weighting, [3.7] * 4)[0].tolist() == [1.0] * 4
  weights, info = weights_of(weighting, [np.nan] * 4, [False] * 4)
  assert weights.tolist() == [0.0] * 4
  assert float(info['effective_share']) == 0.0
  alone = [False, True, False, False]
  assert weights_of(weighting, [9.0] * 4, alone)[0].tolist() == [0, 1, 0, 0]


def test_an_outlier_hides_the_others_unless_losses_are_clipped():
  losses = [1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.2, 90.0]
  plain, _ = weights_of(identity(), losses)
  clipped, _ = weights_of(identity(clip_quantiles=(0.0, 0.8)), losses)
  assert plain[:7].max() / plain[:7].min() < 1.1
  assert clipped[:7].max() / clipped[:7].min() > 10


def test_burn_in_and_annealing():
  weighting = identity(
    strength=0.5, strength_start=2.0, anneal_steps=2, burn_in_steps=3
  )
  found = [
    weights_of(weighting, [1.0, 2.0], step=step) for step in (1, 3, 4, 5, 6, 99)
  ]
  assert found[0][0].tolist() == found[1][0].tolist() == [1.0, 1.0]
  strengths = [float(info['inverse_strength']) for _, info in found]
  np.testing.assert_allclose(strengths, [0, 0, 0.5, 1, 2, 2], rtol=1e-6)


@pytest.mark.parametrize(
  'settings, message',
  [
    ({'strength': 0.0}, 'strength is 0.0'),
    ({'strength_start': 0.1, 'anneal_steps': 5}, 'strength_start is 0.1'),
    ({'strength_start': 2.0}, 'annealing needs both'),
    ({'anneal_steps': 5}, 'annealing needs both'),
    ({'burn_in_steps': -1}, 'burn_in_steps -1'),
    ({'clip_quantiles': (0.9, 0.1)}, r'clip_quantiles is \(0.9, 0.1\)'),
    ({'clip_quantiles': (0.0, 1.5)}, r'clip_quantiles is \(0.0, 1.5\)'),
  ],
)
def test_bad_settings_are_refused(settings, message):
  with pytest.raises(ValueError, match=message):
    identity(**settings)
  signals = Signals(mask_E=jnp.ones(2, bool), step=jnp.int32(1))
  with pytest.raises(ValueError, match='the signals lack loss'):
    identity().update(signals, {})
