import jax
import jax.numpy as jnp
import numpy as np

from jaxcurate.ops.dense_gradients import DenseGradients
from jaxcurate.types import ExampleGradients


def test_products_by_hand():
  gradients = DenseGradients(
    {'a': jnp.array([[[1.0, 2.0]], [[0.0, -1.0]]]), 'b': jnp.array([3.0, 1.0])}
  )
  assert isinstance(gradients, ExampleGradients)
  direction = {'a': jnp.array([[10.0, 1.0]]), 'b': jnp.array(-1.0)}
  assert gradients.dot(direction).tolist() == [9.0, -2.0]
  # <g_0, g_0> = 1 + 4 + 9, <g_0, g_1> = -2 + 3, <g_1, g_1> = 1 + 1.
  assert gradients.gram().tolist() == [[14.0, 1.0], [1.0, 2.0]]
  scale = {'a': jnp.array([[0.5, 2.0]]), 'b': jnp.array(4.0)}
  assert gradients.gram(scale).tolist() == [[44.5, 8.0], [8.0, 6.0]]


def test_against_numpy_under_jit():
  rng = np.random.default_rng(0)
  tree = {'a': rng.normal(size=(5, 3, 2)), 'b': {'c': rng.normal(size=(5, 4))}}
  scale = {'a': rng.uniform(size=(3, 2)), 'b': {'c': rng.uniform(size=4)}}
  flat = np.concatenate([tree['a'].reshape(5, -1), tree['b']['c']], 1)
  flat_scale = np.concatenate([scale['a'].reshape(-1), scale['b']['c']])
  gradients = DenseGradients(jax.tree.map(jnp.float32, tree))
  scale = jax.tree.map(jnp.float32, scale)
  gram, [dot] = jax.jit(lambda g, s: g.products([s], s))(gradients, scale)
  np.testing.assert_allclose(gram, (flat * flat_scale) @ flat.T, rtol=1e-5)
  np.testing.assert_allclose(dot, flat @ flat_scale, rtol=1e-5, atol=1e-6)


def test_products_are_gram_and_dots():
  gradients = DenseGradients({'a': jnp.array([[1.0, 2.0], [0.0, -1.0]])})
  ways = [{'a': jnp.array([1.0, 0.0])}, {'a': jnp.array([3.0, 1.0])}]
  scale = {'a': jnp.array([2.0, 0.5])}
  gram, dots = gradients.products(ways, scale)
  assert gram.tolist() == gradients.gram(scale).tolist()
  assert dots.tolist() == [[1.0, 0.0], [5.0, -1.0]]
  assert gradients.products([])[1].shape == (0, 2)
