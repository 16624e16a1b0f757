"""Factorised per-example gradients against one gradient per example."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.models import decoder, t5
from jaxcurate.ops import flops, segments
from jaxcurate.ops.dense_gradients import DenseGradients
from jaxcurate.train import adapters, forward, optimizers
from jaxcurate.train.gradient_settings import GradientSettings
from jaxcurate.train.gradients import make_gradient_fn
from jaxcurate.train.state import TrainState
from jaxcurate.types import Weighting

VOCAB, S, Z_LOSS = 300, 2, 0.01

LLAMA = decoder.DecoderConfig(
  vocab_size=VOCAB, embed_dim=16, num_heads=2, num_kv_heads=1, head_dim=8,
  mlp_dim=24, num_layers=1, qkv_bias=True, qk_norm=True, tied_head=True,
)  # fmt: skip
T5 = t5.T5Config(
  vocab_size=VOCAB, embed_dim=16, num_heads=2, head_dim=8, mlp_dim=24,
  num_encoder_layers=1, num_decoder_layers=2, activations=('gelu', 'linear'),
)  # fmt: skip
NETWORKS = {
  'scanned decoder, own head, remat': lambda: decoder.make_network(
    dataclasses.replace(
      LLAMA, num_layers=2, tied_head=False, scan_layers=True, remat=True
    )
  ),
  'scanned t5, tied': lambda: t5.make_network(
    dataclasses.replace(
      T5, tied_head=True, scale_decoder_outputs=True, scan_layers=True
    )
  ),
}


def make_batch(network, rows=3, length=10):
  rng = np.random.default_rng(0)
  ids = np.zeros((rows, length), np.int32)
  ids[0, :4], ids[0, 4:9], ids[1, :7], ids[2, :3], ids[2, 3:] = 1, 2, 1, 1, 2
  tokens = rng.integers(3, VOCAB, ids.shape).astype(np.int32) % 40 + 1
  batch = {
    'decoder_input_tokens': tokens * (ids > 0),
    'decoder_target_tokens': np.roll(tokens, -1, 1) * (ids > 0),
    'decoder_segment_ids': ids,
    'decoder_loss_weights': ((ids > 0) & (rng.random(ids.shape) < 0.8)) * 1.0,
  }
  if network.encode is not None:
    batch['encoder_segment_ids'] = np.pad(ids, ((0, 0), (0, 2)))
    batch['encoder_input_tokens'] = np.pad(
      tokens[::-1], ((0, 0), (0, 2)), constant_values=7
    ) * (batch['encoder_segment_ids'] > 0)
  return jax.tree.map(jnp.asarray, batch)


def slow_gradients(network, params, batch, reduction):
  """One gradient after another, scaled as `types.ExampleGradients` says."""
  share = forward.loss_weights(batch)
  if reduction == 'examples':
    share = forward.shares(share, batch, S)
  real = forward.example_sums(jnp.ones_like(share), batch, S) > 0
  unit = real.sum() / share.sum()

  @jax.jit
  def gradient(params, chosen):
    def loss(params):
      out = forward.forward(network, params, batch)
      value = -out.log_prob_BxT + Z_LOSS * out.log_normaliser_BxT**2
      own = segments.segment_values(
        chosen.reshape(-1, S), batch['decoder_segment_ids']
      )
      return jnp.sum(own * share * value) * unit

    return jax.grad(loss)(params)

  each = [gradient(params, one) for one in jnp.eye(len(real))]
  return DenseGradients(jax.tree.map(lambda *g: jnp.stack(g), *each)), unit


def spy(found):
  """A weighting that lets out what it is shown."""

  def update(signals, state):
    size = len(signals.mask_E)
    scaled, dots = signals.gradients.products(
      [found['direction']], found['scale']
    )
    shown = {'scaled': scaled, 'dot': dots[0]}
    if found.get('apart'):
      shown['gram'] = signals.gradients.gram()
      shown['alone'] = signals.gradients.dot(found['direction'])
    return jnp.arange(1.0, size + 1), shown, {}

  return Weighting(lambda shapes: None, update, needs=frozenset({'gradients'}))


def random_like(params, seed):
  leaves, tree = jax.tree.flatten(params)
  keys = jax.random.split(jax.random.key(seed), len(leaves))
  return tree.unflatten(
    [jax.random.normal(k, x.shape) for k, x in zip(keys, leaves)]
  )


def assert_same(shown, dense, found, atol=1e-5):
  expected = {'scaled': dense.gram(found['scale']), 'gram': dense.gram()}
  for name in expected.keys() & shown.keys():
    size = np.sqrt(np.outer(*[np.diag(expected[name])] * 2)) + 1e-30
    assert np.abs((shown[name] - expected[name]) / size).max() < atol
  dots = dense.dot(found['direction'])
  for name in {'dot', 'alone'} & shown.keys():
    assert np.abs(shown[name] - dots).max() < atol * np.abs(dots).max()


def run(
  network, params, batch, found, reduction='tokens', accumulate=1,
  way='keep_factors', **approximation,
):  # fmt: skip
  function = make_gradient_fn(
    network,
    spy(found),
    optimizers.make_optimizer(),
    max_segments=S,
    z_loss=Z_LOSS,
    reduction=reduction,
    accumulate=accumulate,
    chunk_tokens=None,
    example_gradients=GradientSettings(way, **approximation),
  )

  def step(params):
    return function(TrainState(jnp.int32(0), params, (), None), batch, None)

  if accumulate == 1:  # counted, then run: traced twice, as by the loop
    assert flops.count_flops(step, params) > 0
  return jax.jit(step)(params)


@functools.cache
def known(name):
  """A network of `NETWORKS` with all gradients one by one."""
  network = NETWORKS[name]()
  params = jax.tree.map(
    lambda x: 1.5 * x, jax.jit(network.init)(jax.random.key(0))
  )
  batch = make_batch(network)
  reduction = 'examples' if 'remat' in name else 'tokens'
  dense, unit = slow_gradients(network, params, batch, reduction)
  found = {
    'scale': jax.tree.map(jnp.abs, random_like(params, 1)),
    'direction': random_like(params, 2),
  }
  return network, params, batch, reduction, dense, unit, found


@pytest.mark.slow
@pytest.mark.parametrize('way', ['keep_factors', 'second_pass'])
@pytest.mark.parametrize('name', NETWORKS)
def test_products_and_weighted_gradient(name, way):
  network, params, batch, reduction, dense, unit, found = known(name)
  # One of them in microbatches of one row.
  accumulate = 3 if 'remat' in name else 1
  found = found | {'apart': way == 'keep_factors' or accumulate > 1}
  result = run(network, params, batch, found, reduction, accumulate, way)
  assert_same(result.weighed.weighting_state, dense, found)
  weights = result.weighed.weights
  expected = jax.tree.map(
    lambda g: jnp.einsum('e,e...->...', weights, g) / unit, dense.gradients
  )
  norm = optimizers.optax.global_norm(expected)
  error = optimizers.optax.global_norm(
    jax.tree.map(jnp.subtract, result.gradients, expected)
  )
  assert error < 1e-5 * norm


@pytest.mark.slow
def test_adapters():
  config = dataclasses.replace(LLAMA, dropout_rate=0.0, scan_layers=True)
  whole = decoder.make_network(config)
  base = jax.tree.map(lambda x: 1.5 * x, whole.init(jax.random.key(0)))
  network = adapters.bind(
    whole, base, adapters.LoraSettings(rank=2, targets=['query', 'wo'])
  )
  params = random_like(network.init(jax.random.key(1)), 3)
  params = jax.tree.map(lambda x: 0.3 * x, params)
  batch = make_batch(network)
  dense, _ = slow_gradients(network, params, batch, 'tokens')
  found = {
    'scale': jax.tree.map(jnp.abs, random_like(params, 1)),
    'direction': random_like(params, 2),
  }
  near = []
  for way in ('keep_factors', 'second_pass'):
    result = run(network, params, batch, found, way=way)
    assert_same(result.weighed.weighting_state, dense, found)
    result = run(
      network, params, batch, found, way=way, projection=16, rank_one=True
    )
    near.append(result.weighed.weighting_state)
  # Both ways project alike, and what is linear stays exact.
  exact = dense.gram(found['scale'])
  np.testing.assert_allclose(near[0]['scaled'], near[1]['scaled'], rtol=1e-4)
  np.testing.assert_allclose(
    near[1]['dot'], dense.dot(found['direction']), rtol=1e-3, atol=1e-4
  )
  cosine = jnp.vdot(near[0]['scaled'], exact) / (
    jnp.linalg.norm(near[0]['scaled']) * jnp.linalg.norm(exact)
  )
  assert 0.5 < cosine < 0.999


def test_what_cannot_be_tapped_is_named(tiny):
  network, batch = tiny.make_network(), tiny.make_batch(0)
  params = network.init(jax.random.key(0))
  with pytest.raises(ValueError, match='3 parameters let nothing out: decode'):
    run(network, params, batch, {})
