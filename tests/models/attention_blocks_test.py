"""Tests attention in blocks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.models import attention_blocks, softmax

BOTH = [attention_blocks.mixture, attention_blocks.recomputed_mixture]


@pytest.fixture
def arrays():
  keys = jax.random.split(jax.random.key(0), 5)
  B, T, H, K = 3, 7, 2, 4
  query, key, value = (jax.random.normal(k, (B, T, H * K)) for k in keys[:3])
  bias = jax.random.normal(keys[3], (H, T, T))
  mask = jax.random.bernoulli(keys[4], 0.6, (B, 1, T, T)) | jnp.eye(
    T, dtype=bool
  )
  return query, key, value, bias, mask


def _by_hand(query, key, value, bias, mask):
  """One query, head and row at a time in float64."""
  B, T, D = query.shape
  H = len(bias)
  arrays = [np.float64(x).reshape(B, T, H, D // H) for x in (query, key, value)]
  query, key, value = arrays
  mixed = np.zeros(query.shape)
  for b, t, h in np.ndindex(B, T, H):
    score = key[b, :, h] @ query[b, t, h] + np.float64(bias[h, t])
    score = np.where(np.broadcast_to(mask, (B, 1, T, T))[b, 0, t], score, -1e10)
    weight = np.exp(score - score.max())
    mixed[b, t, h] = weight @ value[b, :, h] / weight.sum()
  return mixed.reshape(B, T, D)


def _plain(query, key, value, bias, mask, drop=1.0):
  B, T, D = query.shape
  H = len(bias)
  query, key, value = (
    x.reshape(B, T, H, D // H).swapaxes(1, 2) for x in (query, key, value)
  )
  score = jnp.einsum('bhtk,bhlk->bhtl', query, key) + bias
  score = jnp.where(mask, score, softmax.MASKED)
  weight = jax.nn.softmax(score, axis=-1) * drop
  mixed = jnp.einsum('bhtl,bhlk->bhtk', weight, value)
  return mixed.swapaxes(1, 2).reshape(B, T, D)


@pytest.mark.parametrize('mix', BOTH)
def test_three_numbers(mix):
  query = jnp.array([[[1.0], [0.0], [0.0]]])
  key = jnp.log(jnp.array([[[3.0], [1.0], [5.0]]]))
  value = jnp.array([[[4.0], [8.0], [0.0]]])
  bias = jnp.zeros((1, 3, 3)).at[0, 1, 1].set(jnp.log(3.0))
  mask = jnp.array([[[[1, 1, 0], [1, 1, 0], [0, 1, 0]]]], bool)
  found = mix(query, key, value, bias, mask)
  np.testing.assert_allclose(found.ravel(), [5.0, 7.0, 8.0], rtol=1e-6)


@pytest.mark.parametrize('mix', BOTH)
def test_equals_a_slow_float64_version(mix, arrays):
  np.testing.assert_allclose(mix(*arrays), _by_hand(*arrays), atol=2e-6)
  one_mask = (*arrays[:4], jnp.tril(jnp.ones((1, 1, 7, 7), bool)))
  np.testing.assert_allclose(mix(*one_mask), _by_hand(*one_mask), atol=2e-6)


def test_gradients_are_those_of_plain_attention(arrays):
  *inputs, mask = arrays
  goal = jax.random.normal(jax.random.key(1), inputs[0].shape)

  def gradients(mix):
    def loss(*inputs):
      return jnp.sum(mix(*inputs, mask) * goal)

    return jax.grad(loss, argnums=(0, 1, 2, 3))(*inputs)

  wanted = gradients(_plain)
  for mix in BOTH[1:]:
    for found, want in zip(gradients(mix), wanted, strict=True):
      np.testing.assert_allclose(found, want, atol=3e-6)


def test_dropout_of_weights(arrays):
  drop = jax.random.bernoulli(jax.random.key(2), 0.5, (3, 2, 1, 7)) / 0.5
  found = attention_blocks.recomputed_mixture(*arrays, drop)
  np.testing.assert_allclose(found, _plain(*arrays, drop), atol=2e-6)


def test_forward_mode_and_vmap(arrays):
  *inputs, mask = arrays
  tangents = [jnp.cos(x) for x in inputs]

  def tangent(mix):
    return jax.jvp(lambda *x: mix(*x, mask), inputs, tangents)[1]

  found = tangent(attention_blocks.recomputed_mixture)
  np.testing.assert_allclose(found, tangent(_plain), atol=2e-5)
  two = [jnp.stack([x, x + 1]) for x in inputs]
  run = jax.vmap(lambda *x: attention_blocks.recomputed_mixture(*x, mask))
  np.testing.assert_allclose(run(*two)[0], _plain(*arrays), atol=2e-6)


@pytest.mark.parametrize('mix', BOTH)
def test_a_query_that_may_see_nothing_gets_the_mean(mix, arrays):
  query, key, value, bias, mask = arrays
  mask = mask.at[1, 0, 2].set(False)
  found = mix(query, key, value, bias, mask)
  np.testing.assert_allclose(found[1, 2], value[1].mean(0), atol=2e-6)


@pytest.mark.parametrize('mix', BOTH)
def test_bfloat16_stays(mix, arrays):
  *inputs, bias, mask = arrays
  half = [x.astype(jnp.bfloat16) for x in inputs]
  found = mix(*half, bias, mask)
  assert found.dtype == jnp.bfloat16
  np.testing.assert_allclose(
    np.float32(found), _by_hand(*map(np.float32, half), bias, mask), atol=0.05
  )
