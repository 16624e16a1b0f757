"""A prefix learnt on a frozen network."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcurate.data.vocabulary import ByteVocabulary
from jaxcurate.models import decoder
from jaxcurate.models import mesh as mesh_lib
from jaxcurate.scorers import likelihood, prefix_tuning
from jaxcurate.scoring import fitting
from jaxcurate.types import Document

VOCABULARY = ByteVocabulary()


@pytest.fixture(scope='module')
def model(draw_params):
  network = decoder.make_network(
    decoder.DecoderConfig(
      vocab_size=VOCABULARY.size,
      embed_dim=16,
      num_heads=4,
      num_kv_heads=2,
      head_dim=4,
      mlp_dim=32,
      num_layers=2,
    )
  )
  return network, draw_params(network)


def examples_of(network, texts, max_length=16):
  text = likelihood.of_text(
    network=network, vocabulary=VOCABULARY, max_length=max_length
  )
  documents = [Document(str(i), t, None) for i, t in enumerate(texts)]
  found = text.examples(documents, VOCABULARY.encode_batch(texts))
  return text, [example for examples in found for example in examples]


def tune(network, params, texts, held_out=(), epochs=2, rate=0.1, slots=3):
  text, examples = examples_of(network, texts)
  tools = fitting.make_tools(mesh_lib.make_mesh(None, jax.devices()[:1]), 0)
  kept = []

  def train(**settings):
    kept.append(tools.train(**settings))
    return kept[-1]

  held_out = examples_of(network, held_out)[1] if held_out else []
  fitted = prefix_tuning.tune(
    network,
    params,
    train,
    text,
    [prefix_tuning.Part(examples, held_out)],
    prefix_length=slots,
    optimizer=optax.adamw(rate, weight_decay=0.1),
    epochs=epochs,
    batch_size=2,
  )
  return fitted, kept[0]


@pytest.mark.parametrize('texts', [['abcdefgh', 'xy'], ['ab', 'xy']])
def test_begins_as_the_keys_and_values_of_the_first_tokens(model, texts):
  network, params = model
  _, examples = examples_of(network, texts)
  init = prefix_tuning.make_init(network, params, examples, 4)
  found = init(jax.random.key(0))
  # 'ab' gives the input 'a' and 'xy' the input 'x': repeated up to 4.
  first = 'abcd' if texts[0] == 'abcdefgh' else 'axax'
  tokens = jnp.asarray(VOCABULARY.encode_batch([first]), jnp.int32)
  _, expected = jax.jit(network.extend)(params, tokens, jnp.ones_like(tokens))
  np.testing.assert_allclose(found['key'], expected.key[:, 0], atol=1e-6)
  np.testing.assert_allclose(found['value'], expected.value[:, 0], atol=1e-6)
  prefix = prefix_tuning.as_prefix(found)
  assert prefix.key.shape == (2, 1, 4, 2, 4)
  assert prefix.mask.all()


def test_begins_at_random_where_the_network_keeps_nothing(model):
  network, params = model
  _, examples = examples_of(network, ['ab', 'xy'])
  init = prefix_tuning.make_init(
    network._replace(extend=None), params, examples, 64
  )
  found = init(jax.random.key(0))
  assert found['key'].shape == (2, 64, 2, 4)
  # 1,024 draws: the standard error of their spread is 2.2 %.
  assert float(found['key'].std()) == pytest.approx(0.02, rel=4 * 0.022)
  assert not np.array_equal(found['key'], found['value'])


def test_a_step_by_hand(model):
  # Plain gradient descent on one batch is the gradient of the mean loss.
  network, params = model
  text, examples = examples_of(network, ['abcdef', 'xyz'])
  init = prefix_tuning.make_init(network, params, examples, 3)
  tools = fitting.make_tools(mesh_lib.make_mesh(None, jax.devices()[:1]), 0)
  start = init(jax.random.key(0))
  fitted = prefix_tuning.tune(
    network, params, tools.train, text, [prefix_tuning.Part(examples)],
    prefix_length=3, optimizer=optax.sgd(1.0), epochs=1, batch_size=2,
  )  # fmt: skip

  @jax.jit
  def mean_loss(value):
    prefix = prefix_tuning.as_prefix({'key': start['key'], 'value': value})
    total = count = 0.0
    for example in examples:
      inputs = jnp.asarray(example['decoder_inputs'])[None]
      states = network.decode(
        params, None, None, inputs, jnp.ones_like(inputs), prefix=prefix
      )
      log_prob = jax.nn.log_softmax(states[0] @ network.head(params))
      targets = example['decoder_targets']
      total -= log_prob[jnp.arange(len(targets)), targets].sum()
      count += len(targets)
    return total / count

  step = 1e-2
  moved = start['value'] - fitted['value'][0]
  for index in [(0, 0, 0, 0), (1, 2, 1, 3), (0, 1, 1, 2)]:
    plus, minus = (
      mean_loss(start['value'].at[index].add(sign * step)) for sign in (1, -1)
    )
    slope = (plus - minus) / (2 * step)
    assert moved[index] == pytest.approx(float(slope), abs=2e-4)


def test_lowers_the_loss_and_stops_where_the_held_out_loss_ends_falling(model):
  network, params = model
  fitted, result = tune(network, params, ['abab', 'baba'] * 4, epochs=4)
  assert list(result.losses) == sorted(result.losses, reverse=True)
  np.testing.assert_array_equal(result.fitted['key'], fitted['key'][0])
  _, stopped = tune(
    network, params, ['abab', 'baba'] * 4, held_out=['wxyz'], epochs=8, rate=0.3
  )
  assert len(stopped.losses) == stopped.best_epoch + 1 < 8


def test_a_network_without_prefixes_is_refused(model):
  network, params = model
  _, examples = examples_of(network, ['ab', 'xy'])
  with pytest.raises(ValueError, match='takes no prefix'):
    prefix_tuning.make_init(
      network._replace(prefix_shape=None), params, examples, 4
    )
