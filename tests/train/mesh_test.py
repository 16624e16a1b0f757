"""The same step on one and on eight emulated devices, with real networks."""

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
import numpy as np
import pytest

from jaxcurate.models import decoder, t5
from jaxcurate.models import mesh as meshes
from jaxcurate.train import anchors, optimizers
from jaxcurate.train.gradient_settings import GradientSettings
from jaxcurate.train.gradients import make_gradient_fn
from jaxcurate.train.program import place
from jaxcurate.train.state import abstract_state, init_state
from jaxcurate.train.step import make_train_step
from jaxcurate.types import AnchorSet, Weighting
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


WEIGHTING = adapt.make(temperature=0.1)
ANCHORED = WEIGHTING._replace(
  init=lambda shapes: {
    **WEIGHTING.init(shapes),
    'anchor_mean': jnp.linspace(-1, 1, shapes.width),
  }
)


def first_step(network, batch, mesh, **settings):
  state = init_state(network, SGD, ANCHORED, mesh=mesh)
  before = jax.device_get(state.params)
  step = make_train_step(
    network, SGD, ANCHORED, max_segments=S, mesh=mesh, **settings
  )
  layout = jax.tree.map(lambda x: x.sharding, state)
  state, metrics = step(state, place(batch, mesh))
  gradient = jax.tree.map(np.subtract, before, jax.device_get(state.params))
  jax.tree.map(assert_placed, state, layout)
  return state, gradient, jax.device_get(metrics)


@pytest.mark.parametrize(
  'name, layout, settings',
  [
    ('tiny', 'data=8', {}),
    ('t5', 'data=4,model=2', {'accumulate': 2, 'chunk_tokens': 32}),
  ],
)
def test_first_step_is_that_of_one_device(tiny, name, layout, settings):
  network = tiny.make_network(vocab_size=32)
  if name == 't5':
    network = t5.make_network(CONFIG)
  batch = tiny.make_batch(0, num_rows=16, vocab_size=32)
  _, gradient_one, metrics_one = first_step(network, batch, None)
  state, gradient, metrics = first_step(
    network, batch, meshes.make_mesh(layout), **settings
  )
  for key, value in metrics.items():
    rtol = 1e-6 if key in ('loss', 'weighted_loss') else 1e-5
    np.testing.assert_allclose(value, metrics_one[key], rtol=rtol, atol=1e-6)
  error = jax.tree.map(np.subtract, gradient, gradient_one)
  assert norm(error) <= 1e-5 * norm(gradient_one)
  assert metrics['weights/std'] > 0.001
  # The optimizer's moments lie where their parameters lie.
  for param, moment in zip(
    jax.tree.leaves(state.params), jax.tree.leaves(state.opt_state)
  ):
    assert param.sharding == moment.sharding


def norm(tree):
  squares = [(x.astype(np.float64) ** 2).sum() for x in jax.tree.leaves(tree)]
  return np.sqrt(sum(squares))


def test_anchors_are_those_of_one_device(tiny):
  network, means = tiny.make_network(), []
  batches = tuple(tiny.make_batch(k) for k in (0, 1))
  stacked = anchors.stack_anchors(AnchorSet('a', batches))
  for mesh in (None, meshes.make_mesh('data=8')):
    refresh = anchors.make_refresh_step(
      network, WEIGHTING, max_segments=S, mesh=mesh
    )
    state = init_state(network, SGD, WEIGHTING, mesh=mesh)
    moved = refresh(state, place(stacked, mesh, leading=1))
    means.append(np.asarray(moved['anchor_mean']))
  np.testing.assert_allclose(means[0], means[1], atol=1e-6)


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


def products(signals, state):
  """Weights of all products, and the products themselves as the state."""
  direction = jax.tree.map(jnp.sin, signals.params)
  scale = jax.tree.map(lambda x: 1 + x**2, signals.params)
  gram, dots = signals.gradients.products([direction], scale)
  size = jnp.sqrt(jnp.diag(gram) + 1e-30)
  cosines = gram / jnp.outer(size, size)
  weights = 1 + jnp.tanh(jnp.mean(cosines, 1) + dots[0] / size)
  return weights, {'cosines': cosines, 'dots': dots / size}, {}


@pytest.mark.slow
def test_gradients_of_examples_are_those_of_one_device(tiny):
  network = decoder.make_network(
    decoder.DecoderConfig(
      vocab_size=32, embed_dim=16, num_heads=2, num_kv_heads=2, head_dim=8,
      mlp_dim=24, num_layers=2, tied_head=True, scan_layers=True, remat=True,
    )
  )  # fmt: skip
  weighting = Weighting(
    lambda shapes: None, products, needs=frozenset({'gradients', 'params'})
  )
  batch = {
    name: rows
    for name, rows in tiny.make_batch(0, 16, vocab_size=32).items()
    if name.startswith('decoder')
  }

  def run(layout, way):
    mesh = meshes.make_mesh(layout) if layout else None
    state = init_state(network, SGD, weighting, mesh=mesh)
    gradient_fn = make_gradient_fn(
      network,
      weighting,
      SGD,
      max_segments=S,
      z_loss=1e-4,
      reduction='tokens',
      accumulate=1,
      chunk_tokens=32,
      example_gradients=GradientSettings(way),
    )
    result = jax.jit(gradient_fn)(state, place(batch, mesh), None)
    return jax.device_get((result.gradients, result.weighed))

  gradient_one, weighed_one = run(None, 'keep_factors')
  for way in ('keep_factors', 'second_pass'):
    gradient, weighed = run('data=4,model=2', way)
    for name, values in weighed.weighting_state.items():
      expected = weighed_one.weighting_state[name]
      np.testing.assert_allclose(values, expected, atol=1e-5)
    np.testing.assert_allclose(weighed.weights, weighed_one.weights, atol=1e-5)
    error = jax.tree.map(np.subtract, gradient, gradient_one)
    assert norm(error) <= 1e-5 * norm(gradient_one)
