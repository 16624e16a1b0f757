"""Numbers by hand, and that neighbours in a packed row change nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.data import packing
from jaxcurate.data.vocabulary import ByteVocabulary
from jaxcurate.models.t5 import T5Config, make_network
from jaxcurate.scorers import my_scorer
from jaxcurate.types import Document

VOCABULARY = ByteVocabulary()
NETWORK = make_network(
  T5Config(
    vocab_size=VOCABULARY.size,
    embed_dim=8,
    num_heads=2,
    head_dim=4,
    mlp_dim=8,
    num_encoder_layers=1,
    num_decoder_layers=1,
  )
)
TEXTS = ['one text', 'another', '']


@pytest.fixture(scope='module')
def scorer():
  return my_scorer.make(network=NETWORK, vocabulary=VOCABULARY, max_length=12)


def run(scorer, params, texts, max_segments):
  tokens = VOCABULARY.encode_batch(texts)
  documents = scorer.features.examples(
    [Document(text, text, None) for text in texts], tokens
  )
  packed = packing.pack(
    [example for examples in documents for example in examples],
    encoder_length=24,
    decoder_length=max_segments,
    max_segments=max_segments,
  )
  apply = jax.jit(scorer.features.apply, static_argnums=2)
  outputs = apply(params, packed.batch, max_segments)
  return np.asarray(outputs['best'])[packed.row, packed.segment - 1]


def test_the_score_is_the_output_by_hand(scorer):
  outputs = scorer.features.combine({'best': np.float32([-2.0])})
  assert scorer.score(outputs) == {'my_scorer': -2.0}


def test_texts_are_cut_and_empty_ones_have_no_score(scorer):
  tokens = VOCABULARY.encode_batch(['x' * 99, ''])
  documents = [Document('a', 'x' * 99, None), Document('b', '', None)]
  long, empty = scorer.features.examples(documents, tokens)
  assert len(long[0]['encoder']) == 12
  assert long[0]['encoder'][-1] == VOCABULARY.eos_id
  assert empty == []


def test_neighbours_in_a_row_change_nothing(scorer, draw_params):
  params = draw_params(NETWORK)
  alone = run(scorer, params, TEXTS, max_segments=1)
  together = run(scorer, params, TEXTS, max_segments=2)
  assert len(alone) == 2
  assert np.all(alone < 0)
  np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-5)


def test_it_is_a_log_probability(scorer, draw_params):
  params = draw_params(NETWORK, 1)
  flat = {**params, 'decoder': jax.tree.map(jnp.zeros_like, params['decoder'])}
  batch = packing.pack(
    scorer.features.examples([Document('a', 'a', None)], [[5, 6]])[0],
    encoder_length=8,
    decoder_length=1,
    max_segments=1,
  ).batch
  best = jax.jit(scorer.features.apply, static_argnums=2)(flat, batch, 1)
  # A decoder of zeros finds all tokens equally likely.
  np.testing.assert_allclose(best['best'], -np.log(VOCABULARY.size), rtol=1e-6)


def test_no_room_for_text_is_refused():
  with pytest.raises(ValueError, match='max_length is 1'):
    my_scorer.make(network=NETWORK, vocabulary=VOCABULARY, max_length=1)
