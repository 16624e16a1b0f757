"""One decoder, however its tokens are laid out and its layers are run."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate import types
from jaxcurate.models import decoder, parameters
from jaxcurate.models.rope import Rope

ROWS = [[3, 4, 5, 6, 7, 8, 9], [10, 11], [12, 13, 14, 15]]
JOINED = [*range(3, 16)]

# What each family adds to plain Llama.
FAMILIES = {
  'llama': {},
  'qwen2': {'qkv_bias': True, 'tied_head': True},
  'qwen3': {'qk_norm': True, 'rope': Rope(1e6)},
  'mistral': {'window': 3},
  'gemma3': {
    'qk_norm': True,
    'norm_offset': True,
    'post_norms': True,
    'scale_embeddings': True,
    'tied_head': True,
    'activation': 'gelu',
    'query_pre_attn_scalar': 12,
    'window': 3,
    'window_pattern': (True, False),
    'rope': Rope(1e6),
    'local_rope': Rope(1e4),
  },
}


@pytest.fixture(params=FAMILIES)
def config(request, make_decoder_config):
  return make_decoder_config(**FAMILIES[request.param])


def _rows(rows, length, left=False):
  tokens = np.zeros((len(rows), length), np.int32)
  for padded, row in zip(tokens, rows, strict=True):
    padded[length - len(row) if left else 0 :][: len(row)] = row
  return jnp.asarray(tokens), jnp.asarray(np.sign(tokens))


def _decode(network, params, tokens, segments, prefix=None):
  # Networks of one config are one: tests of equal shapes compile once.
  decode = jax.jit(network.decode)
  return decode(params, None, None, tokens, segments, prefix=prefix)


def _assert_close(found, expected, tolerance=2e-5):
  scale = float(np.max(np.abs(expected)))
  np.testing.assert_allclose(found, expected, atol=tolerance * scale)


def test_a_token_alone_sees_its_own_value(make_decoder_config, strong):
  config = make_decoder_config(num_layers=1, num_heads=2, num_kv_heads=1)
  network = decoder.make_network(config)
  params = strong(network)
  found = _decode(network, params, jnp.array([[5]]), jnp.array([[1]]))[0, 0]
  layer = params['decoder']['layers_0']

  def norm(x, scale):
    return x / np.sqrt(np.mean(x**2) + config.norm_eps) * scale['scale']

  x = np.float64(params['token_embedder']['embedding'][5])
  y = norm(x, layer['pre_self_attention_layer_norm'])
  value = y @ layer['self_attention']['value']['kernel']
  x = x + np.tile(value, 2) @ layer['self_attention']['out']['kernel']
  y = norm(x, layer['pre_mlp_layer_norm'])
  gate = y @ layer['mlp']['wi_0']['kernel']
  hidden = gate / (1 + np.exp(-gate)) * (y @ layer['mlp']['wi_1']['kernel'])
  x = x + hidden @ layer['mlp']['wo']['kernel']
  _assert_close(found, norm(x, params['decoder']['decoder_norm']))


def test_padding_and_packing_change_nothing(config, strong):
  network = decoder.make_network(config)
  params = strong(network)
  right = _decode(network, params, *_rows(ROWS, 9))
  left = _decode(network, params, *_rows(ROWS, 9, left=True))
  tokens = jnp.asarray([[0, 0, *JOINED, 0]])
  ids = [0, 0, *([7] * 7), *([2] * 2), *([3] * 4), 0]  # any order of ids
  packed = _decode(network, params, tokens, jnp.asarray([ids]))
  for i, (row, start) in enumerate(zip(ROWS, (2, 9, 11), strict=True)):
    length = len(row)
    _assert_close(left[i, 9 - length :], right[i, :length])
    _assert_close(packed[0, start : start + length], right[i, :length])


def test_later_tokens_change_nothing_before_them(config, strong):
  network = decoder.make_network(config)
  params = strong(network)
  tokens, segments = _rows(ROWS, 9)
  states = _decode(network, params, tokens, segments)
  changed = _decode(network, params, tokens.at[0, 4].set(20), segments)
  np.testing.assert_array_equal(states[0, :4], changed[0, :4])
  assert (states[0, 4:7] != changed[0, 4:7]).any(-1).all()


@pytest.mark.parametrize('rows', [1, 2])
def test_a_prefix_is_the_same_tokens_in_front(config, strong, rows):
  network = decoder.make_network(config)
  params = strong(network)
  front = [[16, 17, 18, 19], [20, 21]][:rows]
  texts = ROWS[:2]
  whole = [front[i % rows] + text for i, text in enumerate(texts)]
  expected = _decode(network, params, *_rows(whole, 12))
  _, prefix = jax.jit(network.extend)(params, *_rows(front, 5, left=True))
  assert prefix.key.shape == (2, rows, 5, 2, 8)
  found = _decode(network, params, *_rows(texts, 9), prefix)
  for i, (long, text) in enumerate(zip(whole, texts, strict=True)):
    _assert_close(
      found[i, : len(text)], expected[i, len(long) - len(text) : len(long)]
    )


def test_packed_texts_share_a_prefix(config, strong):
  network = decoder.make_network(config)
  params = strong(network)
  _, prefix = jax.jit(network.extend)(params, *_rows([[16, 17, 18]], 5))
  alone = _decode(network, params, *_rows(ROWS, 8), prefix)
  tokens = jnp.asarray([JOINED])
  ids = jnp.asarray([[1] * 7 + [2] * 2 + [3] * 4])
  packed = _decode(network, params, tokens, ids, prefix)
  joined = jnp.concatenate(
    [states[: len(row)] for states, row in zip(alone, ROWS, strict=True)]
  )
  _assert_close(packed[0], joined)


def test_token_by_token_through_a_cache(config, strong):
  network = decoder.make_network(config)
  params = strong(network)
  tokens, segments = _rows([ROWS[0], ROWS[2]], 7, left=True)
  expected = _decode(network, params, tokens, segments)
  extend = jax.jit(network.extend)
  blank = jnp.zeros((2, 2, 7, 2, 8))
  cache = types.Prefix(blank, blank, jnp.zeros((2, 7), bool))
  for t in range(7):
    now = slice(t, t + 1)
    states, new = extend(params, tokens[:, now], segments[:, now], prefix=cache)
    _assert_close(states[0, 0], expected[0, t])
    if t >= 3:  # where the second row begins
      _assert_close(states[1, 0], expected[1, t])
    cache = types.Prefix(
      cache.key.at[:, :, now].set(new.key),
      cache.value.at[:, :, now].set(new.value),
      cache.mask.at[:, now].set(new.mask),
    )


@pytest.mark.parametrize(
  'config',
  [
    pytest.param(name, marks=[pytest.mark.slow] * (name != 'gemma3'))
    for name in FAMILIES
  ],
  indirect=True,
)
def test_scan_and_remat_change_nothing(config, strong):
  network = decoder.make_network(config)
  params = strong(network)
  other = decoder.make_network(
    dataclasses.replace(config, scan_layers=True, remat=True)
  )
  tokens, segments = _rows(ROWS, 7)
  _, prefix = jax.jit(network.extend)(params, tokens[:1, :3], segments[:1, :3])

  def loss(network, params, key, value):
    own = types.Prefix(key, value, prefix.mask)
    states, new = network.extend(params, tokens, segments, prefix=own)
    return jnp.sum((states * (segments > 0)[..., None]) ** 2), new

  @jax.jit
  def run(network_params):
    return [
      jax.value_and_grad(loss, (1, 2, 3), has_aux=True)(
        net, own, prefix.key, prefix.value
      )
      for net, own in zip((network, other), network_params, strict=True)
    ]

  expected, found = run((params, parameters.stack_layers(params)))
  (found_loss, found_new), (found_gradient, *found_prefix) = found
  (expected_loss, expected_new), (gradient, *expected_prefix) = expected
  np.testing.assert_allclose(found_loss, expected_loss, rtol=1e-5)
  for one, other_one in zip(
    (found_new, found_prefix, parameters.unstack_layers(found_gradient)),
    (expected_new, expected_prefix, gradient),
    strict=True,
  ):
    jax.tree.map(lambda a, b: _assert_close(a, b, 1e-4), one, other_one)
