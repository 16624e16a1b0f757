"""Filter-then-Weight in the real step, against one by hand."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcurate.models import decoder
from jaxcurate.ops import segments
from jaxcurate.ops.dense_gradients import DenseGradients
from jaxcurate.train import anchors, forward, optimizers, step
from jaxcurate.train.state import init_state
from jaxcurate.types import AnchorSet, Signals
from jaxcurate.weightings import filter_then_weight

VOCAB, S = 60, 2
NETWORK = decoder.make_network(
  decoder.DecoderConfig(
    vocab_size=VOCAB,
    embed_dim=16,
    num_heads=2,
    num_kv_heads=1,
    head_dim=8,
    mlp_dim=24,
    num_layers=1,
    tied_head=True,
  )
)


def make_batch(seed, rows=4, length=10):
  """Two examples a row, of which one row has only the first."""
  rng = np.random.default_rng(seed)
  ids = np.ones((rows, length), np.int32)
  ids[:, 5:9], ids[:, 9], ids[0, 5:] = 2, 0, 0
  tokens = rng.integers(3, VOCAB // (1 + seed % 2), (rows, length + 1))
  return {
    'decoder_input_tokens': jnp.asarray(tokens[:, :-1] * (ids > 0), jnp.int32),
    'decoder_target_tokens': jnp.asarray(tokens[:, 1:] * (ids > 0), jnp.int32),
    'decoder_segment_ids': jnp.asarray(ids),
  }


def mean_loss(params, batch, weights_E):
  """Mean over real examples of weight times mean loss per target."""
  outputs = forward.forward(NETWORK, params, batch)
  assert outputs.log_prob_BxT is not None
  ids = batch['decoder_segment_ids']
  share_BxT = forward.shares(forward.loss_weights(batch), batch, S)
  on_tokens = segments.segment_values(weights_E.reshape(-1, S), ids)
  total = jnp.sum(-outputs.log_prob_BxT * share_BxT * on_tokens)
  return total / jnp.sum(share_BxT)


@pytest.mark.slow
def test_step_is_the_weighted_loss_by_hand():
  weighting = filter_then_weight.make(keep=0.4, warmup_updates=2)
  optimizer = optimizers.make_optimizer(
    'adamw', schedule='constant', learning_rate=0.01, warmup_steps=0
  )
  train: Any = step.make_train_step(
    NETWORK,
    optimizer,
    weighting,
    max_segments=S,
    z_loss=0.0,
    reduction='examples',
  )
  refresh: Any = anchors.make_refresh_step(
    NETWORK, weighting, max_segments=S, reduction='examples'
  )
  trusted = anchors.stack_anchors(
    AnchorSet('trusted', (make_batch(101), make_batch(103)))
  )
  state = init_state(NETWORK, optimizer, weighting)
  for seed in range(2):
    state, metrics = train(state, make_batch(seed))
  state = dataclasses.replace(state, weighting_state=refresh(state, trusted))
  before = jax.tree.map(jnp.copy, state)
  state, metrics = train(state, make_batch(5))
  assert train._cache_size() == refresh._cache_size() == 1
  assert int(metrics['weights/fallbacks']) == 0  # warm-up is by plan
  assert 0 < int(metrics['weights/kept']) <= 3  # ceil(0.4 * 7)

  # By hand: all gradients one by one, the weights, one weighted loss.
  @jax.jit
  def by_hand(before, batch):
    size = 4 * S
    mask_E = forward.example_sums(jnp.ones((4, 10)), batch, S) > 0
    gradients = jax.vmap(jax.grad(mean_loss), (None, None, 0))(
      before.params, batch, jnp.eye(size)
    )
    assert optimizer.preconditioner is not None
    signals = Signals(
      mask_E=mask_E,
      step=before.step + 1,
      gradients=DenseGradients(
        jax.tree.map(lambda g: g * jnp.sum(mask_E), gradients)
      ),
      preconditioner=optimizer.preconditioner(before.opt_state, before.params),
    )
    weights_E, _, info = weighting.update(signals, before.weighting_state)
    gradient = jax.grad(mean_loss)(before.params, batch, weights_E)
    updates, _ = optimizer.update(gradient, before.opt_state, before.params)
    losses = [
      mean_loss(before.params, make_batch(seed), jnp.ones(size))
      for seed in (101, 103)
    ]
    params = optax.apply_updates(before.params, updates)
    return params, weights_E, info, sum(losses) / 2

  params, weights_E, info, loss = by_hand(before, make_batch(5))
  np.testing.assert_allclose(
    before.weighting_state['forecast']['loss'], loss, rtol=1e-5
  )
  np.testing.assert_allclose(
    metrics['weights/max'], jnp.max(weights_E), rtol=1e-3
  )
  for key, value in info.items():
    np.testing.assert_allclose(metrics[f'weights/{key}'], value, atol=2e-3)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5),
    state.params,
    params,
  )
