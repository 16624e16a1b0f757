import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.ops import greedy

_run = jax.jit(
  greedy.token_log_prob_and_greedy, static_argnames=('chunk_tokens',)
)


def example(num_rows=3, length=7, width=4, vocab_size=11, seed=0):
  rng = np.random.default_rng(seed)
  return (
    jnp.asarray(rng.normal(size=(num_rows, length, width)), jnp.float32),
    jnp.asarray(rng.normal(size=(width, vocab_size)), jnp.float32),
    jnp.asarray(rng.integers(0, vocab_size, size=(num_rows, length))),
  )


def test_by_hand():
  states = jnp.array([[[1.0], [2.0], [1.0]]])
  head = jnp.log(jnp.array([[1.0, 2.0, 5.0]]))
  log_prob, is_greedy = _run(states, head, jnp.array([[1, 2, 2]]))
  np.testing.assert_allclose(
    log_prob[0], np.log([2 / 8, 25 / 30, 5 / 8]), atol=1e-6
  )
  assert is_greedy.tolist() == [[False, True, True]]


@pytest.mark.parametrize('chunk_tokens', [None, 1, 4, 9, 100])
def test_against_numpy(chunk_tokens):
  states, head, targets = example()
  logits = np.asarray(states, np.float64) @ np.asarray(head, np.float64)
  normaliser = np.log(np.exp(logits).sum(-1))
  expected = np.take_along_axis(logits, np.asarray(targets)[..., None], -1)
  targets = jnp.where(jnp.arange(7) == 2, logits.argmax(-1), targets)
  log_prob, is_greedy = _run(states, head, targets, chunk_tokens=chunk_tokens)
  untouched = np.arange(7) != 2
  np.testing.assert_allclose(
    log_prob[:, untouched],
    (expected[..., 0] - normaliser)[:, untouched],
    atol=1e-5,
  )
  np.testing.assert_array_equal(is_greedy, logits.argmax(-1) == targets)
  assert is_greedy[:, 2].all()


def test_logits_of_a_chunk_only_are_held():
  shapes = ((4, 32, 8), (8, 1000), (4, 32))
  states, head, targets = (jax.ShapeDtypeStruct(s, 'float32') for s in shapes)
  targets = jax.ShapeDtypeStruct(shapes[2], 'int32')

  def temporaries(chunk_tokens):
    compiled = _run.lower(
      states, head, targets, chunk_tokens=chunk_tokens
    ).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  assert temporaries(8) < 4 * 32 * 1000 * 4 / 4 < temporaries(None)


def test_equal_logits_and_a_single_word():
  states, targets = jnp.ones((1, 2, 1)), jnp.array([[0, 1]])
  log_prob, is_greedy = _run(states, jnp.ones((1, 2)), targets)
  assert is_greedy.tolist() == [[True, False]]
  log_prob, is_greedy = _run(states, jnp.ones((1, 1)), targets * 0)
  assert log_prob.tolist() == [[0.0, 0.0]]
  assert is_greedy.all()


def test_a_chunk_of_nothing_is_refused():
  states, head, targets = example()
  with pytest.raises(ValueError, match='chunk_tokens is 0'):
    greedy.token_log_prob_and_greedy(states, head, targets, chunk_tokens=0)
