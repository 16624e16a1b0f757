import itertools
import re

import jax
from jax import export
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate import types
from jaxcurate.models import t5

ROWS = [[3, 4, 5, 6, 7], [8, 9], [10, 11, 12]]
TARGETS = [[13, 14], [15], [16, 17, 18]]


def _pad(rows, length):
  padded = np.zeros((len(rows), length), np.int32)
  for padded_row, row in zip(padded, rows, strict=True):
    padded_row[: len(row)] = row
  return jnp.asarray(padded)


def _joined(rows, length):
  return _pad([list(itertools.chain(*rows))], length)


def _segments(rows, length):
  ids = np.repeat(np.arange(1, 1 + len(rows)), list(map(len, rows)))
  return _pad([ids], length)


@pytest.mark.parametrize('target_length', [6, 12])
def test_packed_rows_equal_rows_of_their_own(
  make_config, strong, target_length
):
  # 6 positions fold cross-attention into the query, 12 do not (head_dim 8).
  network = t5.make_network(make_config(scale_decoder_outputs=True))
  params = strong(network)

  @jax.jit
  def run(params, tokens, segments, targets, target_segments):
    encoded = network.encode(params, tokens, segments)
    states = network.decode(params, encoded, segments, targets, target_segments)
    return encoded, states @ network.head(params)

  tokens, targets = _pad(ROWS, 12), _pad(TARGETS, target_length)
  encoded, logits = run(
    params, tokens, jnp.sign(tokens), targets, jnp.sign(targets)
  )
  packed, packed_logits = run(
    params,
    _joined(ROWS, 12),
    _segments(ROWS, 12),
    _joined(TARGETS, target_length),
    _segments(TARGETS, target_length),
  )
  assert np.isfinite(packed).all() and np.isfinite(packed_logits).all()
  for whole, parts, rows in (
    (packed, encoded, ROWS),
    (packed_logits, logits, TARGETS),
  ):
    alone = np.concatenate(
      [part[: len(row)] for part, row in zip(parts, rows, strict=True)]
    )
    np.testing.assert_allclose(
      whole[0, : len(alone)], alone, atol=2e-5 * abs(alone).max()
    )


def test_an_all_padding_row_is_finite(make_config, strong):
  network = t5.make_network(make_config())
  params = strong(network)
  zeros = jnp.zeros((1, 4), jnp.int32)

  @jax.jit
  @jax.value_and_grad
  def loss(params):
    encoded = network.encode(params, zeros, zeros)
    # The decoder's segment 3 has no encoder token at all.
    states = network.decode(params, encoded, zeros, zeros, zeros + 3)
    pooled = network.pool(params, encoded, zeros, 2)
    return jnp.sum(states) + jnp.sum(pooled)

  value, gradient = loss(params)
  assert np.isfinite(value)
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_pool_by_hand(make_config):
  network = t5.make_network(make_config(embed_dim=2, num_decoder_layers=0))
  states = jnp.array([[[1.0, 0.0], [5.0, 8.0], [0.0, 2.0], [9.0, 9.0]]])
  segments = jnp.array([[1, 1, 3, 0]])
  pooled = network.pool({}, states, segments, 3)
  expected = [[[0.6, 0.8], [0, 0], [0, 1]]]
  np.testing.assert_allclose(pooled, expected, atol=1e-6)
  network = t5.make_network(
    make_config(embed_dim=2, num_decoder_layers=0, projection_dim=1)
  )
  params = {'projection': {'kernel': jnp.array([[1.0], [-2.0]])}}
  pooled = network.pool(params, states, segments, 3)
  np.testing.assert_allclose(pooled, [[[-1], [0], [-1]]], atol=1e-6)


def test_an_encoder_alone(make_config):
  network = t5.make_network(make_config(num_decoder_layers=0))
  params = jax.eval_shape(network.init, jax.random.key(0))
  assert sorted(params) == ['encoder', 'token_embedder']
  ids = jnp.ones((1, 3), jnp.int32)
  with pytest.raises(ValueError, match='encoder only'):
    network.head(params)
  with pytest.raises(ValueError, match='encoder only'):
    network.decode(params, jnp.ones((1, 3, 16)), ids, ids, ids)


def test_head_and_scaling(make_config, strong):
  tied = t5.make_network(
    make_config(tied_head=True, scale_decoder_outputs=True)
  )
  plain = t5.make_network(make_config(tied_head=True))
  params = strong(tied)
  assert 'logits_dense' not in params['decoder']
  table = params['token_embedder']['embedding']
  np.testing.assert_array_equal(tied.head(params), table.T)
  ids = jnp.array([[1, 2]])
  encoded = jnp.ones((1, 2, 16))
  scaled, states = jax.jit(
    lambda p: (
      tied.decode(p, encoded, ids, ids, ids),
      plain.decode(p, encoded, ids, ids, ids),
    )
  )(params)
  np.testing.assert_allclose(scaled * 4, states, rtol=1e-5)  # sqrt(16)


