"""The weighted step on a decoder-only network and causal rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.data import packing
from jaxcurate.models import decoder
from jaxcurate.models.decoder_config import DecoderConfig
from jaxcurate.ops import pool
from jaxcurate.train import anchors, optimizers
from jaxcurate.train import forward as forwards
from jaxcurate.train import step as step_lib
from jaxcurate.train.state import init_state
from jaxcurate.types import AnchorSet
from jaxcurate.weightings import adapt, uniform

SEGMENTS = 2


@pytest.fixture(scope='module')
def network():
  return decoder.make_network(
    DecoderConfig(
      vocab_size=20,
      embed_dim=16,
      num_heads=2,
      num_kv_heads=1,
      head_dim=8,
      mlp_dim=24,
      num_layers=1,
    )
  )


@pytest.fixture(scope='module')
def batch():
  rng = np.random.default_rng(0)
  examples = []
  for size in (5, 3, 8, 2):
    text = rng.integers(1, 20, size + 1).astype(np.int32)
    examples.append({'decoder_inputs': text[:-1], 'decoder_targets': text[1:]})
  made = packing.pack(
    examples, encoder_length=0, decoder_length=8, max_segments=SEGMENTS
  ).batch
  return jax.tree.map(jnp.asarray, made)


def test_loss_is_the_mean_over_targets(network, batch, draw_params):
  params = draw_params(network)
  states = jax.jit(network.decode)(
    params, None, None, batch['decoder_input_tokens'],
    batch['decoder_segment_ids'],
  )  # fmt: skip
  logits = np.asarray(states @ network.head(params), np.float64)
  normaliser = np.log(np.exp(logits).sum(-1))
  targets = np.take_along_axis(
    logits, batch['decoder_target_tokens'][..., None], axis=-1
  )[..., 0]
  real = batch['decoder_segment_ids'] > 0
  expected = ((normaliser - targets) * real).sum() / real.sum()
  optimizer = optimizers.make_optimizer('adamw', schedule='constant')
  step = step_lib.make_train_step(
    network, optimizer, uniform.make(), max_segments=SEGMENTS, z_loss=0.0
  )
  state = init_state(network, optimizer, uniform.make(), params=params)
  _, metrics = step(state, batch)
  np.testing.assert_allclose(metrics['loss'], expected, rtol=1e-5)
  assert metrics['tokens'] == real.sum() and metrics['examples'] == 4


def test_adapt_weighs_by_causal_states(network, batch, draw_params):
  params = draw_params(network, 1)

  @jax.jit
  def look(params, batch):
    outputs = forwards.forward(network, params, batch)
    signals = forwards.make_signals(
      outputs, frozenset({'decoder_pooled'}), batch, SEGMENTS, jnp.int32(1)
    )
    pooled = pool.position_weighted_pool(
      outputs.decoder_states_BxTxD, batch['decoder_segment_ids'], SEGMENTS
    )
    return signals, pooled.reshape(-1, network.width)

  signals, pooled = look(params, batch)
  np.testing.assert_allclose(signals.decoder_pooled_ExD, pooled)
  weighting = adapt.make()
  refresh = anchors.make_refresh_step(network, weighting, max_segments=SEGMENTS)
  optimizer = optimizers.make_optimizer('adamw', schedule='constant')
  start = init_state(network, optimizer, weighting, params=params)
  state = refresh(start, anchors.stack_anchors(AnchorSet('a', (batch,))))
  weights, _, _ = jax.jit(weighting.update)(signals, state)
  assert ((weights > 0.26) & (weights < 0.74))[signals.mask_E].all()


def test_encoder_states_are_refused_where_there_is_no_encoder(network):
  with pytest.raises(ValueError, match="no encoder; set states = 'decoder'"):
    forwards.check_needs(adapt.make(states='encoder'), network)
