import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcurate.train import optimizers
from jaxcurate.train.state import init_state
from jaxcurate.train.step import make_train_step
from jaxcurate.types import Weighting
from jaxcurate.weightings import adapt, uniform

S = 2  # examples per row


def sgd(rate=0.1):
  transform = optax.sgd(rate)
  return optimizers.Optimizer(
    transform.init, transform.update, lambda step: rate
  )


def weigh_by_loss(signals, state):
  """Batch-coupled: softmax of the losses over the batch."""
  logits = jnp.where(signals.mask_E, signals.loss_E, -jnp.inf)
  return jax.nn.softmax(logits), state + 1, {'largest': logits.max()}


COUPLED = Weighting(
  init=lambda shapes: jnp.float32(0),
  update=weigh_by_loss,
  needs=frozenset({'loss'}),
  batch_coupled=True,
)


def weigh_by_index(signals, state):
  return jnp.arange(len(signals.mask_E)) / 4.0, state, {}


BY_INDEX = Weighting(init=lambda shapes: 0.0, update=weigh_by_index)


def one_step(network, weighting, batch, state=None, **settings):
  optimizer = sgd()
  step = make_train_step(
    network, optimizer, weighting, max_segments=S, **settings
  )
  if state is None:
    state = init_state(network, optimizer, weighting)
  return step(state, batch)


def plain_loss(network, params, batch, z_loss=1e-4):
  """A hand-written T5 step's loss."""
  encoded = network.encode(
    params, batch['encoder_input_tokens'], batch['encoder_segment_ids']
  )
  decoded = network.decode(
    params,
    encoded,
    batch['encoder_segment_ids'],
    batch['decoder_input_tokens'],
    batch['decoder_segment_ids'],
  )
  logits = decoded @ network.head(params)
  nll = optax.softmax_cross_entropy_with_integer_labels(
    logits, batch['decoder_target_tokens']
  )
  nll = nll + z_loss * jax.nn.logsumexp(logits, -1) ** 2
  weights = batch['decoder_loss_weights']
  return (nll * weights).sum() / weights.sum(), nll


def assert_close(actual, expected, rtol=1e-5):
  """Trees agree to `rtol` of the norm of each leaf."""

  def check(a, b):
    error = np.linalg.norm(np.asarray(a, np.float64) - np.asarray(b))
    assert error <= rtol * max(np.linalg.norm(np.asarray(b)), 1e-6)

  jax.tree.map(check, actual, expected)


def test_uniform_equals_a_hand_written_step(tiny):
  network, batch = tiny.make_network(), tiny.make_batch(0)
  params = jax.jit(network.init)(jax.random.key(0))
  gradient_fn = jax.value_and_grad(lambda p: plain_loss(network, p, batch)[0])
  loss, gradient = jax.jit(gradient_fn)(params)
  expected = jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient)
  state, metrics = one_step(network, uniform.make(), batch)
  assert_close(state.params, expected, 1e-6)
  without_z = jax.jit(lambda p: plain_loss(network, p, batch, 0.0)[0])(params)
  np.testing.assert_allclose(metrics['loss'], without_z, rtol=1e-6)
  np.testing.assert_allclose(metrics['weighted_loss'], without_z, rtol=1e-6)
  np.testing.assert_allclose(
    metrics['gradient_norm'], optax.global_norm(gradient), rtol=1e-5
  )
  assert loss != without_z
  # Rows 0..6 hold 1, 2, 1, 2, 1, 2, 1 examples; row 7 is padding.
  assert int(metrics['examples']) == 10
  assert int(metrics['tokens']) == sum(
    (batch[f'{side}_segment_ids'] > 0).sum() for side in ('encoder', 'decoder')
  )
  assert int(state.step) == 1


@pytest.mark.parametrize('normaliser', ['targets', 'weights'])
def test_weights_reach_their_examples_tokens(tiny, normaliser):
  network, batch = tiny.make_network(), tiny.make_batch(1)
  params = jax.jit(network.init)(jax.random.key(0))
  ids = batch['decoder_segment_ids']
  example = np.arange(8)[:, None] * S + np.maximum(ids, 1) - 1
  weights = np.where(ids > 0, example / 4.0, 0)
  total = weights.sum() if normaliser == 'weights' else (ids > 0).sum()
  gradient = jax.jit(
    jax.grad(lambda p: (plain_loss(network, p, batch)[1] * weights).sum())
  )(params)
  gradient = jax.tree.map(lambda g: g / total, gradient)
  expected = jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient)
  state, metrics = one_step(network, BY_INDEX, batch, normaliser=normaliser)
  assert_close(state.params, expected, 1e-6)
  real = np.unique(example[ids > 0]) / 4.0
  np.testing.assert_allclose(metrics['weights/mean'], real.mean(), rtol=1e-6)
  np.testing.assert_allclose(metrics['weights/std'], real.std(), rtol=1e-6)
  assert float(metrics['weights/min']) == real.min()
  assert float(metrics['weights/max']) == real.max()


def with_anchors(shapes):
  mean = jnp.linspace(-1, 1, shapes.width)
  return {
    **adapt.make(center=True).init(shapes),
    'anchor_mean': mean,
    'center': mean**2,
  }


ADAPT = adapt.make(center=True)._replace(init=with_anchors)


