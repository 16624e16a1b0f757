"""Adam's direction for one example, by hand and in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.ops.adam_direction import adam_direction


@pytest.mark.parametrize(
  ('g', 'm', 'v', 'expected'),
  [
    (1.0, 0.0, 0.0, 0.1 / np.sqrt(0.001 + 1e-8)),
    (0.0, 2.0, 4.0, 1.8 / np.sqrt(3.996 + 1e-8)),  # where momentum goes
    (-3.0, 1.0, 1.0, (0.9 - 0.3) / np.sqrt(0.999 + 0.009 + 1e-8)),
    (1e-6, 0.0, 0.0, 1e-7 / np.sqrt(1e-15 + 1e-8)),  # epsilon in the root
  ],
)
def test_by_hand(g, m, v, expected):
  found = adam_direction(*map(jnp.float32, ([g], m, v)))
  np.testing.assert_allclose(found, [expected], rtol=1e-5)


def test_against_float64():
  rng = np.random.default_rng(0)
  shapes = {'a': (3, 2), 'b': {'c': (5,)}}
  g, m, v = (
    jax.tree.map(
      lambda shape: rng.normal(size=lead + shape).astype(np.float32),
      shapes,
      is_leaf=lambda node: isinstance(node, tuple),
    )
    for lead in ((4,), (), ())
  )
  v = jax.tree.map(np.square, v)
  found = jax.jit(adam_direction)(g, m, v)

  def slow(g, m, v):
    g, m, v = map(np.float64, (g, m, v))
    return (0.9 * m + 0.1 * g) / np.sqrt(0.999 * v + 0.001 * g**2 + 1e-8)

  jax.tree.map(
    lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-5),
    found,
    jax.tree.map(slow, g, m, v),
  )


def test_examples_are_alone_and_signs_are_kept():
  rng = np.random.default_rng(1)
  g, m, v = (np.float32(rng.normal(size=s)) for s in ((6, 4), (4,), (4,)))
  whole = np.asarray(adam_direction(g, m, v**2))
  np.testing.assert_allclose(
    adam_direction(g[2:3], m, v**2)[0], whole[2], rtol=1e-6
  )
  np.testing.assert_allclose(adam_direction(-g, -m, v**2), -whole, rtol=1e-6)
  assert (whole * (0.9 * m + 0.1 * g) > 0).all()


def test_all_zero_is_zero_and_bfloat16_becomes_float32():
  zero = jnp.zeros((2, 3), jnp.bfloat16)
  found = adam_direction(zero, jnp.zeros(3), jnp.zeros(3))
  assert found.dtype == jnp.float32
  assert not np.asarray(found).any()
