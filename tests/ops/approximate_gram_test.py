"""Approximate Gram matrices: what they are exact for, and how they err."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.ops import approximate_gram
from jaxcurate.ops.approximate_gram import Approximation
from jaxcurate.ops.factors import Matrix

B, T, I, O = 4, 6, 24, 40  # noqa: E741


def matrix(**fields):
  rng = np.random.default_rng(0)
  # Tokens with something in common, as those of one text have.
  x = rng.normal(size=(B, T, I)) + rng.normal(size=(B, 1, I))
  d = rng.normal(size=(B, T, O)) + rng.normal(size=(1, 1, O))
  both = [jnp.asarray(values, jnp.float32) for values in (x, d)]
  return Matrix(*both, jnp.ones((B, T, 1), bool), **fields)


def cosine(a, b):
  return jnp.vdot(a, b) / jnp.linalg.norm(a) / jnp.linalg.norm(b)


def test_rank_one_is_exact_where_the_second_moments_are():
  rng = np.random.default_rng(1)
  row, column = (jnp.exp(jnp.asarray(rng.normal(size=n))) for n in (I, O))
  way = jnp.asarray(rng.normal(size=(I, O)), jnp.float32)
  near = matrix(approximation=Approximation(rank_one=True))
  scale = jnp.outer(row, column)
  expected, found = (own.products(scale, [way]) for own in (matrix(), near))
  np.testing.assert_allclose(found.gram, expected.gram, rtol=1e-4)
  np.testing.assert_allclose(found.dots, expected.dots, rtol=1e-3, atol=1e-3)
  # Rows that saw no gradient stay out of it.
  scale = scale.at[3].set(0.0)
  expected, found = (own.products(scale, []) for own in (matrix(), near))
  np.testing.assert_allclose(found.gram, expected.gram, rtol=1e-4)


def test_rank_one_of_second_moments_that_are_not():
  rng = np.random.default_rng(2)
  noise = jnp.asarray(rng.normal(size=(I, O)), jnp.float32)
  outer = jnp.outer(jnp.exp(noise[:, 0]), jnp.exp(noise[0]))
  far, close = (
    (outer * jnp.exp(spread * noise)) ** -0.5 for spread in (1.0, 0.1)
  )
  # METHODS: 0.9996 when v is near rank one, 0.897 for log-normal v.
  for scale, low, high in ((far, 0.8, 0.98), (close, 0.998, 0.99999)):
    near = jnp.outer(*approximate_gram.rank_one(scale))
    assert low < cosine(near, scale) < high


def grams(projection, draws=300):
  def of(seed):
    own = matrix(seed=seed, approximation=Approximation(projection))
    return own.products(None, []).gram

  return jax.jit(jax.vmap(of))(jnp.arange(draws))


def test_projections_are_right_on_average_and_err_by_the_root_of_a_side():
  exact = matrix().products(None, []).gram
  errors = []
  for projection in (16, 256):
    found = grams(projection)
    spread = jnp.std(found, 0) / jnp.sqrt(len(found))
    assert (jnp.abs(jnp.mean(found, 0) - exact) < 4.5 * spread).all()
    errors.append(jnp.sqrt(jnp.mean((found - exact) ** 2)))
  # Both sides four times as long: half the error, and less of the part that
  # falls with their product; draws differ by 4 % (1 / sqrt(2 * 300)).
  assert approximate_gram.sizes(256, I, O)[0] >= 4 * 4
  assert 1.8 < errors[0] / errors[1] < 4.2
  whole = matrix(seed=jnp.int32(0), approximation=Approximation(I * O))
  np.testing.assert_allclose(whole.products(None, []).gram, exact, rtol=1e-4)


def test_a_projection_refuses_what_it_cannot_carry():
  own = matrix(seed=jnp.int32(0), approximation=Approximation(16))
  with pytest.raises(ValueError, match='set rank_one = True too'):
    own.products(jnp.ones((I, O)), [])
  both = own.replace(approximation=Approximation(16, rank_one=True))
  np.testing.assert_allclose(
    both.products(jnp.ones((I, O)), []).gram, own.products(None, []).gram,
    rtol=1e-4,
  )  # fmt: skip
