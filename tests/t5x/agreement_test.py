"""Inside T5X the loss, weights and gradient are those of our own step."""

import dataclasses

import jax
import numpy as np
import optax
import pytest

from jaxcurate.models import t5
from jaxcurate.train import anchors, optimizers, state, step
from jaxcurate.types import AnchorSet
from jaxcurate.weightings import adapt, greats, tracin, uniform

CONFIG = t5.T5Config(
  vocab_size=64,
  embed_dim=16,
  num_heads=2,
  head_dim=8,
  mlp_dim=32,
  num_encoder_layers=1,
  num_decoder_layers=1,
  activations=('gelu', 'linear'),
)


def own_step(t5x, weighting, params, batch, anchor_rows):
  """(metrics, parameters after one step) of `jaxcurate train`."""
  network = t5.make_network(CONFIG)
  plain = optax.sgd(t5x.RATE)
  optimizer = optimizers.Optimizer(plain.init, plain.update, lambda _: t5x.RATE)
  start = state.init_state(network, optimizer, weighting, params=params)
  if weighting.refresh is not None:
    rows = with_segment_ids(t5x.as_batch(anchor_rows))
    stacked = anchors.stack_anchors(AnchorSet('anchors', (rows,)))
    look = anchors.make_refresh_step(
      network, weighting, max_segments=t5x.SEGMENTS
    )
    start = dataclasses.replace(start, weighting_state=look(start, stacked))
  train_step = step.make_train_step(
    network, optimizer, weighting, max_segments=t5x.SEGMENTS
  )
  after, metrics = train_step(start, batch)
  return jax.device_get(metrics), after.params


def with_segment_ids(batch):
  sides = {'encoder': 'encoder_input', 'decoder': 'decoder_target'}
  ids = {
    f'{side}_segment_ids': (batch[f'{name}_tokens'] > 0).astype(np.int32)
    for side, name in sides.items()
  }
  return {**batch, **ids}


@pytest.mark.parametrize(
  'weighting',
  [
    uniform.make(),
    adapt.make(),
    adapt.make(states='encoder'),
    tracin.make(),
    greats.make(learning_rate=0.1),
  ],
)
def test_one_step_agrees(t5x, weighting):
  batch, rows = t5x.make_batch(5), t5x.some_anchors(4)
  config = None if weighting.refresh is None else t5x.anchors(rows)
  trainer = t5x.make_trainer(
    t5x.make_model(weighting), batch, anchor_dataset_cfg=config
  )
  before, after, theirs = t5x.step(trainer, batch)
  params = jax.tree.map(np.asarray, dict(before.state_dict()['target']))
  ours, updated = own_step(t5x, weighting, params, batch, rows)
  same = {
    'cross_ent_loss': 'loss',
    'weighted/cross_ent_loss': 'weighted_loss',
    **{f'weights/{name}': f'weights/{name}' for name in STATISTICS},
  }
  for name, own in same.items():
    np.testing.assert_allclose(
      theirs[name], ours[own], rtol=1e-5, atol=1e-6, err_msg=name
    )
  gradients = [
    jax.tree.map(lambda a, b: (a - np.asarray(b)) / t5x.RATE, params, new)
    for new in (dict(after.state_dict()['target']), updated)
  ]
  norms = [optax.global_norm(gradient) for gradient in gradients]
  np.testing.assert_allclose(norms[0], norms[1], rtol=1e-5)
  np.testing.assert_allclose(norms[1], ours['gradient_norm'], rtol=1e-5)
  difference = optax.global_norm(jax.tree.map(np.subtract, *gradients))
  assert difference <= 1e-5 * norms[0]


STATISTICS = ('mean', 'std', 'min', 'max')
