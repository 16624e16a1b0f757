import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.models import attention, t5

D, H, K = 12, 2, 8


@pytest.fixture
def module():
  return attention.Attention(D, H, K, 'float32', 0.5)


@pytest.fixture
def params():
  rng = np.random.default_rng(0)
  shapes = {'query': (D, H * K), 'key': (D, H * K), 'value': (D, H * K)}
  shapes['out'] = (H * K, D)
  return {
    name: {'kernel': rng.normal(size=shape).astype(np.float32) / 2}
    for name, shape in shapes.items()
  }


def _states(seed, rows, length):
  states = np.random.default_rng(seed).normal(size=(rows, length, D))
  return jnp.asarray(states, jnp.float32)


def _apply(module, params, x, source, mask, bias=None):
  return jax.jit(
    lambda p: module.apply({'params': p}, x, source, mask, bias, True)
  )(params)


def _slow(params, x, source, mask, bias, prefix=None):
  """One query at a time, in float64; an empty mask gives the plain mean."""
  before = prefix or (np.zeros((len(x), 0, H, K)),) * 2
  kernels = {k: v['kernel'].astype(np.float64) for k, v in params.items()}
  x, source = np.float64(x), np.float64(source)
  mixed = np.zeros((*x.shape[:2], H, K))
  for b in range(x.shape[0]):
    for t in range(x.shape[1]):
      query = (x[b, t] @ kernels['query']).reshape(H, K)
      key = (source[b] @ kernels['key']).reshape(-1, H, K)
      value = (source[b] @ kernels['value']).reshape(-1, H, K)
      key = np.concatenate([before[0][b], key])
      value = np.concatenate([before[1][b], value])
      for h in range(H):
        score = key[:, h] @ query[h] + bias[h, t]
        seen = mask[b, t] if mask[b, t].any() else np.ones_like(mask[b, t])
        score = score[seen] if mask[b, t].any() else 0 * score
        weight = np.exp(score - score.max())
        mixed[b, t, h] = (weight / weight.sum()) @ value[seen, h]
  return mixed.reshape(*x.shape[:2], H * K) @ kernels['out']


# With 1 query the kernels are absorbed, with 30 they are not.
@pytest.mark.parametrize('num_queries', [1, 30])
def test_against_float64(module, params, num_queries):
  x, source = _states(1, 2, num_queries), _states(2, 2, 20)
  rng = np.random.default_rng(3)
  bias = rng.normal(size=(H, num_queries, 20)).astype(np.float32)
  mask = rng.random((2, num_queries, 20)) < 0.4
  mask[0, 0] = False  # sees nothing
  found = _apply(
    module, params, x, source, jnp.asarray(mask[:, None]), jnp.asarray(bias)
  )
  expected = _slow(params, x, source, mask, bias)
  np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize('num_queries', [1, 20])
def test_a_prefix_against_float64(module, params, num_queries):
  x, source = _states(1, 2, num_queries), _states(2, 2, 20)
  rng = np.random.default_rng(3)
  key, value = rng.normal(size=(2, 2, 5, H, K)).astype(np.float32)
  bias = rng.normal(size=(H, num_queries, 25)).astype(np.float32)
  bias[:, :, :5] = 0  # of the prefix
  mask = rng.random((2, num_queries, 25)) < 0.4
  mask[:, :, :5] = mask[:, :1, :5]
  found = jax.jit(
    lambda p: module.apply(
      {'params': p}, x, source, jnp.asarray(mask[:, None, :, 5:]),
      jnp.asarray(bias[:, :, 5:]), True,
      (jnp.asarray(key), jnp.asarray(value), jnp.asarray(mask[:, 0, :5])),
    )
  )(params)  # fmt: skip
  expected = _slow(params, x, source, mask, bias, (key, value))
  np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-4)


def test_few_queries_form_no_keys(module, params):
  def dot_shapes(num_queries):
    x, source = _states(1, 2, num_queries), _states(2, 2, 20)
    mask = jnp.ones((2, 1, num_queries, 20), bool)
    jaxpr = jax.make_jaxpr(
      lambda p: module.apply({'params': p}, x, source, mask, None, True)
    )(params)
    return [
      eqn.outvars[0].aval.shape
      for eqn in jaxpr.jaxpr.eqns
      if eqn.primitive.name == 'dot_general'
    ]

  keys = (2 * 20, H * K)
  assert keys in dot_shapes(30)
  assert keys not in dot_shapes(1)


