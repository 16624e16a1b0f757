"""Embedding similarity: the mean cosine to the anchors."""

import numpy as np
import pytest

from jaxcurate.data.vocabulary import ByteVocabulary
from jaxcurate.models import t5
from jaxcurate.scorers import embedding, embedding_similarity
from jaxcurate.types import Document

VOCABULARY = ByteVocabulary()
TEXTS = ['a text', 'another text, and a longer one', 'x', '7 + 8 = 15']
ANCHORS = ['an anchor', 'two anchors, or three', '?']


def documents_of(texts):
  return [Document(f'd{i}', text, None) for i, text in enumerate(texts)]


@pytest.fixture(scope='module')
def decoder_model(slow_llama):
  return slow_llama(VOCABULARY.size)


@pytest.fixture(scope='module')
def encoder_model(draw_params):
  network = t5.make_network(
    t5.T5Config(
      vocab_size=VOCABULARY.size,
      embed_dim=16,
      num_heads=2,
      head_dim=8,
      mlp_dim=32,
      num_encoder_layers=1,
      num_decoder_layers=0,
    )
  )
  return network, draw_params(network)


def make(network, vocabulary=VOCABULARY, anchors=ANCHORS, **settings):
  return embedding_similarity.make(
    network=network,
    vocabulary=vocabulary,
    anchors=documents_of(anchors),
    **{'max_length': 32, **settings},
  )


def test_three_cosines_by_hand(decoder_model, fit_tools):
  """Anchors at 0, 60 and 90 degrees from (1, 0): (1 + 1/2 + 0) / 3."""
  scorer = make(decoder_model.network)
  unit = np.array([[1, 0], [0.5, np.sqrt(0.75)], [0, 1]], np.float32)
  tools = fit_tools._replace(outputs=lambda *_: {'embedding': unit})
  mean = scorer.fit({}, tools)['mean']
  assert mean.dtype == np.float32
  assert np.array([1.0, 0.0]) @ mean == pytest.approx(0.5)
  row = scorer.score(scorer.features.combine({'similarity': np.array([0.5])}))
  assert row == {'embedding_similarity': 0.5}
  assert list(row) == list(scorer.columns)


def slow_vector(model, tokens):
  """Position-weighted mean of a slow Llama's states, unit norm, float64."""
  states = model.states(tokens)
  weight = np.arange(1, len(tokens) + 1)
  pooled = weight @ states
  return pooled / np.linalg.norm(pooled)


@pytest.mark.parametrize('with_bos', [False, True])
def test_agrees_with_a_slow_llama(
  decoder_model, with_bos, bos_vocabulary, fit_tools, score_documents
):
  vocabulary = bos_vocabulary if with_bos else VOCABULARY
  scorer = make(decoder_model.network, vocabulary)
  fitted = scorer.fit(decoder_model.params, fit_tools)
  found = score_documents(
    scorer, (decoder_model.params, fitted), documents_of(TEXTS), vocabulary
  )
  start = [vocabulary.bos_id] if with_bos else []
  anchors, vectors = (
    np.stack(
      [
        slow_vector(decoder_model, [*start, *tokens])
        for tokens in vocabulary.encode_batch(texts)
      ]
    )
    for texts in (ANCHORS, TEXTS)
  )
  expected = (vectors @ anchors.T).mean(axis=1)
  assert np.ptp(expected) > 0.05
  for row, value in zip(found, expected, strict=True):
    assert row['embedding_similarity'] == pytest.approx(value, abs=1e-5)


def test_an_encoder_agrees_with_its_vectors(
  encoder_model, fit_tools, score_documents
):
  network, params = encoder_model
  scorer = make(network)
  fitted = scorer.fit(params, fit_tools)
  rows = score_documents(
    scorer, (params, fitted), documents_of(TEXTS), VOCABULARY
  )

  def vectors(texts):
    features = embedding.encoder_embedding(network, VOCABULARY, max_length=32)
    tokens = VOCABULARY.encode_batch(texts)
    examples = features.examples(documents_of(texts), tokens)
    flat = [example for own in examples for example in own]
    return np.float64(fit_tools.outputs(features, params, flat)['embedding'])

  expected = (vectors(TEXTS) @ vectors(ANCHORS).T).mean(axis=1)
  for row, value in zip(rows, expected, strict=True):
    assert row['embedding_similarity'] == pytest.approx(value, abs=1e-6)


def test_only_anchor_is_most_like_itself_and_order_is_nothing(
  decoder_model, fit_tools, score_documents
):
  def rows(anchors, texts):
    scorer = make(decoder_model.network, anchors=anchors)
    fitted = scorer.fit(decoder_model.params, fit_tools)
    return [
      row['embedding_similarity']
      for row in score_documents(
        scorer,
        (decoder_model.params, fitted),
        documents_of(texts),
        VOCABULARY,
      )
    ]

  alone = rows([TEXTS[1]], TEXTS)
  assert np.argmax(alone) == 1
  assert alone[1] == pytest.approx(1.0, abs=1e-6)
  turned = rows(ANCHORS[::-1], TEXTS[::-1])[::-1]
  np.testing.assert_allclose(turned, rows(ANCHORS, TEXTS), atol=1e-6)


def test_anchors_have_a_say_in_the_name(decoder_model):
  names = {
    make(decoder_model.network, anchors=anchors).features.name
    for anchors in (ANCHORS, ANCHORS[:2])
  }
  assert len(names) == 2


@pytest.mark.parametrize('anchors', [[], ['', '']])
def test_empty_anchors_are_refused(decoder_model, anchors):
  message = f'there are {len(anchors)} anchors, 0 with text'
  with pytest.raises(ValueError, match=message):
    make(decoder_model.network, anchors=anchors)


def test_a_column_is_refused(decoder_model):
  with pytest.raises(ValueError, match='the anchors have no vectors'):
    make(decoder_model.network, embedding='column:v')
