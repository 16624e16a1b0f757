import jax
import jax.numpy as jnp
import numpy as np

from jaxcurate.ops import pool


def slow_pool(states, ids, num_segments, *, position):
  """Token by token in float64."""
  num_rows, length, width = states.shape
  pooled = np.zeros((num_rows, num_segments, width))
  for b in range(num_rows):
    for s in range(1, num_segments + 1):
      tokens = [at for at in range(length) if ids[b, at] == s]
      weights = [k + 1 if position else 1 for k in range(len(tokens))]
      for weight, at in zip(weights, tokens):
        pooled[b, s - 1] += weight / sum(weights) * states[b, at]
  return pooled


def packed_ids(rng, num_rows, length):
  return np.stack(
    [
      np.sort(rng.integers(1, 4, size=length)) * (np.arange(length) < cut)
      for cut in rng.integers(1, length + 1, size=num_rows)
    ]
  )


def test_by_hand():
  states = jnp.array([[[1.0, 0.0], [0.0, 1.0], [6.0, 3.0]]])
  ids = jnp.array([[1, 1, 1]])
  # weights 1/6, 2/6, 3/6
  np.testing.assert_allclose(
    pool.position_weighted_pool(states, ids, 1)[0, 0], [19 / 6, 11 / 6], 1e-6
  )
  np.testing.assert_allclose(
    pool.mean_pool(states, ids, 1)[0, 0], [7 / 3, 4 / 3], 1e-6
  )


def test_against_numpy():
  rng = np.random.default_rng(0)
  states = rng.normal(size=(4, 11, 3))
  ids = packed_ids(rng, 4, 11)
  arrays = jnp.asarray(states, jnp.float32), jnp.asarray(ids)
  for name, position in (
    ('position_weighted_pool', True),
    ('mean_pool', False),
  ):
    pooled = getattr(pool, name)(*arrays, 3)
    expected = slow_pool(states, ids, 3, position=position)
    np.testing.assert_allclose(pooled, expected, atol=1e-5)


def test_left_padding_and_packing_change_nothing():
  rng = np.random.default_rng(1)
  states = jnp.asarray(rng.normal(size=(1, 4, 3)), jnp.float32)
  alone = pool.position_weighted_pool(states, jnp.array([[1, 1, 1, 1]]), 1)
  filler = jnp.full((1, 2, 3), jnp.nan)
  shifted = jnp.concatenate([filler, states, filler], axis=1)
  padded = pool.position_weighted_pool(
    shifted, jnp.array([[0, 0, 1, 1, 1, 1, 0, 0]]), 1
  )
  np.testing.assert_allclose(padded, alone, atol=1e-6)
  filler = jnp.ones((1, 2, 3))
  shifted = jnp.concatenate([filler, states, filler], axis=1)
  packed = pool.position_weighted_pool(
    shifted, jnp.array([[1, 1, 2, 2, 2, 2, 3, 3]]), 3
  )
  np.testing.assert_allclose(packed[:, 1], alone[:, 0], atol=1e-6)


def test_empty_segments_are_zero():
  states = jnp.ones((2, 3, 4))
  ids = jnp.zeros((2, 3), jnp.int32)
  assert not pool.position_weighted_pool(states, ids, 2).any()
  assert not pool.mean_pool(states, ids, 2).any()


def test_bfloat16_states_accumulate_in_float32():
  # In bfloat16 the sum of 4096 ones would stop at 256.
  states = jnp.ones((1, 4096, 1), jnp.bfloat16)
  pooled = pool.mean_pool(states, jnp.ones((1, 4096), jnp.int32), 1)
  assert pooled.dtype == jnp.float32
  assert float(pooled[0, 0, 0]) == 1.0


def test_gradient_is_the_weights():
  ids = jnp.array([[1, 1, 0]])
  gradient = jax.grad(
    lambda states: pool.position_weighted_pool(states, ids, 1).sum()
  )(jnp.zeros((1, 3, 1)))
  np.testing.assert_allclose(gradient[0, :, 0], [1 / 3, 2 / 3, 0], atol=1e-6)
