"""Decoders compile: for TPU without the host, on a mesh, in bfloat16."""

import dataclasses
import re

from flax import linen as nn
import jax
from jax import export
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
import numpy as np
import pytest

from jaxcurate.models import (
  decoder,
  decoder_layers,
  generate,
  parameters,
  partitioning,
)
from jaxcurate.models import mesh as mesh_lib
from jaxcurate.models.rope import Rope

GEMMA = {
  'qk_norm': True,
  'qkv_bias': True,  # and Qwen's
  'norm_offset': True,
  'post_norms': True,
  'scale_embeddings': True,
  'tied_head': True,
  'window': 3,
  'window_pattern': (True, False),
  'local_rope': Rope(100.0, 'dynamic', 2.0, 4),
}
IDS = np.random.default_rng(0).integers(1, 24, (8, 6)).astype(np.int32)
SEGMENTS = np.sort(np.random.default_rng(1).integers(0, 3, (8, 6))).astype(
  np.int32
)


def _shapes(network):
  return jax.eval_shape(network.init, jax.random.key(0))


def _assert_stays_on_device(exported):
  text = exported.mlir_module()
  assert 'stablehlo.dot_general' in text
  targets = set(re.findall(r'custom_call @(\w+)', text))
  assert not {name for name in targets if 'callback' in name}
  assert not re.search(r'stablehlo\.(infeed|outfeed|send|recv)', text)


@pytest.mark.parametrize('scan', [False, True])
def test_training_lowers_for_tpu(make_decoder_config, scan):
  config = make_decoder_config(
    **GEMMA, scan_layers=scan, remat=scan, dtype='bfloat16', dropout_rate=0.1
  )
  network = decoder.make_network(config)

  def loss(params, ids, segments, key):
    _, prefix = network.extend(params, ids[:1], segments[:1])
    states = network.decode(
      params, None, None, ids, segments, prefix=prefix, dropout_key=key
    )
    pooled = network.pool(params, states, segments, 2)
    return jnp.sum(states @ network.head(params)) + jnp.sum(pooled)

  ids = jax.ShapeDtypeStruct((2, 16), jnp.int32)
  key = jax.eval_shape(lambda: jax.random.key(0))
  lower = export.export(jax.jit(jax.grad(loss)), platforms=['tpu'])
  _assert_stays_on_device(lower(_shapes(network), ids, ids, key))


def test_generation_lowers_for_tpu(make_decoder_config):
  network = decoder.make_network(make_decoder_config(**GEMMA))

  def write(params, ids, segments, key):
    return generate.continue_rows(
      network, params, ids, segments, max_new_tokens=4, stop_ids=(1,),
      temperature=0.5, key=key,
    )  # fmt: skip

  ids = jax.ShapeDtypeStruct((2, 16), jnp.int32)
  key = jax.eval_shape(lambda: jax.random.key(0))
  lower = export.export(jax.jit(write), platforms=['tpu'])
  exported = lower(_shapes(network), ids, ids, key)
  _assert_stays_on_device(exported)
  assert [x.shape for x in exported.out_avals] == [(2, 4), (2,)]


@pytest.mark.parametrize('scan', [False, True])
def test_eight_devices_give_what_one_gives(make_decoder_config, strong, scan):
  mesh = mesh_lib.make_mesh('data=4,model=2')
  config = make_decoder_config(**GEMMA, scan_layers=scan)
  network = decoder.make_network(config)
  params = strong(network)

  @jax.jit
  def run(params, ids, segments):
    _, prefix = network.extend(params, ids[:1], segments[:1])
    states = network.decode(params, None, None, ids, segments, prefix=prefix)
    return states, network.pool(params, states, segments, 2), prefix.key

  expected = run(params, IDS, SEGMENTS)
  shardings = partitioning.param_shardings(mesh, network.logical_axes, params)
  if not scan:
    attention = shardings['decoder']['layers_1']['self_attention']
    assert attention['query']['kernel'].spec == P(None, 'model')
    assert attention['key']['bias'].spec == P('model')
    assert attention['key_norm']['scale'].spec == P(None)
  rows = NamedSharding(mesh, P('data'))
  found = run(
    jax.device_put(params, shardings), *jax.device_put((IDS, SEGMENTS), rows)
  )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5 * abs(b).max()),
    found,
    expected,
  )


def test_initial_trees(make_decoder_config):
  config = make_decoder_config(**GEMMA)
  shapes = _shapes(decoder.make_network(config))
  names = {'/'.join(p): s.shape for p, s in parameters.flatten(shapes).items()}
  layer = 'decoder/layers_1'
  assert names[f'{layer}/self_attention/query/kernel'] == (16, 32)
  assert names[f'{layer}/self_attention/value/bias'] == (16,)
  assert names[f'{layer}/self_attention/query_norm/scale'] == (8,)
  assert names[f'{layer}/post_mlp_layer_norm/scale'] == (16,)
  assert names[f'{layer}/mlp/wi_0/kernel'] == (16, 20)
  # The table and the last norm; 4 kernels, 3 biases, 6 norms, 3 kernels.
  assert len(names) == 2 + 2 * (4 + 3 + 6 + 3)
  plain = _shapes(decoder.make_network(make_decoder_config(scan_layers=True)))
  assert plain['decoder']['logits_dense']['kernel'].shape == (16, 24)
  layer = plain['decoder']['layers']['self_attention']
  assert layer['out']['kernel'].shape == (2, 32, 16)
  assert set(layer) == {'query', 'key', 'value', 'out'}
  offset = decoder.make_network(make_decoder_config(norm_offset=True))
  params = jax.jit(offset.init)(jax.random.key(0))
  assert not params['decoder']['decoder_norm']['scale'].any()  # 1 + 0


