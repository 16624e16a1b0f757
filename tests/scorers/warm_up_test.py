"""The warm-up: what it keeps of every epoch, and at which rates it learnt."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.data.vocabulary import ByteVocabulary
from jaxcurate.models import decoder
from jaxcurate.ops import lora
from jaxcurate.scorers import training_examples, warm_up
from jaxcurate.types import Document

BYTES = ByteVocabulary()
SMALL = warm_up.WarmUp(
  rank=2,
  alpha=4.0,
  dropout_rate=0.0,
  learning_rate=3e-3,
  epochs=2,
  batch_size=3,
)
SAMPLE = [Document(f'd{i}', 'some text ' * 2 + str(i), None) for i in range(5)]


@pytest.fixture(scope='module')
def model(draw_params):
  network = decoder.make_network(
    decoder.DecoderConfig(
      vocab_size=BYTES.size,
      embed_dim=8,
      num_heads=2,
      num_kv_heads=1,
      head_dim=4,
      mlp_dim=8,
      num_layers=1,
    )
  )
  params = draw_params(network)
  text = training_examples.of_documents(
    network, BYTES, max_length=32, conversations=False
  )
  return network, params, text


def train(model, tools, settings=SMALL, sample=SAMPLE):
  network, params, text = model
  examples = warm_up.examples_of(text, BYTES, sample)
  return warm_up.train(network, params, tools, text, examples, settings, 0)


def rates(steps_per_epoch, epochs=4, **settings):
  """Mean rate of each epoch, before they are made to sum to 1."""
  settings = warm_up.WarmUp(epochs=epochs, **settings)
  schedule = warm_up._schedule(settings, steps_per_epoch * epochs)
  every = np.asarray(schedule(jnp.arange(steps_per_epoch * epochs)))
  return every.reshape(epochs, -1).mean(axis=1)


def test_rates_by_hand():
  # 10 steps, of which round(0.2 * 10) = 2 rise: 0, 1/2, then 1 falls by 1/8.
  found = rates(5, 2, learning_rate=1.0, warm_up_share=0.2)
  np.testing.assert_allclose(
    found, [(0 + 4 + 8 + 7 + 6) / 40, (5 + 4 + 3 + 2 + 1) / 40], rtol=1e-6
  )
  np.testing.assert_allclose(rates(1, 1, warm_up_share=0.0), [2e-5], rtol=1e-6)


def test_rates_are_those_that_less_reports():
  # The code's example: average rates of the checkpoints at steps 422 to 1,688.
  reported = [1.6877e-05, 1.2859e-05, 7.7030e-06, 2.5616e-06]
  np.testing.assert_allclose(rates(422), reported, rtol=0.01)


def test_what_is_kept(model, fit_tools):
  found = train(model, fit_tools)
  assert set(found) == {'adapters', 'first_moment', 'second_moment', 'rates'}
  shapes = jax.tree.map(
    jnp.shape, lora.init(jax.random.key(0), model[1], rank=2)
  )
  for name in ('adapters', 'first_moment', 'second_moment'):
    kept = jax.tree.map(lambda leaf: leaf.shape[1:], found[name])
    assert kept == shapes
    assert {len(leaf) for leaf in jax.tree.leaves(found[name])} == {2}
  for leaf in jax.tree.leaves(found['second_moment']):
    assert (leaf >= 0).all() and leaf.any()
  # 2 steps an epoch, none of 4 rises: 1, 3/4 | 1/2, 1/4.
  np.testing.assert_allclose(found['rates'], [0.7, 0.3], rtol=1e-6)


def test_checkpoints_are_those_of_adam_written_out(model, fit_tools):
  """One batch an epoch, so that the order plays no part; float64 moments."""
  network, params, text = model
  settings = SMALL._replace(batch_size=5)
  found = train(model, fit_tools, settings)
  examples = warm_up.examples_of(text, BYTES, SAMPLE)
  length = max(len(own['decoder_targets']) for own in examples)

  def padded(name):
    return jnp.stack(
      [jnp.pad(own[name], (0, length - len(own[name]))) for own in examples]
    )

  targets, inputs = padded('decoder_targets'), padded('decoder_inputs')
  counted = padded('decoder_weights')

  def loss(adapters):
    merged = lora.merge(params, adapters, alpha=settings.alpha)
    states = network.decode(
      merged, None, None, inputs, counted.astype(jnp.int32)
    )
    log_prob = jax.nn.log_softmax(states @ network.head(params))
    chosen = jnp.take_along_axis(log_prob, targets[..., None], -1)[..., 0]
    return -jnp.sum(chosen * counted) / jnp.sum(counted)

  adapters = lora.init(jax.random.key(0), params, rank=2)  # seed of the tools
  first = second = jax.tree.map(lambda x: np.zeros(x.shape), adapters)
  gradient = jax.jit(jax.grad(loss))
  for epoch, rate in enumerate([3e-3, 1.5e-3], start=1):
    g = jax.tree.map(np.float64, gradient(adapters))
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, g)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, second, g)

    def step(w, m, v, rate=rate, epoch=epoch):
      m, v = m / (1 - 0.9**epoch), v / (1 - 0.999**epoch)
      return jnp.float32(w - rate * m / (np.sqrt(v) + 1e-8))

    adapters = jax.tree.map(step, adapters, first, second)
    kept = jax.tree.map(lambda leaf, e=epoch: leaf[e - 1], found)
    for name, expected, atol in (
      ('adapters', adapters, 1e-5),
      ('first_moment', first, 1e-6),
      ('second_moment', second, 1e-9),
    ):
      jax.tree.map(
        lambda x, y, atol=atol: np.testing.assert_allclose(
          x, y, rtol=2e-3, atol=atol
        ),
        kept[name],
        expected,
      )


def test_dropout_depends_on_the_batch_and_the_seed(model):
  network, params, _ = model
  adapters = jax.tree.map(
    jnp.ones_like, lora.init(jax.random.key(0), params, rank=2)
  )
  settings = SMALL._replace(dropout_rate=0.5)
  rows = np.array([[5, 6, 7, 8]], np.int32)
  batch = {
    'decoder_input_tokens': rows,
    'decoder_target_tokens': rows + 1,
    'decoder_segment_ids': np.ones_like(rows),
    'decoder_loss_weights': np.ones(rows.shape, np.float32),
  }

  def loss(seed, settings=settings, **changes):
    made = warm_up._make_loss(network, settings, seed)
    own = jax.tree.map(jnp.asarray, {**batch, **changes})
    return float(jax.jit(made)(adapters, params, own))

  assert loss(0) == loss(0)
  assert loss(0) != loss(1)
  turned = {'decoder_target_tokens': rows[:, ::-1] + 1}
  keys = [
    warm_up._batch_key(jax.tree.map(jnp.asarray, {**batch, **own}), 0)
    for own in ({}, turned)
  ]
  assert keys[0] != keys[1]
  plain = settings._replace(dropout_rate=0.0)
  assert loss(0, plain) == loss(1, plain)


def test_a_sample_without_anything_to_learn(model):
  silent = Document('a', 'x', None, turns=(('user', 'x'),))
  with pytest.raises(ValueError, match='none of the 2 documents drawn'):
    warm_up.examples_of(model[2], BYTES, [silent, silent._replace(id='b')])
  with pytest.raises(ValueError, match='none of the 0 documents'):
    warm_up.examples_of(model[2], BYTES, [])


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'rank': 0}, 'rank is 0, expected at least 1'),
    ({'epochs': 0}, 'epochs is 0'),
    ({'batch_size': 0}, 'batch_size is 0'),
    ({'dropout_rate': 1.0}, r'dropout_rate is 1.0, expected in \[0, 1\)'),
    ({'warm_up_share': -0.1}, 'warm_up_share is -0.1'),
    ({'alpha': 0.0}, 'alpha is 0.0 and learning_rate 2e-05'),
  ],
)
def test_wrong_settings(change, message):
  warm_up.check(warm_up.WarmUp())
  with pytest.raises(ValueError, match=message):
    warm_up.check(warm_up.WarmUp()._replace(**change))
