"""Adapters: where they go, what they add, and that merging says the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.models import decoder, parameters, t5
from jaxcurate.ops import lora

ALPHA = 6.0


def t5_network(**changes):
  fields = {
    'vocab_size': 24,
    'embed_dim': 12,
    'num_heads': 2,
    'head_dim': 6,
    'mlp_dim': 16,
    'num_encoder_layers': 1,
    'num_decoder_layers': 1,
  }
  return t5.make_network(t5.T5Config(**{**fields, **changes}))


def decoder_network(**changes):
  fields = {
    'vocab_size': 24,
    'embed_dim': 12,
    'num_heads': 2,
    'num_kv_heads': 1,
    'head_dim': 6,
    'mlp_dim': 16,
    'num_layers': 2,
  }
  return decoder.make_network(decoder.DecoderConfig(**{**fields, **changes}))


def fresh(network):
  return jax.jit(network.init)(jax.random.key(0))


def random_adapters(params, rank=3, seed=0, **settings):
  """Adapters whose B is not 0, as after training."""
  adapters = lora.init(jax.random.key(seed), params, rank=rank, **settings)
  leaves, structure = jax.tree.flatten(adapters)
  keys = jax.random.split(jax.random.key(seed + 1), len(leaves))
  return structure.unflatten(
    [
      0.3 * jax.random.normal(key, leaf.shape)
      for key, leaf in zip(keys, leaves, strict=True)
    ]
  )


def batch(length=9, rows=2):
  rng = np.random.default_rng(0)
  ids = rng.integers(3, 24, (rows, length)).astype(np.int32)
  segments = np.ones((rows, length), np.int32)
  segments[0, 5:] = 2
  return jnp.asarray(ids), jnp.asarray(segments)


def states(network, params):
  ids, segments = batch()

  @jax.jit
  def run(params):
    encoded = None
    if network.encode is not None:
      encoded = network.encode(params, ids, segments)
    encoder_segments = None if encoded is None else segments
    return network.decode(params, encoded, encoder_segments, ids, segments)

  return run(params)


NETWORKS = {
  't5': t5_network,
  'decoder scanned': lambda: decoder_network(scan_layers=True),
}


@pytest.fixture(params=NETWORKS)
def network(request):
  return NETWORKS[request.param]()


def test_by_hand():
  params = {'query': {'kernel': jnp.array([[1.0, 0.0], [0.0, 1.0]])}}
  adapters = {
    'query': {
      'lora_a': jnp.array([[1.0], [2.0]]),
      'lora_b': jnp.array([[3.0, 5.0]]),
    }
  }
  merged = lora.merge(params, adapters, alpha=2.0)
  # rank 1: W + 2 * A B
  expected = [[1 + 2 * 3, 2 * 5], [2 * 2 * 3, 1 + 2 * 2 * 5]]
  assert merged['query']['kernel'].tolist() == expected
  attached = lora.attach(params, adapters, alpha=2.0)['query']
  assert attached['lora_b'].tolist() == [[6.0, 10.0]]
  assert attached['kernel'] is params['query']['kernel']


def test_a_fresh_adapter_changes_nothing():
  network = decoder_network()
  params = fresh(network)
  adapters = lora.init(jax.random.key(1), params, rank=2)
  attached = lora.attach(params, adapters, alpha=ALPHA)
  np.testing.assert_array_equal(
    states(network, attached), states(network, params)
  )


def test_attached_is_merged(network):
  params = fresh(network)
  adapters = random_adapters(params)
  attached = states(network, lora.attach(params, adapters, alpha=ALPHA))
  merged = states(network, lora.merge(params, adapters, alpha=ALPHA))
  assert float(jnp.abs(merged - states(network, params)).max()) > 0.1
  np.testing.assert_allclose(attached, merged, atol=2e-5)


def test_gradients_are_those_of_the_merged_network(network):
  params = fresh(network)
  adapters = random_adapters(params)

  def loss(adapters, place):
    found = states(network, place(params, adapters, alpha=ALPHA))
    return jnp.sum(jnp.sin(found))

  attached, merged = (
    jax.jit(jax.grad(loss), static_argnums=1)(adapters, place)
    for place in (lora.attach, lora.merge)
  )
  for one, other in zip(*map(jax.tree.leaves, (attached, merged)), strict=True):
    scale = float(jnp.abs(other).max())
    assert scale > 0
    np.testing.assert_allclose(one, other, atol=2e-5 * scale)


def test_float64_reference():
  params = fresh(decoder_network())
  adapters = random_adapters(params)
  merged = lora.merge(params, adapters, alpha=ALPHA)
  before, own, after = (
    parameters.flatten(tree) for tree in (params, adapters, merged)
  )
  assert set(before) == set(after)
  for path, kernel in before.items():
    expected = np.asarray(kernel, np.float64)
    if (*path[:-1], 'lora_a') in own:
      a, b = (np.float64(own[*path[:-1], name]) for name in (lora.A, lora.B))
      expected = expected + ALPHA / 3 * a @ b
    np.testing.assert_allclose(after[path], expected, atol=1e-5)


@pytest.mark.parametrize('make', [t5_network, decoder_network])
def test_scanned_layers_hold_the_same_adapters(make):
  params = fresh(make())
  adapters = random_adapters(params)
  stacked = lora.merge(
    parameters.stack_layers(params),
    parameters.stack_layers(adapters),
    alpha=ALPHA,
  )
  expected = lora.merge(params, adapters, alpha=ALPHA)
  jax.tree.map(
    lambda one, other: np.testing.assert_allclose(one, other, atol=1e-6),
    parameters.unstack_layers(stacked),
    expected,
  )


def test_a_few_decoder_positions_see_the_adapters():
  # Their keys and values are never formed: the kernels are folded instead.
  network = t5_network()
  params = fresh(network)
  adapters = random_adapters(params)
  ids, segments = batch(length=40)

  @jax.jit
  def decode(params):
    encoded = network.encode(params, ids, segments)
    one = (ids[:, :1], segments[:, :1])
    return network.decode(params, encoded, segments, *one)

  attached = decode(lora.attach(params, adapters, alpha=ALPHA))
  merged = decode(lora.merge(params, adapters, alpha=ALPHA))
  np.testing.assert_allclose(attached, merged, atol=2e-5)


def test_targets_by_name_and_by_path():
  params = fresh(t5_network())

  def modules(targets):
    made = lora.init(jax.random.key(0), params, rank=1, targets=targets)
    return {'/'.join(path[:-1]) for path in parameters.flatten(made)}

  assert len(modules(['query'])) == 3  # encoder, decoder and across
  assert modules([r'encoder/layers_0/.*/(key|wo)']) == {
    'encoder/layers_0/attention/key',
    'encoder/layers_0/mlp/wo',
  }
  assert len(modules(lora.TARGETS)) == 12
  assert len(modules(['query', 'w.*'])) == 3 + 4


def test_first_values():
  shape = {'layers': {'query': {'kernel': jnp.zeros((2, 400, 7))}}}
  own = lora.init(jax.random.key(0), shape, rank=50, targets=['query'])
  a, b = (np.asarray(own['layers']['query'][n]) for n in (lora.A, lora.B))
  assert a.shape == (2, 400, 50)
  assert b.shape == (2, 50, 7)
  assert not b.any()
  bound = 1 / np.sqrt(400)
  assert np.abs(a).max() <= bound
  # Uniform: variance bound^2 / 3, whose relative error is sqrt(0.8 / n).
  np.testing.assert_allclose(a.var() / bound**2, 1 / 3, rtol=4 * 0.9 / 200)
  assert not np.array_equal(a[0], a[1])


def test_dropout_drops_inputs_of_a_and_keeps_the_mean():
  params = {'query': {'kernel': jnp.zeros((2000, 1))}}
  adapters = {
    'query': {'lora_a': jnp.ones((2000, 3)), 'lora_b': jnp.ones((3, 1))}
  }
  dropped = lora.attach(
    params,
    adapters,
    alpha=3.0,
    dropout_rate=0.25,
    dropout_key=jax.random.key(0),
  )['query']['lora_a']
  kept = np.asarray(dropped[:, 0] > 0)
  np.testing.assert_allclose(dropped[kept], 4 / 3, rtol=1e-6)
  assert not dropped[~kept].any()
  assert abs(kept.mean() - 0.75) < 4 * np.sqrt(0.75 * 0.25 / 2000)


def test_wrong_settings_are_named():
  params = fresh(decoder_network())
  key = jax.random.key(0)
  with pytest.raises(ValueError, match='rank is 0, expected at least 1'):
    lora.init(key, params, rank=0)
  with pytest.raises(ValueError, match=r"named \['q_proj'\]; there are key"):
    lora.init(key, params, targets=['query', 'q_proj'])
  with pytest.raises(ValueError, match=r'no matrix is named \[\]'):
    lora.init(key, params, targets=[])
  odd = {'query': {'kernel': jnp.zeros((2, 3, 4))}}
  with pytest.raises(ValueError, match=r'query: the kernel has shape \(2, 3'):
    lora.init(key, odd, targets=['query'])


def test_adapters_of_another_network_are_refused():
  params = fresh(decoder_network())
  adapters = random_adapters(params)
  wider = fresh(decoder_network(embed_dim=16))
  with pytest.raises(ValueError, match='of another network'):
    lora.attach(wider, adapters, alpha=1.0)
  shorter = fresh(decoder_network(num_layers=1))
  with pytest.raises(ValueError, match=r'layers_1.*no kernel there'):
    lora.merge(shorter, adapters, alpha=1.0)