@pytest.mark.parametrize('weighting', [COUPLED, ADAPT])
def test_microbatches_change_nothing(tiny, weighting):
  network, batch = tiny.make_network(), tiny.make_batch(2)
  whole, metrics = one_step(network, weighting, batch, z_loss=0.01)
  parts, metrics_parts = one_step(
    network, weighting, batch, z_loss=0.01, accumulate=4, chunk_tokens=16
  )
  assert_close(parts.params, whole.params)
  assert_close(parts.weighting_state, whole.weighting_state)
  assert metrics.keys() == metrics_parts.keys()
  for name in metrics:
    np.testing.assert_allclose(
      metrics_parts[name], metrics[name], rtol=1e-5, atol=1e-7
    )


def test_no_gradient_flows_through_weights(tiny):
  # Were it to flow, scaling the loss's gradient would not be all that
  # loss-dependent weights do: compare with the same weights as constants.
  network, batch = tiny.make_network(), tiny.make_batch(3)
  seen = {}

  def record(signals, state):
    weights, state, info = weigh_by_loss(signals, state)
    return weights, weights, info

  recording = COUPLED._replace(init=lambda shapes: jnp.zeros(16), update=record)
  state, _ = one_step(network, recording, batch)
  constant = Weighting(
    init=lambda shapes: jnp.float32(0),
    update=lambda signals, old: (seen['weights'], old, {}),
  )
  seen['weights'] = jnp.asarray(np.asarray(state.weighting_state))
  other, _ = one_step(network, constant, batch)
  assert_close(other.params, state.params, 1e-6)


def test_padding_content_changes_nothing(tiny):
  network, batch = tiny.make_network(), tiny.make_batch(4)
  other = dict(batch)
  for side, name in (
    ('encoder', 'encoder_input_tokens'),
    ('decoder', 'decoder_input_tokens'),
    ('decoder', 'decoder_target_tokens'),
  ):
    other[name] = np.where(batch[f'{side}_segment_ids'] > 0, batch[name], 3)
  weighting = adapt.make()
  state, metrics = one_step(network, weighting, batch)
  state_other, metrics_other = one_step(network, weighting, other)
  assert_close(state_other.params, state.params, 1e-7)
  assert float(metrics['loss']) == float(metrics_other['loss'])


def test_dropout_needs_a_key_and_differs_by_step(tiny):
  network, batch = tiny.make_network(), tiny.make_batch(5)
  optimizer, weighting = sgd(0.0), uniform.make()
  step = make_train_step(network, optimizer, weighting, max_segments=S)
  state = init_state(network, optimizer, weighting)
  losses = []
  for key in (jax.random.key(1), jax.random.key(1)):
    state, metrics = step(state, batch, key)
    losses.append(float(metrics['loss']))
  _, metrics = step(
    init_state(network, optimizer, weighting), batch, jax.random.key(1)
  )
  assert losses[0] != losses[1]
  assert float(metrics['loss']) == losses[0]


def test_a_batch_without_examples_changes_nothing(tiny):
  network = tiny.make_network()
  batch = {k: np.zeros_like(v) for k, v in tiny.make_batch(6).items()}
  state, metrics = one_step(network, adapt.make(), batch)
  assert_close(state.params, jax.jit(network.init)(jax.random.key(0)), 1e-6)
  assert float(metrics['loss']) == 0.0
  assert float(metrics['weighted_loss']) == 0.0


def test_wrong_requests_are_refused(tiny):
  network, batch = tiny.make_network(), tiny.make_batch(7)
  with pytest.raises(ValueError, match='accumulate is 3'):
    one_step(network, uniform.make(), batch, accumulate=3)
  unknown = uniform.make()._replace(needs=frozenset({'perplexity'}))
  with pytest.raises(ValueError, match='perplexity'):
    one_step(network, unknown, batch)
  short = BY_INDEX._replace(update=lambda signals, s: (jnp.ones(3), s, {}))
  with pytest.raises(ValueError, match=r'shape \(3,\), expected \(16,\) for'):
    one_step(network, short, batch)


def test_an_example_whose_loss_is_not_finite_counts_nowhere(tiny):
  network, batch = tiny.make_network(), tiny.make_batch(8)
  batch['document_id_hash'] = np.zeros((8, S, 2), np.uint32)
  batch['document_id_hash'][1, 1] = 7, 9
  odd = batch['decoder_segment_ids'][1] == 2  # examples 2 and 3 share row 1
  without = dict(batch)
  without['decoder_loss_weights'] = np.where(
    (np.arange(8) == 1)[:, None] & odd, 0, batch['decoder_loss_weights']
  ).astype(np.float32)

  def spoiled(params, *inputs, **keys):
    states = network.decode(params, *inputs, **keys)
    bad = (jnp.arange(8) == 1)[:, None] & odd
    return states + jnp.where(bad, jnp.inf, 0.0)[..., None]

  state, metrics = one_step(
    network._replace(decode=spoiled), uniform.make(), batch
  )
  expected, alone = one_step(network, uniform.make(), without)
  assert int(metrics['nonfinite']) == 2  # its gradient is 0 * inf, and counts 0
  assert (int(metrics['nonfinite/high']), int(metrics['nonfinite/low'])) == (
    7,
    9,
  )
  assert int(metrics['examples']) == int(alone['examples'])
  np.testing.assert_allclose(metrics['loss'], alone['loss'], rtol=1e-6)
  assert float(metrics['gradient_norm']) == 0.0
  assert_close(state.params, jax.jit(network.init)(jax.random.key(0)), 1e-7)
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(expected.params))