def test_absorbed_and_plain_gradients_agree(module, params):
  x, source = _states(1, 1, 30), _states(2, 1, 20)
  mask = jnp.ones((1, 1, 30, 20), bool)

  def loss(params, by):
    parts = [
      module.apply(
        {'params': params}, x[:, i : i + by], source,
        mask[:, :, i : i + by], None, True,
      )
      for i in range(0, 30, by)
    ]  # fmt: skip
    return jnp.sum(jnp.concatenate(parts, 1) ** 3)

  one = jax.jit(jax.grad(lambda p: loss(p, 3)))(params)
  whole = jax.jit(jax.grad(lambda p: loss(p, 30)))(params)
  for found, expected in zip(
    jax.tree.leaves(one), jax.tree.leaves(whole), strict=True
  ):
    scale = abs(expected).max()
    np.testing.assert_allclose(found, expected, atol=1e-4 * scale)


def test_large_scores_do_not_overflow(module, params):
  x = 1e3 * _states(1, 1, 4)
  mask = jnp.ones((1, 1, 4, 4), bool)
  found = _apply(module, params, x, x, mask)
  assert np.isfinite(found).all()


def test_bfloat16_stays_near_float32(module, params):
  x = _states(1, 2, 20)
  mask = jnp.ones((2, 1, 20, 20), bool)
  full = _apply(module, params, x, x, mask)
  module = attention.Attention(D, H, K, 'bfloat16', 0.0)
  x = x.astype(jnp.bfloat16)
  half = _apply(module, params, x, x, mask)
  assert half.dtype == jnp.bfloat16
  error = np.linalg.norm(half.astype(np.float32) - full)
  assert error < 0.05 * np.linalg.norm(full)


def test_dropout_keeps_the_mean(module, params):
  x = _states(1, 1, 6)
  mask = jnp.ones((1, 1, 6, 6), bool)

  def run(key):
    rngs = {'dropout': key}
    return module.apply({'params': params}, x, x, mask, None, False, rngs=rngs)

  drawn = jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(0), 2000))
  plain = _apply(module, params, x, x, mask)
  bound = 5 * np.std(drawn, axis=0) / np.sqrt(2000)
  assert (abs(drawn.mean(0) - plain) < bound + 1e-5).all()


def test_masks_by_hand():
  queries, keys = jnp.array([[1, 2, 2, 0]]), jnp.array([[1, 1, 2, 0]])
  mask = attention.same_segment(queries, keys, causal=False)
  assert mask.astype(int).tolist() == [
    [[[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0], [0, 0, 0, 1]]]
  ]
  mask = attention.same_segment(queries, queries, causal=True)
  assert mask.astype(int).tolist() == [
    [[[1, 0, 0, 0], [0, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]]]
  ]


LONG = t5.T5Config(
  vocab_size=64,
  embed_dim=16,
  num_heads=2,
  head_dim=8,
  mlp_dim=32,
  num_encoder_layers=2,
  num_decoder_layers=1,
)


@pytest.fixture
def long_rows():
  tokens = jax.random.randint(jax.random.key(1), (3, 140), 3, 64)
  segments = jnp.where(jnp.arange(140) < 90, 1, 2) * jnp.ones((3, 1), int)
  return tokens, segments.at[1, 100:].set(0)


def scaled_params(network):
  params = jax.jit(network.init)(jax.random.key(0))
  return jax.tree.map(lambda x: 3 * x, params)


@pytest.mark.parametrize('how', ['blocked_attention', 'recomputed_attention'])
def test_blocks_give_the_same_states(how, long_rows):
  plain = t5.make_network(LONG)
  blocked = t5.make_network(dataclasses.replace(LONG, **{how: True}))
  params = scaled_params(plain)
  found = [jax.jit(net.encode)(params, *long_rows) for net in (plain, blocked)]
  real = np.asarray(long_rows[1] > 0)
  np.testing.assert_allclose(
    np.asarray(found[1])[real], np.asarray(found[0])[real], rtol=1e-4, atol=1e-5
  )
  loops = []
  for network in (plain, blocked):
    jaxpr = str(jax.make_jaxpr(network.encode)(params, *long_rows))
    loops.append('scan' in jaxpr or 'while' in jaxpr)
  assert loops == [False, True]


@pytest.mark.parametrize('dropout', [None, 5])
def test_recomputed_blocks_give_the_same_gradient(dropout, long_rows):
  tokens, segments = long_rows
  key = None if dropout is None else jax.random.key(dropout)

  def gradient(config):
    network = t5.make_network(config)

    def loss(params):
      encoded = network.encode(params, tokens, segments, dropout_key=key)
      return jnp.sum(jnp.where(segments[..., None] > 0, encoded, 0.0) ** 3)

    return jax.jit(jax.grad(loss))(scaled_params(network))

  want = gradient(LONG)
  found = gradient(dataclasses.replace(LONG, recomputed_attention=True))
  for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(want), strict=True):
    np.testing.assert_allclose(a, b, atol=2e-5 * float(jnp.abs(b).max() + 1))
