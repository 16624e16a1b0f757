"""The same step on one and on eight emulated devices, with the real T5."""

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
import numpy as np
import pytest

from jaxcurate.models import mesh as meshes
from jaxcurate.models import t5
from jaxcurate.train import anchors, optimizers
from jaxcurate.train.program import place
from jaxcurate.train.state import abstract_state, init_state
from jaxcurate.train.step import make_train_step
from jaxcurate.types import AnchorSet
from jaxcurate.weightings import adapt

S = 2
CONFIG = t5.T5Config(
  vocab_size=32,
  embed_dim=16,
  num_heads=2,
  head_dim=8,
  mlp_dim=32,
  num_encoder_layers=1,
  num_decoder_layers=1,
)
# Plain gradient descent at rate 1 shows the gradient in the parameters.
SGD = optimizers.Optimizer(
  lambda params: jax.tree.map(jnp.zeros_like, params),
  lambda g, state, params: (jax.tree.map(lambda x: -x, g), g),
  lambda step: 1.0,
)


def assert_placed(array, layout):
  assert array.sharding.is_equivalent_to(layout, array.ndim)


def first_step(tiny, mesh, **settings):
  network, weighting = t5.make_network(CONFIG), adapt.make(temperature=0.1)
  state = init_state(network, SGD, weighting, mesh=mesh)
  before = jax.device_get(state.params)
  batches = [tiny.make_batch(k, num_rows=16, vocab_size=32) for k in (0, 1)]
  refresh = anchors.make_refresh_step(
    network, weighting, max_segments=S, mesh=mesh
  )
  stacked = anchors.stack_anchors(AnchorSet('a', tuple(batches)))
  state = state.replace(
    weighting_state=refresh(state, place(stacked, mesh, leading=1))
  )
  step = make_train_step(
    network, SGD, weighting, max_segments=S, mesh=mesh, **settings
  )
  layout = jax.tree.map(lambda x: x.sharding, state)
  state, metrics = step(state, place(batches[0], mesh))
  gradient = jax.tree.map(np.subtract, before, jax.device_get(state.params))
  kept = jax.tree.map(
    lambda x, on: x.sharding.is_equivalent_to(on, x.ndim), state, layout
  )
  assert all(jax.tree.leaves(kept))
  return state, gradient, jax.device_get(metrics)


@pytest.fixture(scope='module')
def one_device(tiny):
  return first_step(tiny, None)


@pytest.mark.parametrize(
  'layout, settings',
  [('data=8', {}), ('data=4,model=2', {'accumulate': 2, 'chunk_tokens': 32})],
)
def test_first_step_is_that_of_one_device(tiny, one_device, layout, settings):
  mesh = meshes.make_mesh(layout)
  state, gradient, metrics = first_step(tiny, mesh, **settings)
  _, gradient_one, metrics_one = one_device
  for name in ('loss', 'weighted_loss'):
    np.testing.assert_allclose(metrics[name], metrics_one[name], rtol=1e-6)
  for name in metrics:
    np.testing.assert_allclose(
      metrics[name], metrics_one[name], rtol=1e-5, atol=1e-6
    )
  error = jax.tree.map(np.subtract, gradient, gradient_one)
  norms = [
    np.sqrt(sum((x.astype(np.float64) ** 2).sum() for x in jax.tree.leaves(t)))
    for t in (error, gradient_one)
  ]
  assert norms[0] <= 1e-5 * norms[1]
  assert metrics['weights/std'] > 0.001
  # The optimizer's moments lie where their parameters lie.
  for param, moment in zip(
    jax.tree.leaves(state.params), jax.tree.leaves(state.opt_state)
  ):
    assert param.sharding == moment.sharding


def test_parameters_are_really_split():
  mesh = meshes.make_mesh('data=4,model=2')
  parts = t5.make_network(CONFIG), optimizers.make_optimizer(), adapt.make()
  state = init_state(*parts, mesh=mesh)
  specs = {x.sharding.spec for x in jax.tree.leaves(state.params)}
  assert any('model' in spec for spec in specs)
  # Adafactor's moments of small matrices are whole: split like them. Row and
  # column moments and counters are everywhere.
  moments = [x for x in jax.tree.leaves(state.opt_state) if x.ndim > 1]
  assert any('model' in x.sharding.spec for x in moments)
  assert state.step.sharding.spec == PartitionSpec()
  like = abstract_state(*parts, mesh=mesh)
  jax.tree.map(lambda x, y: assert_placed(x, y.sharding), state, like)
