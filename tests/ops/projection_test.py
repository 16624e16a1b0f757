"""Projections against the matrix written out, and what they keep."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.ops import projection, random_signs

SEED = 3


def gradients(rows=3, seed=0):
  """Leaves of odd sizes, one above a tile of a CPU."""
  rng = np.random.default_rng(seed)
  shapes = {'b': (rows, 7), 'a': (rows, 5, 11), 'w': (rows, 3, 2, 100)}
  return {
    name: rng.normal(size=shape).astype(np.float32)
    for name, shape in shapes.items()
  }


def matrix(gradients, width, seed=SEED, large=1 << 22):
  """The whole sign matrix in float64, from NumPy's own words."""
  rows = []
  sizes = [leaf[0].size for leaf in jax.tree.leaves(gradients)]
  small = sum(size for size in sizes if size < large)
  parts = [small, *(size for size in sizes if size >= large)]
  for stream, size in enumerate(part for part in parts if part):
    groups = -(-size // 64)
    shape = (groups, width)
    counter = (
      np.broadcast_to(np.arange(groups, dtype=np.uint32)[:, None], shape),
      np.broadcast_to(np.arange(width, dtype=np.uint32), shape),
    )
    key = (np.full(shape, seed, np.uint32), np.full(shape, stream, np.uint32))
    words = random_signs.threefry(key, counter)
    bits = [
      word[:, None] >> np.arange(32, dtype=np.uint32)[:, None] & 1
      for word in words
    ]
    own = 1 - 2 * np.concatenate(bits, axis=1).astype(np.float64)
    rows.append(own.reshape(-1, width)[:size])
  return np.concatenate(rows)


def flat(gradients):
  leaves = [np.float64(leaf) for leaf in jax.tree.leaves(gradients)]
  return np.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], 1)


def project(gradients, width=48, **settings):
  settings = {'seed': SEED, 'width': width, **settings}
  return np.asarray(
    jax.jit(lambda tree: projection.project(tree, **settings))(gradients)
  )


def test_by_hand():
  words = random_signs.random_words(SEED, 0, 0, num_groups=1, width=4)
  signs = np.asarray(random_signs.signs_of(words))
  found = project({'w': np.array([[2.0, 0.0, -3.0]], np.float32)}, width=4)
  np.testing.assert_allclose(found[0], (2 * signs[0] - 3 * signs[2]) / 2)


def test_against_the_matrix_written_out():
  tree = gradients()
  expected = flat(tree) @ matrix(tree, 48) / np.sqrt(48)
  np.testing.assert_allclose(project(tree), expected, atol=1e-5)


@pytest.mark.parametrize('large', [50, 1])
def test_large_leaves_are_projected_by_themselves(monkeypatch, large):
  monkeypatch.setattr(projection, '_LARGE', large)
  tree = gradients()
  order = ['b', 'a', 'w'] if large == 50 else ['a', 'b', 'w']
  moved = {str(place): tree[name] for place, name in enumerate(order)}
  expected = flat(moved) @ matrix(moved, 48, large=large) / np.sqrt(48)
  np.testing.assert_allclose(project(tree), expected, atol=1e-5)


@pytest.mark.parametrize('rows', [64, 8192])
def test_tiles_change_nothing(monkeypatch, rows):
  tree = gradients()
  expected = project(tree)
  monkeypatch.setattr(projection, '_CPU_ROWS', rows)
  np.testing.assert_allclose(project(tree), expected, atol=1e-5)


def test_examples_are_projected_alone():
  tree = gradients(rows=5)
  whole = project(tree)
  order = np.array([3, 0, 4])
  some = project(jax.tree.map(lambda leaf: leaf[order], tree))
  np.testing.assert_allclose(some, whole[order], atol=1e-5)


def test_linear_and_a_wider_one_begins_with_the_narrower():
  one, other = gradients(seed=0), gradients(seed=1)
  total = jax.tree.map(lambda x, y: 2 * x - y, one, other)
  expected = 2 * project(one) - project(other)
  np.testing.assert_allclose(project(total), expected, atol=1e-4)
  np.testing.assert_allclose(
    np.sqrt(20) * project(one, 20), np.sqrt(48) * project(one)[:, :20],
    rtol=1e-4, atol=1e-4,
  )  # fmt: skip


def test_devices_change_nothing():
  tree = gradients(rows=8)
  mesh = jax.sharding.Mesh(np.array(jax.devices()), ('data',))
  rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec('data'))
  np.testing.assert_allclose(
    project(jax.device_put(tree, rows)), project(tree), atol=1e-6
  )


def test_norms_and_products_within_their_standard_error():
  rng = np.random.default_rng(2)
  vectors = {'w': rng.normal(size=(12, 500)).astype(np.float32)}
  width = 2048
  found = np.float64(project(vectors, width))
  truth = np.float64(vectors['w'])
  norms = np.linalg.norm(truth, axis=1)
  error = np.abs(found @ found.T - truth @ truth.T) / norms[:, None] / norms
  assert 0 < error.max() <= 4.5 * np.sqrt(2 / width)  # of 78: 5e-4


def test_bfloat16_rounds_gradients_only():
  tree = gradients()
  rounded = jax.tree.map(
    lambda leaf: np.asarray(jnp.asarray(leaf, jnp.bfloat16), np.float32), tree
  )
  found = project(tree, dtype=jnp.bfloat16)
  assert found.dtype == np.float32
  np.testing.assert_allclose(found, project(rounded), atol=1e-5)


def test_zero_and_nothing():
  zero = jax.tree.map(np.zeros_like, gradients())
  assert not project(zero).any()
  assert project({'w': np.zeros((0, 5), np.float32)}).shape == (0, 48)
  with pytest.raises(ValueError, match='0 arrays to project'):
    projection.project({}, seed=0)
  with pytest.raises(ValueError, match='to width 0'):
    projection.project(gradients(), seed=0, width=0)


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
def test_the_self_test_passes_here(dtype):
  projection.check_projection(dtype)


@pytest.mark.parametrize('value', [0.0, 1.0, np.nan])
def test_a_broken_backend_is_named(monkeypatch, value):
  def broken(words, dtype=jnp.float32):
    return jnp.full((64 * len(words[0]), words[0].shape[1]), value, dtype)

  projection._check.cache_clear()
  monkeypatch.setattr(random_signs, 'signs_of', broken)
  with pytest.raises(ValueError, match='projection on cpu in float32 is brok'):
    projection.check_projection()
  projection._check.cache_clear()


def test_fair_signs_of_another_generator_are_found(monkeypatch):
  sound = random_signs.signs_of
  projection._check.cache_clear()
  monkeypatch.setattr(
    random_signs, 'signs_of', lambda words, dtype=jnp.float32: -sound(words)
  )
  with pytest.raises(ValueError, match='signs on cpu are not those of the'):
    projection.check_projection()
  projection._check.cache_clear()
