"""Ratings from states, n-grams and length."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.ops import ngrams, rating

RNG = np.random.default_rng(0)
IDS = np.array([[1, 1, 1, 2, 2, 0], [0, 1, 1, 1, 0, 0]], np.int32)
TOKENS = RNG.integers(3, 9, size=IDS.shape)
STATES = RNG.normal(size=(*IDS.shape, 4)).astype(np.float32)


def random_head(max_order):
  head = rating.init(4, 2, max_order)
  return {
    name: RNG.normal(size=array.shape).astype(np.float32)
    for name, array in head.items()
  }


def slow_window(head, states, tokens, pooling, max_order):
  """One window in float64."""
  states = states.astype(np.float64)
  weights = {
    'mean': np.ones(len(states)),
    'position': np.arange(1, len(states) + 1),
    'last': np.arange(len(states)) == len(states) - 1,
  }[pooling]
  rated = weights @ states / weights.sum() @ head['kernel']
  if max_order:
    rated += (ngrams.matrix([tokens], max_order) @ head['ngrams'])[0]
  return rated


def test_by_hand():
  head = {'length': np.array([2.0]), 'bias': np.array([-1.0])}
  # Mean (1 * 3 + 4 * 1) / 4 = 1.75; 2 log 4 = 2.7726.
  found = rating.rate_text(head, np.array([[1.0], [4.0]]), np.array([3.0, 1.0]))
  np.testing.assert_allclose(found, [1.75 + 2 * np.log(4) - 1])
  states = jnp.array([[[1.0], [3.0], [7.0]]])
  ids = jnp.array([[1, 1, 2]])
  for pooling, expected in (('mean', 2.0), ('position', 7 / 3), ('last', 3.0)):
    found = rating.pool_states(states, ids, 2, pooling)
    np.testing.assert_allclose(found[0, :, 0], [expected, 7.0], rtol=1e-6)


@pytest.mark.parametrize('pooling', rating.POOLINGS)
@pytest.mark.parametrize('max_order', [0, 2])
def test_against_numpy(pooling, max_order):
  head = random_head(max_order)
  found = jax.jit(rating.rate_windows, static_argnums=(4, 5, 6))(
    head, STATES, jnp.asarray(TOKENS), jnp.asarray(IDS), 3, pooling, max_order
  )
  for row, segment in ((0, 1), (0, 2), (1, 1)):
    own = IDS[row] == segment
    expected = slow_window(
      head, STATES[row, own], TOKENS[row, own], pooling, max_order
    )
    np.testing.assert_allclose(
      found['rating'][row, segment - 1], expected, atol=1e-4
    )
  assert found['tokens'].tolist() == [[3, 2, 0], [3, 0, 0]]
  assert (found['rating'][1, 1:] == 0).all()


def test_padding_may_hold_anything():
  head = jax.tree.map(jnp.asarray, random_head(0))
  states = np.where(IDS[..., None] > 0, STATES, np.nan)
  found = rating.rate_windows(
    head, jnp.asarray(states), jnp.asarray(TOKENS), jnp.asarray(IDS), 2, 'last',
    0,
  )  # fmt: skip
  assert np.isfinite(found['rating']).all()


def test_a_new_head_rates_everything_0():
  head = jax.tree.map(jnp.asarray, rating.init(4, 3, 2))
  found = rating.rate_windows(
    head, jnp.asarray(STATES), jnp.asarray(TOKENS), jnp.asarray(IDS), 2,
    'mean', 2,
  )  # fmt: skip
  assert (found['rating'] == 0).all()
  assert 'ngrams' not in rating.init(4, 3, 0)


def test_unknown_pooling():
  with pytest.raises(ValueError, match="'max', expected one of"):
    rating.pool_states(jnp.zeros((1, 1, 1)), jnp.ones((1, 1), int), 1, 'max')
