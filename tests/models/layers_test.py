import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.models import layers


def test_buckets_by_hand():
  # Bidirectional: 16 buckets a side, 8 of them exact; 128 and beyond: last.
  distance = np.array([0, -1, -7, -8, -16, -127, -128, -999, 1, 7, 8, 128])
  found = layers.relative_buckets(distance, True, 32, 128)
  assert found.tolist() == [0, 1, 7, 8, 10, 15, 15, 15, 17, 23, 24, 31]
  # Causal: 32 buckets for the past, 16 of them exact; the future shares 0.
  found = layers.relative_buckets(distance, False, 32, 128)
  assert found.tolist() == [0, 1, 7, 8, 16, 31, 31, 31, 0, 0, 0, 0]


@pytest.mark.parametrize('bidirectional', [True, False])
@pytest.mark.parametrize('length', [1, 2, 150])
def test_bias_is_a_look_up_of_the_bucket(bidirectional, length):
  module = layers.RelativePositionBias(3, 32, 128, bidirectional)
  table = np.random.default_rng(0).normal(size=(3, 32)).astype(np.float32)
  found = module.apply({'params': {'rel_embedding': table}}, length)
  position = np.arange(length)
  distance = position[None, :] - position[:, None]
  buckets = layers.relative_buckets(distance, bidirectional, 32, 128)
  np.testing.assert_array_equal(found, table[:, buckets])


def test_norm_keeps_its_statistics_in_float32():
  x = np.array([[3.0, -4.0], [0.0, 0.0]])
  norm = layers.RMSNorm(1e-6, 'float32')
  variables = {'params': {'scale': jnp.array([1.0, 2.0])}}
  found = norm.apply(variables, jnp.asarray(x))
  root = np.sqrt(12.5)  # mean of 9 and 16
  np.testing.assert_allclose(found, [[3 / root, -8 / root], [0, 0]], rtol=1e-6)
  half = layers.RMSNorm(1e-6, 'bfloat16')
  # 300^2 summed over 512 would lose its last bits, or all, in bfloat16.
  wide = jnp.full((1, 512), 300.0, jnp.bfloat16)
  found = half.apply({'params': {'scale': jnp.ones(512)}}, wide)
  assert found.dtype == jnp.bfloat16
  np.testing.assert_array_equal(found.astype(np.float32), 1.0)


@pytest.mark.parametrize(
  'activations, names',
  [(('relu',), ['wi', 'wo']), (('gelu', 'linear'), ['wi_0', 'wi_1', 'wo'])],
)
def test_feed_forward_against_float64(activations, names):
  module = layers.FeedForward(4, 6, activations, 'float32', 0.0)
  x = np.random.default_rng(1).normal(size=(2, 3, 4))
  params = module.init(jax.random.key(0), jnp.asarray(x, jnp.float32), True)
  kernels = {
    name: np.asarray(leaf['kernel'], np.float64)
    for name, leaf in params['params'].items()
  }
  assert sorted(kernels) == names

  def gelu(v):
    return 0.5 * v * (1 + np.tanh(np.sqrt(2 / np.pi) * (v + 0.044715 * v**3)))

  if activations == ('relu',):
    hidden = np.maximum(x @ kernels['wi'], 0)
  else:
    hidden = gelu(x @ kernels['wi_0']) * (x @ kernels['wi_1'])
  found = module.apply(params, jnp.asarray(x, jnp.float32), True)
  np.testing.assert_allclose(found, hidden @ kernels['wo'], atol=1e-5)


def test_dropout_of_the_hidden_layer_is_shared_by_positions():
  module = layers.FeedForward(4, 64, ('relu',), 'float32', 0.5)
  x = jnp.ones((1, 3, 4))
  params = module.init(jax.random.key(0), x, True)
  rngs = {'dropout': jax.random.key(1)}
  dropped = module.apply(params, x, False, rngs=rngs)
  np.testing.assert_array_equal(dropped[:, 0], dropped[:, 2])
  assert not np.allclose(dropped, module.apply(params, x, True))


def test_embedding_looks_rows_up():
  module = layers.Embedding(3, 2, 'bfloat16')
  table = np.arange(6, dtype=np.float32).reshape(3, 2)  # on the host
  found = module.apply({'params': {'embedding': table}}, jnp.array([[2, 0]]))
  assert found.dtype == jnp.bfloat16
  assert found.tolist() == [[[4, 5], [0, 1]]]


def test_initial_scales_are_t5x_s():
  # fan-in 4096: standard deviation 1/64, known to 1 / sqrt(2 * 4096 * 8).
  key = jax.random.key(0)
  dense = layers.Dense(4096, 8, 'float32')
  kernel = jax.jit(dense.init)(key, jnp.ones((1, 4096)))['params']['kernel']
  error = 4 / np.sqrt(2 * kernel.size)
  np.testing.assert_allclose(kernel.std() * 64, 1, atol=error)
  table = layers.Embedding(4096, 8, 'float32').init(
    key, jnp.zeros((1, 1), jnp.int32)
  )['params']['embedding']
  np.testing.assert_allclose(table.std(), 1, atol=error)
  bias = layers.RelativePositionBias(4, 32, 128, True)
  table = bias.init(key, 2)['params']['rel_embedding']
  limit = np.sqrt(3 / ((4 + 32) / 2))  # fan_avg, uniform
  assert limit * 0.9 < abs(table).max() <= limit
