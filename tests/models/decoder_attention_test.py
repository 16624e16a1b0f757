"""Rotary, grouped, windowed attention against one query at a time."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.models import decoder_attention, decoder_layers, parameters, rope
from jaxcurate.models.rope import Rope

CASES = {
  'plain': {'num_kv_heads': 4},
  'grouped': {},
  'one_kv_head': {'num_kv_heads': 1, 'query_pre_attn_scalar': 3},
  'biased': {'qkv_bias': True},
  'normed': {'qk_norm': True, 'norm_offset': True},
  'windowed': {'window': 4, 'local_rope': Rope(30.0)},
  'stretched': {'rope': Rope(100.0, 'yarn', 4.0, 16)},
}
SEGMENTS = np.array([[0, 0, 1, 1, 1, 1, 1, 2, 2, 2], [1] * 6 + [3] * 3 + [0]])
SLOTS = np.array([[False, True, True, False, True, True]])


def _draw(seed, shapes):
  rng = np.random.default_rng(seed)
  return jax.tree.map(
    lambda s: jnp.asarray(rng.normal(size=s.shape) / 2, jnp.float32), shapes
  )


def _setup(config, segments, slots, seed=0):
  segments = jnp.asarray(segments)
  slots = None if slots is None else jnp.asarray(slots)
  x = _draw(seed, jnp.zeros((*segments.shape, config.embed_dim)))
  views = decoder_layers.make_views(config, segments, slots)
  module = decoder_attention.Attention(config)
  shapes = jax.eval_shape(
    lambda: module.init(jax.random.key(0), x, views[0], None, True)
  )
  prefix = None
  if slots is not None:
    shape = (2, *slots.shape, config.num_kv_heads, config.head_dim)
    prefix = tuple(_draw(seed + 1, jnp.zeros(shape)))
  params = _draw(seed + 2, shapes['params'])

  @jax.jit
  def run(params):
    return module.apply({'params': params}, x, views[-1], prefix, True)

  return x, params, prefix, run(params)


def _slow(config, params, x, segments, prefix, slots):
  """One query at a time, in float64, from the definition."""
  flat = {
    path: np.float64(leaf) for path, leaf in parameters.flatten(params).items()
  }
  windowed = config.window is not None
  settings = config.local_rope if windowed else config.rope
  segments, prefix = np.asarray(segments), jax.tree.map(np.float64, prefix)
  frequency = rope.frequencies(settings, config.head_dim)
  grown = np.asarray(rope._attention_factor(settings))

  def heads(name, row, position):
    y = row @ flat[name, 'kernel'] + flat.get((name, 'bias'), 0.0)
    y = y.reshape(-1, config.head_dim)
    if name != 'value' and config.qk_norm:
      y = y / np.sqrt((y**2).mean(-1, keepdims=True) + config.norm_eps)
      y = y * (1 + flat[f'{name}_norm', 'scale'])
    if name == 'value':
      return y
    half = config.head_dim // 2
    z = y[:, :half] + 1j * y[:, half:]
    z = z * np.exp(1j * position * frequency) * grown
    return np.concatenate([z.real, z.imag], axis=-1)

  group = config.num_heads // config.num_kv_heads
  scale = (config.query_pre_attn_scalar or config.head_dim) ** -0.5
  mixed = np.zeros((*x.shape[:2], config.num_heads, config.head_dim))
  for b, t in np.ndindex(*x.shape[:2]):
    before, slot = [], 0
    if prefix is not None:
      row = min(b, len(slots) - 1)
      for p in np.flatnonzero(slots[row]):
        before.append((slot, prefix[0][row, p], prefix[1][row, p]))
        slot += 1
    start = np.flatnonzero(segments[b] == segments[b, t])[0]
    for s in range(start, t + 1):
      position = slot + s - start
      key = heads('key', x[b, s], position)
      before.append((position, key, heads('value', x[b, s], position)))
    query = heads('query', x[b, t], position)
    seen = [
      one for one in before if not windowed or position - one[0] < config.window
    ]
    for h in range(config.num_heads):
      score = np.array([key[h // group] @ query[h] for _, key, _ in seen])
      weight = np.exp(scale * (score - score.max()))
      values = np.array([value[h // group] for *_, value in seen])
      mixed[b, t, h] = weight @ values / weight.sum()
  return mixed.reshape(*x.shape[:2], -1) @ flat['out', 'kernel']


@pytest.mark.parametrize('case', CASES)
@pytest.mark.parametrize(
  'slots', [None, SLOTS, np.repeat(SLOTS, 2, 0) ^ [[0], [1]]]
)
def test_against_float64(case, slots, make_decoder_config):
  config = make_decoder_config(**CASES[case])
  slots = None if slots is None else slots.astype(bool)
  x, params, prefix, (found, _) = _setup(config, SEGMENTS, slots)
  expected = _slow(config, params, np.float64(x), SEGMENTS, prefix, slots)
  real = SEGMENTS > 0
  np.testing.assert_allclose(found[real], expected[real], rtol=1e-4, atol=1e-4)
  assert np.isfinite(found).all()


@pytest.mark.parametrize('case', ['grouped', 'windowed'])
@pytest.mark.parametrize('slots', [None, SLOTS])
def test_blocks_give_the_same_mixtures(case, slots, make_decoder_config):
  length = 300  # two blocks and a part of one
  config = make_decoder_config(**{**CASES[case], 'window': 40})
  plain = dataclasses.replace(config, window=None)
  config = config if case == 'windowed' else plain
  segments = np.repeat([[1, 2, 0], [0, 1, 1]], length // 3, axis=1)
  expected = _setup(config, segments, slots)[3]
  blocked = dataclasses.replace(config, blocked_attention=True)
  found = _setup(blocked, segments, slots)[3]
  real = segments > 0
  np.testing.assert_allclose(
    found[0][real], expected[0][real], rtol=1e-4, atol=1e-5
  )
  jax.tree.map(np.testing.assert_array_equal, found[1], expected[1])


def test_keys_are_handed_out_rotated(make_decoder_config):
  config = make_decoder_config()
  x, params, _, (_, (key, value)) = _setup(config, np.ones((1, 4), int), None)
  assert key.shape == value.shape == (1, 4, 2, 8)
  expected = x[0, 0] @ params['key']['kernel']
  np.testing.assert_allclose(key[0, 0].ravel(), expected, rtol=1e-5, atol=1e-6)
  turned = x[0, 3] @ params['key']['kernel']
  assert abs(key[0, 3].ravel() - turned).max() > 0.1
  np.testing.assert_allclose(
    np.linalg.norm(key[0, 3]), np.linalg.norm(turned), rtol=1e-5
  )


def test_bfloat16_stays_near_float32(make_decoder_config):
  config = make_decoder_config(qk_norm=True)
  full = _setup(config, SEGMENTS, SLOTS)[3][0]
  half, (key, _) = _setup(
    dataclasses.replace(config, dtype='bfloat16'), SEGMENTS, SLOTS
  )[3]
  assert half.dtype == key.dtype == jnp.bfloat16
  error = np.linalg.norm(half.astype(np.float32) - full)
  assert error < 0.05 * np.linalg.norm(full)


def test_places_and_lengths_by_hand():
  ids = jnp.array([[0, 0, 7, 7, 7, 2, 2, 0], [1, 1, 1, 1, 1, 1, 1, 1]])
  place, length = decoder_layers._place_and_length(ids)
  assert place.tolist() == [[0, 1, 0, 1, 2, 0, 1, 0], [*range(8)]]
  assert length.tolist() == [[2, 2, 3, 3, 3, 2, 2, 1], [8] * 8]


def test_views_by_hand(make_decoder_config):
  config = make_decoder_config(window=2)
  segments = jnp.array([[1, 1, 1, 2]])
  full, near = decoder_layers.make_views(
    config, segments, jnp.array([[True, False, True]])
  )
  assert full.mask[0].astype(int).tolist() == [
    [1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 0, 1],
  ]  # fmt: skip
  assert near.mask[0].astype(int).tolist() == [
    [1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1],
  ]  # fmt: skip
  assert full.prefix_mask.astype(int).tolist() == [[[1, 0, 1]]]
  # Slots 0 and 2 hold positions 0 and 1; the texts begin at 2.
  assert near.prefix_mask[0].astype(int).tolist() == [
    [0, 0, 1], [0, 0, 0], [0, 0, 0], [0, 0, 1],
  ]  # fmt: skip
  np.testing.assert_allclose(full.cos[0, :, 0], np.cos([2, 3, 4, 2]), rtol=1e-6)
