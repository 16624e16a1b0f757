"""T5X's own step with weights in it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcurate.types import Weighting
from jaxcurate.weightings import adapt, uniform


def assert_close(actual, expected, rtol):
  """Trees agree to `rtol` of the norm of each leaf."""

  def check(a, b):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    assert np.linalg.norm(a - b) <= rtol * max(np.linalg.norm(b), 1e-6)

  jax.tree.map(check, actual, expected)


def weigh_by_loss(signals, state):
  """Batch-coupled: softmax of the losses, of mean 1."""
  logits = jnp.where(signals.mask_E, signals.loss_E, -jnp.inf)
  weights = jax.nn.softmax(logits) * signals.mask_E.sum()
  state = {'updates': state['updates'] + 1, 'seen': signals.loss_E.sum()}
  return weights, state, {'largest': logits.max()}


COUPLED = Weighting(
  init=lambda shapes: {'updates': jnp.int32(0), 'seen': jnp.float32(0)},
  update=weigh_by_loss,
  needs=frozenset({'loss'}),
  batch_coupled=True,
)


def weigh_tokens(signals, state):
  return jnp.where(signals.token_loss_BxT > 4, 1.0, 0.25), state, {}


TOKENS = Weighting(
  init=lambda shapes: (), update=weigh_tokens, needs=frozenset({'token_loss'})
)


def hand_written(params, model, batch, weights_BxT, z_loss=1e-4):
  """The weighted loss over the unweighted number of targets."""
  logits = model.module.apply(
    {'params': params},
    *(batch[f'{name}_tokens'] for name in NAMES),
    encoder_segment_ids=batch['encoder_segment_ids'],
    decoder_segment_ids=batch['decoder_segment_ids'],
    enable_dropout=False,
  )
  nll = optax.softmax_cross_entropy_with_integer_labels(
    logits, batch['decoder_target_tokens']
  )
  nll = nll + z_loss * jax.nn.logsumexp(logits, -1) ** 2
  real = batch['decoder_loss_weights']
  return (nll * real * weights_BxT).sum() / real.sum()


NAMES = ('encoder_input', 'decoder_input', 'decoder_target')


def gradient_of(t5x, before, after):
  """What a step of RATE along the gradient went along."""
  return jax.tree.map(
    lambda a, b: (np.asarray(b) - np.asarray(a)) / t5x.RATE,
    after.params, before.params,
  )  # fmt: skip


@pytest.mark.parametrize(
  'factor',
  [
    None,
    'NUM_REAL_TARGET_TOKENS',
    'NUM_TOTAL_TARGET_TOKENS',
    'AVERAGE_PER_SEQUENCE',
    7.0,
  ],
)
def test_uniform_is_the_stock_step(t5x, factor):
  batch, settings = t5x.make_batch(), {'loss_normalizing_factor': factor}
  models = [t5x.make_model(w, **settings) for w in (None, uniform.make())]
  (_, stock, theirs), (_, ours, mine) = (
    t5x.step(t5x.make_trainer(model, batch), batch) for model in models
  )
  assert_close(ours.params, stock.params, 1e-6)
  for name in theirs:
    np.testing.assert_allclose(mine[name], theirs[name], rtol=1e-6)
  np.testing.assert_allclose(mine['weighted/loss'], theirs['loss'], rtol=1e-6)
  assert mine['weights/mean'] == mine['weights/min'] == 1


@pytest.mark.parametrize('states', ['encoder', 'decoder'])
def test_adapt_equals_a_hand_written_weighted_loss(t5x, states):
  batch, rows = t5x.make_batch(), t5x.some_anchors()
  model = t5x.make_model(adapt.make(states=states))
  trainer = t5x.make_trainer(
    model, batch, anchor_dataset_cfg=t5x.anchors(rows, 4)
  )
  before, after, metrics = t5x.step(trainer, batch)
  side = {'encoder': 'encoder_input', 'decoder': 'decoder_target'}[states]
  pooled = slow_pool(
    states_of(model, before.params, batch, states),
    batch[f'{states}_segment_ids'],
    by_position=states == 'decoder',
  )
  anchors = t5x.as_batch(rows)
  trusted = slow_pool(
    states_of(model, before.params, anchors, states),
    (anchors[f'{side}_tokens'] > 0).astype(int),
    by_position=states == 'decoder',
  )
  trusted = np.array([row for _, row in sorted(trusted.items())])
  weights = np.zeros(batch['decoder_segment_ids'].shape)
  for (row, segment), state in pooled.items():
    similarity = np.mean(unit(trusted) @ unit(state))
    chosen = batch['decoder_segment_ids'][row] == segment
    weights[row, chosen] = 1 / (1 + np.exp(-similarity))
  loss, expected = jax.value_and_grad(hand_written)(
    before.params, model, batch, weights
  )
  assert_close(gradient_of(t5x, before, after), expected, 1e-6)
  np.testing.assert_allclose(metrics['weighted/loss'], loss, rtol=1e-6)
  assert 0 < metrics['weights/min'] < metrics['weights/max'] < 1
  assert int(after.flax_mutables['weighting']['refreshes']) == 1


def unit(rows):
  return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def states_of(model, params, batch, side):
  """Outputs of the final norm, by Flax's own way of capturing them."""
  name = f'{side}_norm'
  _, caught = model.module.apply(
    {'params': params},
    *(batch[f'{name}_tokens'] for name in NAMES),
    encoder_segment_ids=batch.get('encoder_segment_ids'),
    decoder_segment_ids=batch.get('decoder_segment_ids'),
    enable_dropout=False,
    mutable=['intermediates'],
    capture_intermediates=lambda module, _: module.name == name,
  )
  return np.float64(caught['intermediates'][side][name]['__call__'][0])