def test_bfloat16_activations_keep_float32_parameters(
  make_decoder_config, strong
):
  config = make_decoder_config(**GEMMA)
  network = decoder.make_network(config)
  half = decoder.make_network(dataclasses.replace(config, dtype='bfloat16'))
  dtypes = {leaf.dtype for leaf in jax.tree.leaves(_shapes(half))}
  assert dtypes == {np.dtype('float32')}
  params = strong(network)
  states, prefix = jax.jit(half.extend)(params, IDS, SEGMENTS)
  assert states.dtype == prefix.key.dtype == prefix.value.dtype == jnp.bfloat16
  expected, _ = jax.jit(network.extend)(params, IDS, SEGMENTS)
  real = SEGMENTS > 0
  error = np.linalg.norm((states.astype(np.float32) - expected)[real])
  assert error < 0.1 * np.linalg.norm(expected[real])


def test_head_pool_and_what_is_refused(make_decoder_config, strong):
  network = decoder.make_network(make_decoder_config(embed_dim=2))
  params = strong(network)
  kernel = params['decoder']['logits_dense']['kernel']
  np.testing.assert_array_equal(network.head(params), kernel)
  tied = decoder.make_network(make_decoder_config(tied_head=True))
  table = strong(tied)['token_embedder']['embedding']
  np.testing.assert_array_equal(tied.head(strong(tied)), table.T)
  # Weights 1 and 2 of the first segment; the second is empty.
  states = jnp.array([[[9.0, 9.0], [1.0, 4.0], [1.0, 0.0], [0.0, 2.0]]])
  pooled = network.pool(params, states, jnp.array([[0, 1, 1, 3]]), 3)
  expected = np.array([[0.6, 0.8], [0, 0], [0, 1]])
  np.testing.assert_allclose(pooled[0], expected, atol=1e-6)
  assert network.encode is None and network.prefix_shape == (2, 2, 8)
  ids = jnp.ones((1, 2), jnp.int32)
  with pytest.raises(ValueError, match='no encoder: decode takes None'):
    network.decode(params, jnp.ones((1, 2, 2)), ids, ids, ids)
  _, prefix = jax.eval_shape(tied.extend, _shapes(tied), ids, ids)
  other = decoder.make_network(make_decoder_config(num_kv_heads=1))
  with pytest.raises(ValueError, match=r'expected \(2, 1, 2, 1, 8\)'):
    jax.eval_shape(
      lambda p, f: other.extend(p, ids, ids, prefix=f), _shapes(other), prefix
    )


def test_an_all_padding_row_is_finite(make_decoder_config, strong):
  network = decoder.make_network(make_decoder_config(**GEMMA))
  params = strong(network)
  zeros = jnp.zeros((1, 4), jnp.int32)

  @jax.jit
  @jax.value_and_grad
  def loss(params):
    _, prefix = network.extend(params, zeros, zeros)  # no valid slot either
    states = network.decode(params, None, None, zeros, zeros, prefix=prefix)
    return jnp.sum(states) + jnp.sum(network.pool(params, states, zeros, 2))

  value, gradient = loss(params)
  assert np.isfinite(value)
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_interceptors_can_sow_in_scanned_layers(make_decoder_config, strong):
  config = make_decoder_config(scan_layers=True, dropout_rate=0.5)
  params = strong(decoder.make_network(config))

  def sow(next_call, args, kwargs, context):
    result = next_call(*args, **kwargs)
    if isinstance(context.module, nn.Dropout):
      context.module.sow('intermediates', 'kept', result != 0)
    return result

  @jax.jit
  def run(params, key):
    module = decoder_layers.Decoder(config)
    return module.apply(
      {'params': params}, *map(jnp.asarray, (IDS, SEGMENTS)), None, False,
      rngs={'dropout': key}, mutable=['intermediates'],
    )[1]['intermediates']  # fmt: skip

  with nn.intercept_methods(sow):
    sown = run(params, jax.random.key(0))
  (kept,) = sown['decoder']['layers']['mlp']['Dropout_0']['kept']
  assert kept.shape == (2, 8, 6, 20)  # layer, row, token, hidden
  assert (kept[0] != kept[1]).any() and 0.3 < kept.mean() < 0.7


def test_dropout_only_with_a_key(make_decoder_config, strong):
  network = decoder.make_network(make_decoder_config(dropout_rate=0.5))
  params = strong(network)

  @jax.jit
  def run(params, key):
    return network.decode(params, None, None, IDS, SEGMENTS, dropout_key=key)

  keys = jax.random.split(jax.random.key(0))
  one, again, other = (run(params, keys[i]) for i in (0, 0, 1))
  np.testing.assert_array_equal(one, again)
  plain = run(params, None)
  assert (one != other).any() and (one != plain).any()
