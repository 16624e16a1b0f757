import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.ops import lsh
from jaxcurate.types import Signals, TrainingShapes
from jaxcurate.weightings import online_density

FEW = {'num_rows': 64, 'num_buckets': 512}


def signals(pooled, mask=None, step=1):
  mask = np.ones(len(pooled), bool) if mask is None else mask
  return Signals(
    mask_E=jnp.asarray(mask),
    step=jnp.int32(step),
    decoder_pooled_ExD=jnp.asarray(pooled, jnp.float32),
  )


@functools.cache
def started(width, **settings):
  weighting = online_density.make(**{**FEW, **settings})
  shapes = TrainingShapes(width)
  return jax.jit(weighting.update), jax.jit(lambda: weighting.init(shapes))()


def weights_of(pooled, mask=None, **settings):
  update, state = started(len(pooled[0]), **settings)
  return update(signals(pooled, mask), state)


def test_by_hand():
  # Narrow cells: only copies share them. Of three examples, two are alike:
  # densities 2/3, 2/3 and 1/3, inverses 1.5, 1.5 and 3.
  pooled = np.array([[2.0, 0.0], [5.0, 0.0], [0.0, -1.0]])
  weights, state, info = weights_of(pooled, bandwidth=1e-4)
  np.testing.assert_allclose(weights, [0.75, 0.75, 1.5], atol=1e-2)
  np.testing.assert_allclose(info['density_mean'], 5 / 9, atol=1e-2)
  # Squared distances 0, 2 and 2 of the three pairs.
  np.testing.assert_allclose(info['distance'], np.sqrt(4 / 3), rtol=1e-6)
  assert float(info['counted']) == 3.0
  assert float(state['sketch_RxK'].sum()) == 3 * FEW['num_rows']
  # Clipped at 0.9 and 1.1 before their mean is made 1 again.
  weights, _, info = weights_of(pooled, bandwidth=1e-4, clip=(0.9, 1.1))
  mean = (0.9 + 0.9 + 1.1) / 3
  np.testing.assert_allclose(weights, np.array([0.9, 0.9, 1.1]) / mean, 1e-5)
  assert float(info['clipped']) == 1.0


def test_density_is_the_faded_mean_of_the_kernel():
  rng = np.random.default_rng(0)
  rows, decay, bandwidth = 2_000, 0.8, 1.0
  batches = rng.normal(size=(3, 10, 4))
  masks = rng.uniform(size=(3, 10)) < 0.8
  init, look = online_density.make_sketch(
    bandwidth=bandwidth, decay=decay, states='decoder', num_rows=rows,
    num_buckets=1_000, seed=0,
  )  # fmt: skip
  look, state = jax.jit(look), jax.jit(lambda: init(TrainingShapes(4)))()
  for batch, mask in zip(batches, masks, strict=True):
    found = look(signals(batch, mask), state)
    state = found.state
  points = batches / np.linalg.norm(batches, axis=2, keepdims=True)
  age = np.array([2, 1, 0])[:, None]
  share = (masks * decay**age).reshape(-1)
  apart = points[2][:, None] - points.reshape(-1, 4)
  kernel = lsh.collision_kernel(
    jnp.asarray(np.linalg.norm(apart, axis=2)), bandwidth, 1
  )
  expected = np.asarray(kernel) @ share / share.sum()
  got = np.asarray(found.density_E)
  bound = 4 * np.sqrt(0.25 / rows)  # of a mean of numbers in [0, 1]
  np.testing.assert_allclose(got[masks[2]], expected[masks[2]], atol=bound)
  assert (got[~masks[2]] == 1).all()
  np.testing.assert_allclose(state['counted'], share.sum(), rtol=1e-6)


def test_the_rare_weigh_more_and_scale_does_not_matter():
  rng = np.random.default_rng(1)
  common, rare = np.eye(8)[0], np.eye(8)[1]
  pooled = 0.1 * rng.normal(size=(40, 8)) + np.where(
    np.arange(40)[:, None] < 38, common, rare
  )
  update, state = started(8)
  weights, _, _ = update(signals(pooled), state)
  assert weights[38:].min() > 1.5 > weights[:38].max()
  np.testing.assert_allclose(weights.mean(), 1.0, rtol=1e-5)
  scaled, _, _ = update(signals(8 * pooled), state)
  np.testing.assert_allclose(scaled, weights, rtol=1e-5)


@pytest.mark.parametrize('decay', [0.5, 1.0])
def test_old_states_fade_and_masked_rows_add_nothing(decay):
  pooled = np.array([[1.0, 0.0], [0.0, 1.0], [np.nan, np.inf]])
  update, state = started(2, decay=decay)
  dtype = jnp.uint32 if decay == 1 else jnp.float32
  assert state['sketch_RxK'].dtype == dtype
  first, second = [True, False, False], [False, True, False]
  for mask in (first, first, second):
    weights, state, _ = update(signals(pooled, mask), state)
    np.testing.assert_array_equal(weights, np.float32(mask))
  counted = 0.25 + 0.5 + 1 if decay < 1 else 3.0
  assert float(state['counted']) == counted
  assert float(state['sketch_RxK'].sum()) == counted * FEW['num_rows']
  # Nobody is there: nothing but fading.
  weights, faded, info = update(signals(pooled, [False] * 3), state)
  np.testing.assert_array_equal(weights, 0.0)
  np.testing.assert_allclose(
    faded['sketch_RxK'], decay * np.asarray(state['sketch_RxK'])
  )
  assert all(np.isfinite(value) for value in info.values())


def test_degenerate_batches_weigh_one():
  update, state = started(2, bandwidth=1e-4)
  for value, real in ((1.0, 1), (1.0, 3), (0.0, 3)):
    pooled, mask = np.full((3, 2), value), np.arange(3) < real
    weights, _, info = update(signals(pooled, mask), state)
    np.testing.assert_allclose(weights, np.float32(mask), rtol=1e-6)
    assert float(info['density_mean']) == 1.0
    np.testing.assert_allclose(info['distance'], 0.0, atol=1e-6)
  none = online_density.mean_one(jnp.zeros(2), jnp.array([True, False]))
  assert none.tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
  'settings, message',
  [
    ({'bandwidth': 0.0}, 'bandwidth is 0.0, expected above 0'),
    ({'decay': 1.5}, 'decay is 1.5, expected above 0 and at most 1'),
    ({'num_buckets': 1}, '256 rows of 1 buckets, expected at least 1 of 2'),
    ({'clip': (2.0, 1.0)}, r'clip is \(2.0, 1.0\)'),
  ],
)
def test_bad_settings_are_refused(settings, message):
  with pytest.raises(ValueError, match=message):
    online_density.make(**settings)


def test_encoder_states_are_asked_for_by_name():
  weighting = online_density.make(states='encoder', **FEW)
  assert weighting.needs == {'encoder_pooled'}
  assert weighting.batch_coupled
  with pytest.raises(ValueError, match='encoder_pooled'):
    weighting.update(signals([[1.0, 0.0]]), {})
