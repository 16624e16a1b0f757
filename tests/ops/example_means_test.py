import jax.numpy as jnp
import numpy as np

from jaxcurate.ops import example_means

MASK = jnp.array([True, True, True, False])
GROUP = jnp.array([4, 4, -1, 7])


def test_by_hand():
  rows = jnp.array([[3.0, 4.0], [0.0, 0.0], [-2.0, 0.0], [np.nan, 1.0]])
  unit = example_means.unit_rows(rows, MASK)
  np.testing.assert_allclose(unit, [[0.6, 0.8], [0, 0], [-1, 0], [0, 0]])
  # (3 - 2) / 3 of all; of the groups' means 1.5 and -2.
  np.testing.assert_allclose(
    example_means.masked_mean(rows[:, 0], MASK), 1 / 3, rtol=1e-6
  )
  mean = example_means.mean_of_means(rows, MASK, GROUP)
  np.testing.assert_allclose(mean, [-0.25, 1.0])


def test_groups_of_one_size_are_the_plain_mean_in_any_order():
  values = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
  mask, group = np.ones(12, bool), np.arange(12) % 4
  order = np.random.default_rng(1).permutation(12)
  found = example_means.mean_of_means(
    jnp.asarray(values[order]), jnp.asarray(mask), jnp.asarray(group[order])
  )
  np.testing.assert_allclose(found, values.mean(axis=0), atol=1e-6)


def test_nothing_is_zero():
  none, rows = jnp.zeros(4, bool), jnp.full((4, 2), jnp.inf)
  for found in (
    example_means.unit_rows(rows, none),
    example_means.masked_mean(rows, none),
    example_means.mean_of_means(rows, none, GROUP),
  ):
    np.testing.assert_array_equal(found, 0.0)
