import jax
import numpy as np

from jaxcurate.train import optimizers
from jaxcurate.train.state import abstract_state, init_state
from jaxcurate.weightings import adapt, uniform


def zeros(state):
  return jax.tree.map(lambda x: x * 0, state)


def test_given_parameters_are_copied_and_seeds_differ(tiny):
  network, weighting = tiny.make_network(), uniform.make()
  optimizer = optimizers.make_optimizer()
  first = init_state(network, optimizer, weighting, seed=1)
  second = init_state(network, optimizer, weighting, seed=2)
  assert (first.params['head'] != second.params['head']).any()
  given = init_state(network, optimizer, weighting, params=first.params)
  jax.tree.map(np.testing.assert_array_equal, given.params, first.params)
  overwrite = jax.jit(
    lambda s: jax.tree.map(lambda x: x * 0, s), donate_argnums=0
  )
  overwrite(given)
  assert not any(x.is_deleted() for x in jax.tree.leaves(first))


def test_before_step_one(tiny):
  state = init_state(
    tiny.make_network(), optimizers.make_optimizer('adamw'), adapt.make()
  )
  assert int(state.step) == 0
  assert not any(x.any() for x in jax.tree.leaves(state.opt_state))
  assert not state.weighting_state['anchor_mean'].any()


def test_abstract_state_is_the_states_shape(tiny):
  parts = tiny.make_network(), optimizers.make_optimizer(), adapt.make()
  state, like = init_state(*parts), abstract_state(*parts)
  assert jax.tree.structure(state) == jax.tree.structure(like)

  def same(leaf, shape):
    assert (leaf.shape, leaf.dtype) == (shape.shape, shape.dtype)
    assert leaf.sharding == shape.sharding

  jax.tree.map(same, state, like)
