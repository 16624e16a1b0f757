"""Per-example gradients: against finite differences of a float64 network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.data import packing
from jaxcurate.models import t5
from jaxcurate.ops import lora
from jaxcurate.scorers import gradient_features

VOCAB, ALPHA, TARGETS = 20, 3.0, ('query', 'out')


@pytest.fixture(scope='module')
def slow(slow_llama):
  # Weights at which float32 has its usual digits.
  return slow_llama(VOCAB, embed_dim=8, scale=1.5)


@pytest.fixture(scope='module')
def adapters(slow):
  own = lora.init(jax.random.key(0), slow.params, rank=1, targets=TARGETS)
  leaves, structure = jax.tree.flatten(own)
  rng = np.random.default_rng(0)
  return structure.unflatten(
    [np.float32(0.2 * rng.normal(size=leaf.shape)) for leaf in leaves]
  )


def batch_of(lengths, masked=(), seed=0):
  """One example per row; in `masked` rows no target counts."""
  rng = np.random.default_rng(seed)
  examples = []
  for row, length in enumerate(lengths):
    ids = rng.integers(3, VOCAB, length + 1)
    weights = (rng.random(length) < 0.7).astype(np.float32)
    weights[-1] = 1.0
    examples.append(
      {
        'decoder_inputs': ids[:-1],
        'decoder_targets': ids[1:],
        'decoder_weights': 0.0 * weights if row in masked else weights,
      }
    )
  packed = packing.pack(
    [{k: np.asarray(v) for k, v in own.items()} for own in examples],
    encoder_length=0,
    decoder_length=max(lengths),
    max_segments=1,
  )
  return examples, jax.tree.map(jnp.asarray, packed.batch)


def gradients(slow, adapters, batch, objective=gradient_features.mean_loss):
  return jax.jit(
    lambda adapters, batch: gradient_features.example_gradients(
      slow.network,
      slow.params,
      adapters,
      batch,
      alpha=ALPHA,
      objective=objective,
    )
  )(adapters, batch)


VALUES = {
  'loss': (
    gradient_features.mean_loss,
    lambda log_p, share: -np.sum(share * log_p),
  ),
  'log-odds': (
    gradient_features.mean_log_odds,
    lambda log_p, share: np.sum(share * (log_p - np.log(-np.expm1(log_p)))),
  ),
}


@pytest.mark.parametrize('name', VALUES)
def test_against_finite_differences(slow, adapters, slow_gradient, name):
  objective, value = VALUES[name]
  examples, batch = batch_of([4, 7])
  found, doubt = gradients(slow, adapters, batch, objective)
  for row, example in enumerate(examples):
    expected = slow_gradient(slow, adapters, ALPHA, example, value)
    for one, other in zip(
      *map(jax.tree.leaves, (found, expected)), strict=True
    ):
      scale = np.abs(other).max()
      assert scale > 1e-4
      np.testing.assert_allclose(one[row], other, atol=1e-3 * scale)
    p = slow_gradient.value(
      slow,
      adapters,
      ALPHA,
      example,
      lambda log_p, share: np.sum(share * -np.expm1(log_p)),
    )
    np.testing.assert_allclose(doubt[row], p, rtol=1e-4)


def test_one_by_one_is_all_at_once(slow, adapters, monkeypatch):
  _, batch = batch_of([5, 3, 6], masked=[1])
  whole, doubt = gradients(slow, adapters, batch)
  monkeypatch.setattr(jax, 'device_count', lambda: 1)
  single, other = gradients(slow, adapters, batch)
  for one, two in zip(*map(jax.tree.leaves, (whole, single)), strict=True):
    np.testing.assert_allclose(one, two, atol=1e-5 * float(jnp.abs(one).max()))
  np.testing.assert_allclose(doubt, other, rtol=1e-5)


def test_examples_are_alone_whatever_pads_them(slow, adapters):
  examples, batch = batch_of([5, 3, 6])
  whole, _ = gradients(slow, adapters, batch)
  longer = packing.pack(
    [examples[1]], encoder_length=0, decoder_length=9, max_segments=1
  ).batch
  alone, _ = gradients(slow, adapters, jax.tree.map(jnp.asarray, longer))
  for one, two in zip(*map(jax.tree.leaves, (whole, alone)), strict=True):
    scale = float(jnp.abs(one[1]).max())
    np.testing.assert_allclose(one[1], two[0], atol=1e-4 * scale)


def test_rows_without_a_target_have_none(slow, adapters):
  _, batch = batch_of([5, 4], masked=[1])
  batch = jax.tree.map(lambda x: jnp.pad(x, ((0, 1), (0, 0))), batch)
  found, doubt = gradients(slow, adapters, batch)
  assert gradient_features.is_zero(found).tolist() == [False, True, True]
  assert doubt[1:].tolist() == [0.0, 0.0]
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))


def test_an_encoder_decoder_too(draw_params):
  network = t5.make_network(
    t5.T5Config(
      vocab_size=VOCAB,
      embed_dim=8,
      num_heads=2,
      head_dim=4,
      mlp_dim=8,
      num_encoder_layers=1,
      num_decoder_layers=1,
    )
  )
  params = draw_params(network)
  adapters = jax.tree.map(
    lambda x: x + 0.1, lora.init(jax.random.key(0), params, rank=1)
  )
  ids = np.random.default_rng(0).integers(3, VOCAB, (2, 6))
  sides = {
    f'{side}_{name}': jnp.asarray(value, jnp.int32)
    for side in ('encoder', 'decoder')
    for name, value in (
      ('input_tokens', ids),
      ('target_tokens', ids[:, ::-1]),
      ('segment_ids', np.ones_like(ids)),
    )
  }
  batch = {**sides, 'decoder_loss_weights': jnp.ones(ids.shape)}
  found, _ = jax.jit(
    lambda adapters: gradient_features.example_gradients(
      network,
      params,
      adapters,
      batch,
      alpha=ALPHA,
      objective=gradient_features.mean_loss,
    )
  )(adapters)

  def mean(adapters):  # of both rows
    assert network.encode is not None
    merged = lora.merge(params, adapters, alpha=ALPHA)
    tokens = (batch['encoder_input_tokens'], batch['encoder_segment_ids'])
    states = network.decode(
      merged,
      network.encode(merged, *tokens),
      tokens[1],
      batch['decoder_input_tokens'],
      batch['decoder_segment_ids'],
    )
    log_prob = jax.nn.log_softmax(states @ network.head(merged))
    targets = batch['decoder_target_tokens'][..., None]
    return -jnp.take_along_axis(log_prob, targets, -1).mean()

  expected = jax.jit(jax.grad(mean))(adapters)
  for one, two in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
    scale = float(jnp.abs(two).max())
    np.testing.assert_allclose(one.mean(axis=0), two, atol=1e-4 * scale)


def test_a_certain_token_has_no_infinite_gradient():
  log_prob = jnp.array([-1e-9, 0.0, -0.5, -40.0])
  share = jnp.full(4, 0.25)
  found = jax.grad(gradient_features.mean_log_odds)(log_prob, share)
  least = 1e-5
  expected = 0.25 / np.array([least, least, -np.expm1(-0.5), 1.0])
  np.testing.assert_allclose(found, expected, rtol=1e-5)
  np.testing.assert_allclose(
    gradient_features.doubt(log_prob), 0.25 / expected, rtol=1e-5
  )


def test_unit_rows():
  rows = jnp.array([[3.0, 4.0], [0.0, 0.0], [3e-30, 4e-30], [3e30, -4e30]])
  np.testing.assert_allclose(
    gradient_features.unit(rows),
    [[0.6, 0.8], [0.0, 0.0], [0.6, 0.8], [0.6, -0.8]],
    rtol=1e-6,
  )
  assert np.isnan(gradient_features.unit(jnp.array([[np.nan, 1.0]]))).any()


def test_checkpoints_side_by_side():
  found = gradient_features.joined(jnp.arange(12.0).reshape(2, 3, 2))
  assert found.tolist() == [[0, 1, 6, 7], [2, 3, 8, 9], [4, 5, 10, 11]]
