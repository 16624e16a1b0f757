"""Perplexity: the mean log-likelihood of hidden spans, fixed per document."""

import jax
import numpy as np
import pytest

from jaxcurate.data import packing
from jaxcurate.data.vocabulary import ByteVocabulary
from jaxcurate.models import t5
from jaxcurate.scorers import perplexity
from jaxcurate.types import Document

VOCABULARY = ByteVocabulary()


@pytest.fixture(scope='module')
def model(draw_params):
  network = t5.make_network(
    t5.T5Config(
      vocab_size=VOCABULARY.size,
      embed_dim=16,
      num_heads=2,
      head_dim=8,
      mlp_dim=32,
      num_encoder_layers=1,
      num_decoder_layers=1,
    )
  )
  return network, draw_params(network)


def examples_of(scorer, texts, ids=None):
  ids = ids or [f'doc{i}' for i in range(len(texts))]
  documents = [Document(i, text, None) for i, text in zip(ids, texts)]
  return scorer.features.examples(documents, VOCABULARY.encode_batch(texts))


def outputs_of(scorer, params, documents, max_segments=4):
  packed = packing.pack(
    [example for document in documents for example in document],
    encoder_length=scorer.features.encoder_length,
    decoder_length=scorer.features.decoder_length * 2,
    max_segments=max_segments,
  )
  out = jax.jit(scorer.features.apply, static_argnums=2)(
    params, packed.batch, max_segments
  )
  return {
    name: np.asarray(values)[packed.row, packed.segment - 1]
    for name, values in out.items()
  }


def test_score_is_the_mean_log_likelihood_of_the_targets(model):
  network, params = model
  scorer = perplexity.make(
    network=network, vocabulary=VOCABULARY, max_length=64
  )
  documents = examples_of(scorer, ['a short text', 'another one, longer'])
  found = outputs_of(scorer, params, documents)
  alone = packing.pack(
    [example for [example] in documents],
    encoder_length=scorer.features.encoder_length,
    decoder_length=scorer.features.decoder_length,
    max_segments=1,
  ).batch

  @jax.jit
  def logits_of(params, batch):
    ids = batch['encoder_segment_ids'], batch['decoder_segment_ids']
    encoded = network.encode(params, batch['encoder_input_tokens'], ids[0])
    inputs = batch['decoder_input_tokens']
    states = network.decode(params, encoded, ids[0], inputs, ids[1])
    return states @ network.head(params)

  every = np.asarray(logits_of(params, alone), np.float64)
  for index, [example] in enumerate(documents):
    logits = every[index, : len(example['decoder_inputs'])]
    log_prob = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    targets = example['decoder_targets']
    own = log_prob[np.arange(len(targets)), targets]
    sums = scorer.features.combine(
      {name: values[index : index + 1] for name, values in found.items()}
    )
    score = scorer.score(sums)['perplexity']
    assert score == pytest.approx(own.mean(), rel=1e-5)
    assert sums['targets'] == len(targets)


def test_inputs_and_targets_rebuild_the_text(model):
  scorer = perplexity.make(network=model[0], vocabulary=VOCABULARY)
  [[example]] = examples_of(scorer, ['the quick brown fox jumps'])
  sentinels = {VOCABULARY.sentinel_id(i): i for i in range(20)}
  hidden, span = {}, None
  for token in example['decoder_targets'][:-1].tolist():
    if token in sentinels:
      span = sentinels[token]
      hidden[span] = []
    else:
      hidden[span].append(token)
  text = []
  for token in example['encoder'][:-1].tolist():
    text += hidden[sentinels[token]] if token in sentinels else [token]
  assert VOCABULARY.decode(text) == 'the quick brown fox jumps'
  shifted = example['decoder_inputs'][1:]
  assert shifted.tolist() == example['decoder_targets'][:-1].tolist()


def test_mask_depends_on_the_id_and_the_seed_only(model):
  text = 'the same text under several ids, long enough to differ'
  scorer = perplexity.make(network=model[0], vocabulary=VOCABULARY)
  both = examples_of(scorer, [text, text], ['a', 'b'])
  [alone] = examples_of(scorer, [text], ['b'])
  np.testing.assert_array_equal(both[1][0]['encoder'], alone[0]['encoder'])
  assert both[0][0]['encoder'].tolist() != both[1][0]['encoder'].tolist()
  other = perplexity.make(network=model[0], vocabulary=VOCABULARY, seed=1)
  [reseeded] = examples_of(other, [text], ['b'])
  assert reseeded[0]['encoder'].tolist() != alone[0]['encoder'].tolist()


def test_windows_cover_a_long_text_and_head_its_start(model):
  text = 'abcdefghij' * 40
  for long_texts, windows in (('windows', 6), ('head', 1)):
    scorer = perplexity.make(
      network=model[0],
      vocabulary=VOCABULARY,
      max_length=64,
      long_texts=long_texts,
    )
    [examples] = examples_of(scorer, [text])
    assert len(examples) == windows
    assert all(len(e['encoder']) <= 64 for e in examples)
    limit = scorer.features.decoder_length
    assert all(len(e['decoder_targets']) <= limit for e in examples)


def test_combine_weighs_windows_by_targets(model):
  scorer = perplexity.make(network=model[0], vocabulary=VOCABULARY)
  sums = scorer.features.combine(
    {'log_prob': np.array([-6.0, -1.0]), 'targets': np.array([3.0, 1.0])}
  )
  assert scorer.score(sums)['perplexity'] == -7 / 4


def test_one_token_has_no_score(model):
  scorer = perplexity.make(network=model[0], vocabulary=VOCABULARY)
  assert examples_of(scorer, ['x', '', 'xy'])[:2] == [[], []]
  assert len(examples_of(scorer, ['xy'])[0]) == 1


def test_bad_settings_are_explained(model):
  with pytest.raises(ValueError, match="'head' or 'windows'"):
    perplexity.make(
      network=model[0], vocabulary=VOCABULARY, long_texts='middle'
    )
  with pytest.raises(ValueError, match='noise_density'):
    perplexity.make(network=model[0], vocabulary=VOCABULARY, noise_density=1.5)