def slow_pool(states_BxLxD, ids_BxL, by_position):
  """(row, segment) -> mean of its states, weighted by 1, 2, ... or not."""
  pooled = {}
  for row, ids in enumerate(ids_BxL):
    for segment in sorted(set(ids.tolist()) - {0}):
      own = states_BxLxD[row, ids == segment]
      weights = np.arange(1, len(own) + 1) if by_position else np.ones(len(own))
      pooled[row, segment] = weights @ own / weights.sum()
  return pooled


def one_step(t5x, weighting, parts, mesh=(1, 1), **settings):
  batch = t5x.make_batch(3)
  anchors = None
  if weighting.refresh is not None:
    anchors = t5x.anchors(t5x.some_anchors())
  model = t5x.make_model(weighting, **settings)
  trainer = t5x.make_trainer(
    model, batch, parts=parts, mesh=mesh, anchor_dataset_cfg=anchors
  )
  before, after, metrics = t5x.step(trainer, batch)
  kept = after.flax_mutables['weighting']
  return gradient_of(t5x, before, after), kept, metrics


@pytest.mark.parametrize(
  'weighting', [adapt.make(center=True), COUPLED, TOKENS]
)
def test_parts_change_nothing(t5x, weighting):
  whole, kept, metrics = one_step(t5x, weighting, None)
  gradient, kept_in_parts, metrics_in_parts = one_step(t5x, weighting, 4)
  assert_close(gradient, whole, 1e-5)
  assert_close(kept_in_parts, kept, 1e-5)
  assert metrics.keys() == metrics_in_parts.keys()
  for name in metrics:
    np.testing.assert_allclose(
      metrics_in_parts[name], metrics[name], rtol=1e-5, atol=1e-6
    )


def test_devices_change_nothing(t5x):
  one, kept, metrics = one_step(t5x, adapt.make(), None)
  many, kept_on_8, metrics_on_8 = one_step(t5x, adapt.make(), None, mesh=(4, 2))
  assert_close(many, one, 1e-5)
  assert_close(kept_on_8, kept, 1e-5)
  np.testing.assert_allclose(
    metrics_on_8['weighted/loss'], metrics['weighted/loss'], rtol=1e-6
  )


def test_dropout_of_the_look_ahead_is_that_of_the_loss(t5x):
  def update(signals, state):
    count = signals.target_mask_BxT.sum()
    total = (signals.token_loss_BxT * signals.target_mask_BxT).sum()
    weights = signals.mask_E.astype(jnp.float32)
    return weights, state, {'mean_loss': total / count}

  weighting = TOKENS._replace(update=update, batch_coupled=True)
  _, _, metrics = one_step(t5x, weighting, 2, dropout=0.5)
  np.testing.assert_allclose(
    metrics['weights/mean_loss'], metrics['cross_ent_loss'], rtol=1e-5
  )
