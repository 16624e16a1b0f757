"""Products with the gradients of targets, against those gradients."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.models import decoder, t5
from jaxcurate.train import adapters, forward, optimizers, step
from jaxcurate.train.state import init_state
from jaxcurate.train.token_gradients import TangentGradients
from jaxcurate.types import TokenGradients
from jaxcurate.weightings import filter_then_weight

VOCAB = 30
DECODER = decoder.make_network(
  decoder.DecoderConfig(
    vocab_size=VOCAB, embed_dim=8, num_heads=2, num_kv_heads=1, head_dim=4,
    mlp_dim=12, num_layers=1, tied_head=True,
  )
)  # fmt: skip


def t5_network():
  return t5.make_network(
    t5.T5Config(
      vocab_size=VOCAB, embed_dim=8, num_heads=2, head_dim=4, mlp_dim=12,
      num_encoder_layers=1, num_decoder_layers=1,
      activations=('gelu', 'linear'),
    )
  )  # fmt: skip


def lora_network():
  base = DECODER.init(jax.random.key(7))
  settings = adapters.LoraSettings(rank=2, alpha=4.0, dropout_rate=0.5)
  return adapters.bind(DECODER, base, settings)


def make_batch(network, seed=0, rows=4, length=6):
  """Rows of one or two examples."""
  rng = np.random.default_rng(seed)
  ids = np.ones((rows, length), np.int32)
  ids[1::2, 3:5], ids[1::2, 5] = 2, 0
  tokens = rng.integers(3, VOCAB, (rows, length + 1)).astype(np.int32)
  batch = {
    'decoder_input_tokens': tokens[:, :-1] * (ids > 0),
    'decoder_target_tokens': tokens[:, 1:] * (ids > 0),
    'decoder_segment_ids': ids,
  }
  if network.encode is not None:
    batch['encoder_input_tokens'] = tokens[:, :0:-1] * (ids > 0)
    batch['encoder_segment_ids'] = ids
  return jax.tree.map(jnp.asarray, batch)


def random_like(params, seed):
  leaves, tree = jax.tree.flatten(params)
  keys = jax.random.split(jax.random.key(seed), len(leaves))
  return tree.unflatten(
    [jax.random.normal(k, x.shape) for k, x in zip(keys, leaves)]
  )


@pytest.mark.parametrize('make', [t5_network, lora_network])
def test_against_the_jacobian(make):
  network = make()
  params = random_like(jax.eval_shape(network.init, jax.random.key(0)), 1)
  params = jax.tree.map(lambda p: 0.3 * p, params)
  direction, batch = random_like(params, 2), make_batch(network)
  key = jax.random.key(3) if make is lora_network else None  # of dropout

  @jax.jit
  def both(params, direction, batch, key):
    def losses(params):
      found = forward.forward(network, params, batch, dropout_key=key)
      assert found.log_prob_BxT is not None
      return -found.log_prob_BxT

    each = jax.jacrev(losses)(params)
    slow = jax.tree.map(
      lambda g, d: jnp.sum(g * d, axis=range(2, g.ndim)), each, direction
    )
    fast = TangentGradients(params, batch, key, network, chunk_tokens=8)
    assert isinstance(fast, TokenGradients)
    return fast.dot(direction), jax.tree.reduce(jnp.add, slow)

  fast, slow = both(params, direction, batch, key)
  real = np.asarray(batch['decoder_segment_ids']) > 0
  size = np.abs(slow[real]).max()
  assert size > 0.1
  np.testing.assert_allclose(fast[real], slow[real], atol=1e-5 * size)


def test_step_keeps_the_best_targets_whole_or_in_parts():
  weighting = filter_then_weight.make(
    level='tokens', keep=0.3, optimizer_aware=False
  )
  optimizer = optimizers.make_optimizer(
    'adamw', schedule='constant', learning_rate=0.01, warmup_steps=0
  )
  start = init_state(DECODER, optimizer, weighting)
  seen = {**start.weighting_state, 'target': random_like(start.params, 4)}
  batch, found = make_batch(DECODER), []
  for accumulate in (1, 2):
    train: Any = step.make_train_step(
      DECODER, optimizer, weighting, max_segments=2, accumulate=accumulate
    )
    state = dataclasses.replace(start, weighting_state=seen)
    state, metrics = train(jax.tree.map(jnp.copy, state), batch)
    assert int(metrics['weights/kept']) == 7  # ceil(0.3 * 22)
    np.testing.assert_allclose(metrics['weights/max'], 22 / 7, rtol=1e-6)
    assert int(metrics['weights/fallbacks']) == 0
    found.append(state.params)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), *found)
