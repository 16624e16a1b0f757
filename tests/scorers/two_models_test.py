"""RHO-loss and CoLoR-Filter: one subtraction of two models' losses."""

import jax
import numpy as np
import pytest

from jaxcurate.data.vocabulary import ByteVocabulary
from jaxcurate.models import t5
from jaxcurate.scorers import color_filter, perplexity, rho, two_models
from jaxcurate.types import Document

VOCABULARY = ByteVocabulary()
TEXTS = ['a short text', 'another one, which is longer', 'ok', 'x']
SCORERS = pytest.mark.parametrize('module', [rho, color_filter])


@pytest.fixture(scope='module')
def models(slow_llama):
  """Two models of different widths."""
  return (
    slow_llama(VOCABULARY.size, seed=0),
    slow_llama(VOCABULARY.size, seed=1, embed_dim=8),
  )


@pytest.fixture(scope='module')
def encoder_decoder(draw_params):
  network = t5.make_network(
    t5.T5Config(
      vocab_size=VOCABULARY.size,
      embed_dim=8,
      num_heads=2,
      head_dim=4,
      mlp_dim=16,
      num_encoder_layers=1,
      num_decoder_layers=1,
    )
  )
  return network, draw_params(network)


def documents_of(texts):
  return [Document(f'd{i}', text, None) for i, text in enumerate(texts)]


@SCORERS
def test_three_numbers_by_hand(module, models):
  # Losses of 6 / 4 = 1.5 under the model and 4 / 4 = 1 under the reference.
  network, reference = (model.network for model in models)
  scorer = module.make(
    network=network, vocabulary=VOCABULARY, reference=reference
  )
  [column] = scorer.columns
  sums = scorer.features.combine(
    {
      'model': np.array([-5.0, -1.0]),
      'reference': np.array([-2.5, -1.5]),
      'targets': np.array([3.0, 1.0]),
    }
  )
  assert scorer.score(sums) == {column: 0.5}
  assert scorer.columns == {column: two_models.UNIT}
  assert scorer.second


@SCORERS
@pytest.mark.parametrize('with_bos', [False, True])
def test_agrees_with_two_slow_llamas(
  module, with_bos, models, bos_vocabulary, score_documents
):
  vocabulary = bos_vocabulary if with_bos else VOCABULARY
  model, reference = models
  scorer = module.make(
    network=model.network,
    vocabulary=vocabulary,
    reference=reference.network,
    max_length=32,
  )
  found = score_documents(
    scorer, (model.params, reference.params), documents_of(TEXTS), vocabulary
  )
  [column] = scorer.columns
  for tokens, row in zip(vocabulary.encode_batch(TEXTS), found, strict=True):
    tokens = [vocabulary.bos_id, *tokens] if with_bos else tokens
    if len(tokens) < 2:
      assert row is None
      continue
    mean_loss = [
      -one.log_likelihood(tokens) / (len(tokens) - 1) for one in models
    ]
    expected = mean_loss[0] - mean_loss[1]
    assert abs(expected) > 0.01
    assert row[column] == pytest.approx(expected, rel=1e-4)


def test_both_share_a_pass(models):
  network, reference = (model.network for model in models)
  names = {
    module.make(
      network=network, vocabulary=VOCABULARY, reference=reference, **settings
    ).features.name
    for module in (rho, color_filter)
    for settings in ({}, {'max_length': 9})
  }
  assert len(names) == 2


def test_a_model_against_itself_is_zero_and_swapping_negates(
  models, score_documents
):
  model, reference = models
  for first, second in ((model, model), (model, reference)):
    both = [
      score_documents(
        rho.make(
          network=one.network, vocabulary=VOCABULARY, reference=other.network
        ),
        (one.params, other.params),
        documents_of(TEXTS[:2]),
        VOCABULARY,
      )
      for one, other in ((first, second), (second, first))
    ]
    for row, swapped in zip(*both, strict=True):
      assert row['rho'] == pytest.approx(-swapped['rho'], rel=1e-6)
      assert (row['rho'] == 0) == (first is second)


def test_encoder_decoders_hide_the_same_spans(encoder_decoder, score_documents):
  """Both models' losses are perplexity's, which masks by id alone."""
  network, params = encoder_decoder
  other = jax.tree.map(lambda x: 1.5 * x, params)
  documents = documents_of(TEXTS[:2])
  settings = {'network': network, 'vocabulary': VOCABULARY, 'max_length': 32}
  rows = score_documents(
    rho.make(reference=network, **settings),
    (params, other),
    documents,
    VOCABULARY,
  )
  alone = [
    score_documents(perplexity.make(**settings), weights, documents, VOCABULARY)
    for weights in (params, other)
  ]
  for row, one, two in zip(rows, *alone, strict=True):
    expected = two['perplexity'] - one['perplexity']
    assert row['rho'] == pytest.approx(expected, rel=1e-5)


@SCORERS
def test_two_kinds_of_network_are_refused(module, models, encoder_decoder):
  decoder, seq2seq = models[0].network, encoder_decoder[0]
  with pytest.raises(ValueError, match='--model is decoder-only and --ref'):
    module.make(network=decoder, vocabulary=VOCABULARY, reference=seq2seq)
  with pytest.raises(ValueError, match='--model is an encoder-decoder and'):
    module.make(network=seq2seq, vocabulary=VOCABULARY, reference=decoder)