def test_bfloat16_activations_keep_float32_parameters(make_config, strong):
  network = t5.make_network(make_config(dtype='bfloat16'))
  shapes = jax.eval_shape(network.init, jax.random.key(0))
  assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {
    np.dtype('float32')
  }
  ids = jnp.array([[3, 4, 5]])
  encoded = jax.eval_shape(network.encode, shapes, ids, ids)
  states = jax.eval_shape(network.decode, shapes, encoded, ids, ids, ids)
  assert (encoded.dtype, states.dtype) == (jnp.bfloat16, jnp.bfloat16)


@pytest.mark.parametrize('scan', [False, True])
def test_lowers_for_tpu_without_callbacks(make_config, scan):
  config = make_config(scan_layers=scan, remat=scan, dtype='bfloat16')
  network = t5.make_network(config)

  def loss(params, ids, key):
    encoded = network.encode(params, ids, ids, dropout_key=key)
    states = network.decode(params, encoded, ids, ids, ids, dropout_key=key)
    pooled = network.pool(params, encoded, ids, 2)
    return jnp.sum(states @ network.head(params)) + jnp.sum(pooled)

  exported = export.export(jax.jit(jax.grad(loss)), platforms=['tpu'])(
    jax.eval_shape(network.init, jax.random.key(0)),
    jax.ShapeDtypeStruct((2, 16), jnp.int32),
    jax.eval_shape(lambda: jax.random.key(0)),
  )
  text = exported.mlir_module()
  targets = set(re.findall(r'custom_call @(\w+)', text))
  assert not {name for name in targets if 'callback' in name}
  assert not re.search(r'stablehlo\.(infeed|outfeed|send|recv)', text)


def test_a_config_that_cannot_be(make_config):
  with pytest.raises(ValueError, match=r'activations.*swish.*relu'):
    make_config(activations=('swish',))
  with pytest.raises(ValueError, match=r"'float16'.*'bfloat16'"):
    make_config(dtype='float16')


@pytest.mark.parametrize('scan', [False, True])
def test_a_prefix_in_the_decoder(make_config, strong, scan):
  config = make_config(num_decoder_layers=2, scan_layers=scan)
  network = t5.make_network(config)
  params = strong(network)
  assert network.prefix_shape == (2, 2, 8) and network.extend is None
  tokens, targets = _pad(ROWS, 5), _pad(TARGETS, 3)
  segments, target_segments = jnp.sign(tokens), jnp.sign(targets)

  @jax.jit
  def run(params, prefix):
    encoded = network.encode(params, tokens, segments)
    return network.decode(
      params, encoded, segments, targets, target_segments, prefix=prefix
    )

  def slots(seed, rows, length, on):
    draw = np.random.default_rng(seed).normal(size=(2, 2, rows, length, 2, 8))
    mask = jnp.broadcast_to(jnp.asarray(on, bool), (rows, length))
    return types.Prefix(*jnp.asarray(draw, jnp.float32), mask)

  real = np.asarray(target_segments > 0)
  plain = run(params, None)
  # Empty slots are as no slots; one row serves all; the order is free.
  found = run(params, slots(0, 3, 2, [False, False]))
  np.testing.assert_allclose(found[real], plain[real], atol=2e-5)
  one = slots(1, 1, 3, [True, False, True])
  once = run(params, one)
  assert (abs(once - plain)[real].max(-1) > 1e-2).all()
  each = jax.tree.map(lambda x: jnp.repeat(x, 3, axis=x.ndim > 2), one)
  np.testing.assert_allclose(run(params, each), once, atol=2e-5)
  turned = jax.tree.map(lambda x: x[:, :, ::-1], (one.key, one.value))
  found = run(params, types.Prefix(*turned, one.mask[:, ::-1]))
  np.testing.assert_allclose(found, once, atol=2e-5)


def test_a_prefix_of_another_network(make_config, strong):
  network = t5.make_network(make_config())
  params = strong(network)
  ids, encoded = jnp.ones((3, 2), jnp.int32), jnp.ones((3, 2, 16))

  def decode(layers, rows):
    key = jnp.zeros((layers, rows, 4, 2, 8))
    prefix = types.Prefix(key, key, jnp.ones((rows, 4), bool))
    network.decode(params, encoded, ids, ids, ids, prefix=prefix)

  with pytest.raises(
    ValueError, match=r'keys \(2, 1, 4.*expected \(1, 1, 4, 2'
  ):
    decode(2, 1)
  with pytest.raises(ValueError, match="2 rows, expected 1 or the batch's 3"):
    decode(1, 2)
  alone = t5.make_network(make_config(num_decoder_layers=0))
  assert alone.prefix_shape is None
