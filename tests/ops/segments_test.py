import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.ops import segments


def test_sum_by_hand():
  values = jnp.array([[1.0, 2.0, 4.0, 8.0], [1.0, 1.0, 1.0, 5.0]])
  ids = jnp.array([[1, 1, 2, 0], [0, 2, 2, 2]])
  total = segments.segment_sum(values, ids, 3)
  assert total.tolist() == [[3.0, 4.0, 0.0], [0.0, 7.0, 0.0]]


def test_sum_against_numpy():
  rng = np.random.default_rng(0)
  values = rng.normal(size=(5, 17))
  ids = rng.integers(0, 5, size=(5, 17))
  expected = np.stack(
    [np.where(ids == s, values, 0).sum(1) for s in range(1, 5)], axis=1
  )
  total = segments.segment_sum(
    jnp.asarray(values, jnp.float32), jnp.asarray(ids), 4
  )
  np.testing.assert_allclose(total, expected, atol=1e-5)


def test_padding_is_never_read():
  values = jnp.array([[jnp.nan, 2.0, jnp.inf]])
  ids = jnp.array([[0, 1, 0]])
  assert segments.segment_sum(values, ids, 2).tolist() == [[2.0, 0.0]]


def test_values_and_sum_agree():
  # Every token of segment s carries value v_s, so the sum is count * v_s.
  ids = jnp.array([[1, 1, 2, 3, 3, 3, 0]])
  values = jnp.array([[0.5, 2.0, 1.0]])
  on_tokens = segments.segment_values(values, ids)
  assert on_tokens.tolist() == [[0.5, 0.5, 2.0, 1.0, 1.0, 1.0, 0.0]]
  assert segments.segment_sum(on_tokens, ids, 3).tolist() == [[1.0, 2.0, 3.0]]


@pytest.mark.parametrize('num_segments', [1, 4])
def test_all_padding(num_segments):
  ids = jnp.zeros((2, 3), jnp.int32)
  assert not segments.segment_sum(jnp.ones((2, 3)), ids, num_segments).any()
  assert not segments.membership(ids, num_segments).any()
