import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.ops import xent


def example(num_rows=3, length=7, width=4, vocab_size=11, seed=0):
  rng = np.random.default_rng(seed)
  return (
    jnp.asarray(rng.normal(size=(num_rows, length, width)), jnp.float32),
    jnp.asarray(rng.normal(size=(width, vocab_size)), jnp.float32),
    jnp.asarray(rng.integers(0, vocab_size, size=(num_rows, length))),
  )


def test_by_hand():
  states = jnp.array([[[1.0], [2.0]]])
  head = jnp.log(jnp.array([[1.0, 2.0, 5.0]]))
  log_prob, log_normaliser = xent.token_log_prob(
    states, head, jnp.array([[1, 2]])
  )
  np.testing.assert_allclose(log_prob[0], np.log([2 / 8, 25 / 30]), atol=1e-6)
  np.testing.assert_allclose(log_normaliser[0], np.log([8, 30]), atol=1e-6)


@pytest.mark.parametrize('chunk_tokens', [None, 1, 4, 9, 100])
def test_against_numpy(chunk_tokens):
  states, head, targets = example()
  logits = np.asarray(states, np.float64) @ np.asarray(head, np.float64)
  normaliser = np.log(np.exp(logits).sum(-1))
  expected = np.take_along_axis(logits, np.asarray(targets)[..., None], -1)
  log_prob, log_normaliser = xent.token_log_prob(
    states, head, targets, chunk_tokens=chunk_tokens
  )
  np.testing.assert_allclose(log_normaliser, normaliser, atol=1e-5)
  np.testing.assert_allclose(log_prob, expected[..., 0] - normaliser, atol=1e-5)


def loss(states, head, targets, chunk_tokens):
  log_prob, log_normaliser = xent.token_log_prob(
    states, head, targets, chunk_tokens=chunk_tokens
  )
  return (0.1 * log_normaliser**2 - log_prob).mean()


def test_chunked_gradients_equal_dense():
  states, head, targets = example()
  gradients = jax.jit(jax.grad(loss, (0, 1)), static_argnums=3)
  dense = gradients(states, head, targets, None)
  chunked = gradients(states, head, targets, 6)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), dense, chunked
  )


def test_chunks_never_hold_all_logits():
  states, head, targets = example(4, 32, 8, 1000)
  logits_bytes = 4 * 32 * 1000 * 4
  temp_bytes = [
    jax.jit(jax.grad(loss, (0, 1)), static_argnums=3)
    .lower(states, head, targets, chunk_tokens)
    .compile()
    .memory_analysis()
    .temp_size_in_bytes
    for chunk_tokens in (None, 8)
  ]
  assert temp_bytes[0] >= logits_bytes
  assert temp_bytes[1] < logits_bytes / 2


def test_bfloat16_accumulates_in_float32():
  states, head, targets = example(width=512)
  states, head = states / 20, head.astype(jnp.bfloat16).astype(jnp.float32)
  states = states.astype(jnp.bfloat16)
  exact = xent.token_log_prob(states.astype(jnp.float32), head, targets)
  rounded = xent.token_log_prob(states, head, targets)
  assert rounded[0].dtype == jnp.float32
  np.testing.assert_allclose(rounded[0], exact[0], atol=1e-4)


def test_bad_chunk_is_refused():
  with pytest.raises(ValueError, match='chunk_tokens is 0'):
    xent.token_log_prob(*example(), chunk_tokens=0)
