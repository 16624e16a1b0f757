"""Which tokens of a document a training run would learn from."""

import jax
import numpy as np
import pytest

from jaxcurate.data.vocabulary import ByteVocabulary, load_vocabulary
from jaxcurate.models import decoder, t5
from jaxcurate.scorers import training_examples
from jaxcurate.types import Document

BYTES = ByteVocabulary()
TURNS = (('user', 'ab'), ('assistant', 'cd'), ('user', 'e'), ('assistant', 'f'))
SHAPE = {'vocab_size': 600, 'embed_dim': 8, 'num_heads': 2, 'mlp_dim': 8}
CAUSAL = decoder.make_network(
  decoder.DecoderConfig(num_kv_heads=1, head_dim=4, num_layers=1, **SHAPE)
)
ENCODER = t5.make_network(
  t5.T5Config(head_dim=4, num_encoder_layers=1, num_decoder_layers=1, **SHAPE)
)


def ids(text):
  return [byte + 3 for byte in text.encode()]


def examples(document, network=CAUSAL, vocabulary=BYTES, **settings):
  settings = {'max_length': 64, 'conversations': False, **settings}
  text = training_examples.of_documents(network, vocabulary, **settings)
  return text.examples([document], vocabulary.encode_batch([document.text]))[0]


def test_a_plain_text_counts_whole():
  [found] = examples(Document('a', 'abcd', None))
  assert found['decoder_inputs'].tolist() == ids('abc')
  assert found['decoder_targets'].tolist() == ids('bcd')
  assert found['decoder_weights'].tolist() == [1.0, 1.0, 1.0]


def test_a_long_text_is_read_from_its_start(bos_vocabulary):
  [found] = examples(
    Document('a', 'abcdef', None), vocabulary=bos_vocabulary, max_length=4
  )
  assert found['decoder_inputs'].tolist() == [2, *ids('abc')]
  assert found['decoder_targets'].tolist() == ids('abcd')


def test_of_a_conversation_answers_count(bos_vocabulary):
  document = Document('a', 'abcdef', None, turns=TURNS)
  [found] = examples(document, vocabulary=bos_vocabulary)
  line, eos = ids('\n'), [1]
  written = [2, *ids('ab'), *line, *ids('cd'), *eos, *line]
  written += [*ids('e'), *line, *ids('f'), *eos, *line]
  assert found['decoder_inputs'].tolist() == written[:-1]
  assert found['decoder_targets'].tolist() == written[1:]
  counted = found['decoder_targets'][found['decoder_weights'] > 0]
  assert counted.tolist() == [*ids('cd'), *eos, *ids('f'), *eos]


@pytest.mark.parametrize('max_length', [1, 2])
def test_an_answer_that_does_not_fit_leaves_no_example(max_length):
  document = Document('a', 'abcd', None, turns=TURNS[:2])
  assert examples(document, max_length=max_length) == []
  [found] = examples(document, max_length=3)  # a, b, \n -> b, \n, c
  assert found['decoder_weights'].tolist() == [0.0, 0.0, 1.0]


@pytest.mark.parametrize('turns', [TURNS[:1], (('system', 'x'),)])
@pytest.mark.parametrize('network', [CAUSAL, ENCODER])
def test_nobody_answers(network, turns):
  assert examples(Document('a', 'ab', None, turns=turns), network) == []


@pytest.mark.parametrize('text', ['', 'a'])
def test_nothing_to_predict(text):
  assert examples(Document('a', text, None)) == []


def test_the_chat_template_frames_answers(chat_folder):
  vocabulary = load_vocabulary(chat_folder)
  turns = (('user', 'Hi there'), ('assistant', 'yes'), ('user', 'so'))
  document = Document('a', 'Hi there yes so', None, turns=turns)
  [found] = examples(document, vocabulary=vocabulary, max_length=512)
  text = '<|user|>Hi there<|end|><|assistant|>yes<|end|><|user|>so<|end|>'
  written = vocabulary.encode_special(text)
  assert found['decoder_inputs'].tolist() == written[:-1]
  counted = found['decoder_targets'][found['decoder_weights'] > 0]
  assert counted.tolist() == vocabulary.encode_special('yes<|end|>')


def test_an_encoder_decoder_answers_last():
  document = Document('a', 'abcdef', None, turns=TURNS)
  [found] = examples(document, ENCODER, conversations=True)
  assert found['encoder'].tolist() == [*ids('ab\ncd\ne'), 1]
  assert found['decoder_inputs'].tolist() == [0, *ids('f')]
  assert found['decoder_targets'].tolist() == [*ids('f'), 1]
  assert found['decoder_weights'].tolist() == [1.0, 1.0]
  [short] = examples(document, ENCODER, conversations=True, max_length=4)
  assert short['encoder'].tolist() == [*ids('ab\n'), 1]


def test_an_encoder_decoder_corrupts_plain_text():
  document = Document('a', 'a text of some length to hide spans in', None)
  [found] = examples(document, ENCODER)
  assert (found['decoder_targets'] == BYTES.sentinel_id(0)).any()
  assert found['decoder_weights'].all()


def test_decoder_lengths():
  def length(network, **settings):
    return training_examples.of_documents(
      network, BYTES, max_length=64, **settings
    ).decoder_length

  assert length(CAUSAL, conversations=False) == 64
  assert length(ENCODER, conversations=True) == 64
  assert length(ENCODER, conversations=False) < 20


def test_plain_texts_and_conversations_side_by_side():
  documents = [
    Document('a', 'plain', None),
    Document('b', 'abcd', None, turns=TURNS[:2]),
    Document('c', 'more', None),
  ]
  for network in (CAUSAL, ENCODER):
    text = training_examples.of_documents(
      network, BYTES, max_length=64, conversations=True
    )
    tokens = BYTES.encode_batch([d.text for d in documents])
    whole = text.examples(documents, tokens)
    for index, document in enumerate(documents):
      alone = text.examples([document], tokens[index : index + 1])
      jax.tree.map(np.testing.assert_array_equal, whole[index], alone[0])
    assert {frozenset(own) for made in whole for own in made} == {
      frozenset(whole[0][0])
    }


def test_conversations_are_found():
  plain = Document('a', 'x', None)
  spoken = plain._replace(turns=TURNS)
  assert not training_examples.has_conversations([plain])
  assert training_examples.has_conversations([plain, spoken])
