"""Document vectors from a network and from a column."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.data import packing
from jaxcurate.data.vocabulary import ByteVocabulary
from jaxcurate.models import t5
from jaxcurate.scorers import embedding
from jaxcurate.types import Document

TEXTS = ['a text', 'another, longer text', '', 'x']


@pytest.fixture(scope='module')
def vocabulary():
  return ByteVocabulary()


@pytest.fixture(scope='module')
def model(vocabulary, draw_params):
  config = t5.T5Config(
    vocab_size=vocabulary.size,
    embed_dim=16,
    num_heads=2,
    head_dim=8,
    mlp_dim=32,
    num_encoder_layers=1,
    num_decoder_layers=0,
  )
  network = t5.make_network(config)
  return network, draw_params(network)


def examples_of(features, vocabulary, texts=TEXTS):
  tokens = vocabulary.encode_batch(texts)
  documents = [Document(str(i), text, None) for i, text in enumerate(texts)]
  return features.examples(documents, tokens)


def test_reads_the_head_of_the_text_and_eos(model, vocabulary):
  features = embedding.encoder_embedding(model[0], vocabulary, max_length=9)
  documents = examples_of(features, vocabulary)
  assert [len(document) for document in documents] == [1, 1, 0, 1]
  tokens = vocabulary.encode_batch(TEXTS)
  short, cut = documents[0][0]['encoder'], documents[1][0]['encoder']
  assert short.tolist() == [*tokens[0], vocabulary.eos_id]
  assert cut.tolist() == [*tokens[1][:8], vocabulary.eos_id]
  assert cut.dtype == np.int32


def test_unit_vectors_whatever_the_packing(model, vocabulary):
  network, params = model
  features = embedding.encoder_embedding(network, vocabulary, max_length=24)
  documents = examples_of(features, vocabulary)
  examples = [example for document in documents for example in document]

  def vectors(max_segments):
    packed = packing.pack(
      examples, encoder_length=40, decoder_length=0, max_segments=max_segments
    )
    batch = jax.tree.map(jnp.asarray, packed.batch)
    apply = jax.jit(features.apply, static_argnums=2)
    out = apply(params, batch, max_segments)['embedding']
    assert out.dtype == jnp.float32
    return np.stack(
      [
        features.combine({'embedding': np.asarray(out[r, s - 1])[None]})[
          'embedding'
        ]
        for r, s in zip(packed.row, packed.segment, strict=True)
      ]
    )

  alone, packed = vectors(1), vectors(3)
  np.testing.assert_allclose(np.linalg.norm(alone, axis=1), 1, rtol=1e-5)
  np.testing.assert_allclose(packed, alone, atol=1e-5)
  # One row by hand: the network itself.
  tokens = jnp.asarray(examples[0]['encoder'])[None]
  segments = jnp.ones_like(tokens)
  states = jax.jit(network.encode)(params, tokens, segments)
  expected = network.pool(params, states, segments, 1)[0, 0]
  np.testing.assert_allclose(alone[0], expected, atol=1e-6)


def test_equal_settings_share_a_pass(model, vocabulary):
  def name(**settings):
    return embedding.make_embedding(
      **{'network': model[0], 'vocabulary': vocabulary, **settings}
    ).name

  assert name(embedding='encoder') == name(embedding='states', max_length=512)
  assert name(embedding='encoder') != name(embedding='encoder', max_length=9)
  assert name(embedding='column:a') != name(embedding='column:b')


def test_column_needs_no_network():
  features = embedding.make_embedding(
    'column:vector', network=None, vocabulary=None
  )
  assert features.column == 'vector'
  with pytest.raises(ValueError, match="column 'vector' runs no network"):
    features.apply({}, {}, 1)


@pytest.mark.parametrize('setting', ['', 'column', 'column:', 'decoder'])
def test_unknown_setting(setting, model, vocabulary):
  with pytest.raises(ValueError, match="expected 'states' or 'column:NAME'"):
    embedding.make_embedding(setting, network=model[0], vocabulary=vocabulary)


def test_missing_network_and_short_length(model, vocabulary):
  with pytest.raises(ValueError, match='needs a network'):
    embedding.make_embedding('encoder', network=None, vocabulary=vocabulary)
  for make in (embedding.encoder_embedding, embedding.decoder_embedding):
    with pytest.raises(ValueError, match='max_length is 1'):
      make(model[0], vocabulary, max_length=1)


def test_a_decoder_reads_bos_and_the_head_of_the_text(
  slow_llama, vocabulary, bos_vocabulary
):
  llama = slow_llama(vocabulary.size)
  with pytest.raises(ValueError, match='has no encoder'):
    embedding.encoder_embedding(llama.network, vocabulary)
  for words, start in ((vocabulary, []), (bos_vocabulary, [2])):
    features = embedding.make_embedding(
      'states', network=llama.network, vocabulary=words, max_length=9
    )
    documents = examples_of(features, words)
    assert [len(document) for document in documents] == [1, 1, 0, 1]
    tokens = words.encode_batch(TEXTS)
    for index in (0, 1):
      [example] = documents[index]
      expected = [*start, *tokens[index]][:9]
      assert example['decoder_inputs'].tolist() == expected


def test_a_decoders_vectors_weigh_by_position(
  slow_llama, vocabulary, fit_tools
):
  llama = slow_llama(vocabulary.size)
  features = embedding.make_embedding(
    'encoder', network=llama.network, vocabulary=vocabulary, max_length=32
  )
  examples = [e for own in examples_of(features, vocabulary) for e in own]
  found = fit_tools.outputs(features, llama.params, examples)['embedding']
  assert found.dtype == np.float32
  for example, vector in zip(examples, found, strict=True):
    states = llama.states(example['decoder_inputs'])
    pooled = np.arange(1, len(states) + 1) @ states
    expected = pooled / np.linalg.norm(pooled)
    np.testing.assert_allclose(vector, expected, atol=1e-5)
