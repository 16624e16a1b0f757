"""Ask-LLM: the exact prompt, the exact probability, packing, windows."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sentencepiece

from jaxcurate.data import packing
from jaxcurate.data.vocabulary import ByteVocabulary, SentencePieceVocabulary
from jaxcurate.models import t5
from jaxcurate.scorers import answers, ask_llm
from jaxcurate.types import Document

# The prompt of the paper's Figure 3 around the text "A fact.".
PROMPT = """###
A fact.
###

Does the previous paragraph demarcated within ### and ### contain informative \
signal for pre-training a large-language model? An informative datapoint \
should be well-formatted, contain some usable knowledge of the world, and \
strictly NOT have any harmful, racist, sexist, etc. content.

OPTIONS:
- yes
- no"""


@pytest.fixture(scope='module')
def vocabulary(small_vocabulary):
  return SentencePieceVocabulary(small_vocabulary)


@pytest.fixture(scope='module')
def model(vocabulary, draw_params):
  config = t5.T5Config(
    vocab_size=vocabulary.size,
    embed_dim=16,
    num_heads=2,
    head_dim=8,
    mlp_dim=32,
    num_encoder_layers=2,
    num_decoder_layers=2,
  )
  network = t5.make_network(config)
  params = draw_params(network)
  # Weights large enough that the text decides the answer.
  return network, jax.tree.map(lambda x: x * 2.0, params)


def examples_of(scorer, texts, vocabulary):
  documents = [Document(str(i), text, None) for i, text in enumerate(texts)]
  return scorer.features.examples(documents, vocabulary.encode_batch(texts))


def score_of(scorer, params, texts, vocabulary, max_segments=4):
  documents = examples_of(scorer, texts, vocabulary)
  examples = [e for d in documents for e in d]
  packed = packing.pack(
    examples,
    encoder_length=scorer.features.encoder_length,
    decoder_length=max_segments,
    max_segments=max_segments,
  )
  out = jax.jit(scorer.features.apply, static_argnums=2)(
    params, packed.batch, max_segments
  )
  rows = {
    k: np.asarray(v)[packed.row, packed.segment - 1] for k, v in out.items()
  }
  results, start = [], 0
  for document in documents:
    end = start + len(document)
    if document:
      own = {name: values[start:end] for name, values in rows.items()}
      results.append(scorer.score(scorer.features.combine(own)))
    else:
      results.append(None)
    start = end
  return results


def test_prompt_is_the_papers_and_ends_in_eos(
  vocabulary, model, small_vocabulary
):
  scorer = ask_llm.make(network=model[0], vocabulary=vocabulary)
  [[example]] = examples_of(scorer, ['A fact.'], vocabulary)
  whole = sentencepiece.SentencePieceProcessor(model_file=str(small_vocabulary))
  assert example['encoder'].tolist() == [*whole.encode(PROMPT), 1]
  assert example['decoder_inputs'].tolist() == [0]


def test_prompt_in_t5s_own_vocabulary_and_hashes_in_the_text(
  shared_data, model
):
  path = shared_data / 'tokenizers' / 't5_spiece.model'
  vocabulary = SentencePieceVocabulary(path)
  assert vocabulary.encode_batch(['yes']) == [[4273]]
  whole = sentencepiece.SentencePieceProcessor(model_file=str(path))
  text = '### a text with ### inside,\n\ttabs and  spaces '
  scorer = ask_llm.make(network=model[0], vocabulary=vocabulary)
  [[example]] = examples_of(scorer, [text], vocabulary)
  expected = whole.encode(ask_llm.TEMPLATE.replace('{text}', text))
  assert example['encoder'].tolist() == [*expected, 1]


def test_score_is_log_softmax_of_yes(vocabulary, model):
  network, params = model
  texts = ['A fact.', 'class object def return', 'x = 1']
  scorer = ask_llm.make(network=network, vocabulary=vocabulary, max_length=200)
  scores = score_of(scorer, params, texts, vocabulary)
  [[yes]] = vocabulary.encode_batch(['yes'])
  prompts = [ask_llm.TEMPLATE.replace('{text}', text) for text in texts]
  tokens = np.zeros((3, 200), np.int32)
  for row, prompt in zip(tokens, vocabulary.encode_batch(prompts), strict=True):
    row[: len(prompt) + 1] = [*prompt, 1]

  @jax.jit
  def logits_of(params, tokens):
    real, one = jnp.sign(tokens), jnp.ones((3, 1), jnp.int32)
    encoded = network.encode(params, tokens, real)
    states = network.decode(params, encoded, real, one * 0, one)
    return states[:, 0] @ network.head(params)

  found = np.asarray(logits_of(params, tokens), np.float64)
  for logits, score in zip(found, scores, strict=True):
    expected = logits[yes] - np.log(np.exp(logits - logits.max()).sum())
    assert score['ask_llm'] == pytest.approx(expected - logits.max(), rel=1e-5)
  assert len({score['ask_llm'] for score in scores}) == 3


def test_long_texts_keep_the_question(vocabulary, model):
  text = 'word and text ' * 200
  for long_texts, count in (('head', 1), ('windows', None)):
    scorer = ask_llm.make(
      network=model[0],
      vocabulary=vocabulary,
      max_length=200,
      long_texts=long_texts,
    )
    tokens = vocabulary.encode_batch([text])
    [examples] = examples_of(scorer, [text], vocabulary)
    frame = answers.frame_tokens(ask_llm.TEMPLATE, vocabulary)
    size = sum(map(len, frame))
    assert all(len(e['encoder']) <= 200 for e in examples)
    for example in examples:
      assert example['encoder'][-len(frame[1]) :].tolist() == frame[1]
    assert len(examples) == (count or -(-len(tokens[0]) // (200 - size)))


def test_windows_average_probability_by_tokens():
  combine = ask_llm._make_combine(1)
  outputs = {
    'log_yes': np.log(np.array([0.5, 0.1], np.float32)),
    'text_tokens': np.array([30.0, 10.0], np.float32),
  }
  mean = (0.5 * 30 + 0.1 * 10) / 40
  assert combine(outputs)['log_yes'][0] == pytest.approx(np.log(mean), rel=1e-6)


def test_nan_stays_nan_without_a_warning():
  outputs = {
    'log_yes': np.array([np.nan, -1.0], np.float32),
    'text_tokens': np.array([1.0, 1.0], np.float32),
  }
  with warnings.catch_warnings():
    warnings.simplefilter('error')
    assert np.isnan(ask_llm._make_combine(1)(outputs)['log_yes'][0])


def test_criteria_share_a_pass_and_name_their_columns(vocabulary, model):
  network, params = model
  criteria = {'fun': '{text}\nfun: - yes - no', 'use': 'use?\n{text}\nyes no'}
  both = ask_llm.make(
    network=network, vocabulary=vocabulary, criteria=criteria, max_length=64
  )
  assert list(both.columns) == ['ask_llm/fun', 'ask_llm/use']
  [scores] = score_of(both, params, ['A fact.'], vocabulary)
  for name, template in criteria.items():
    alone = ask_llm.make(
      network=network, vocabulary=vocabulary, template=template, max_length=64
    )
    [score] = score_of(alone, params, ['A fact.'], vocabulary)
    assert scores[f'ask_llm/{name}'] == pytest.approx(
      score['ask_llm'], rel=1e-5
    )


def test_empty_text_has_no_score(vocabulary, model):
  scorer = ask_llm.make(network=model[0], vocabulary=vocabulary)
  assert scorer.features.examples([Document('a', ' ', None)], [[]]) == [[]]


@pytest.mark.parametrize(
  'settings, message',
  [
    ({'yes_words': ('yes', 'antidisestablishment')}, 'not one known token'),
    ({'yes_words': ()}, 'at least one word'),
    ({'template': 'no place for a text'}, '0 times'),
    ({'template': 'glued{text}'}, 'white space'),
    ({'max_length': 20}, 'leaves no room'),
    ({'long_texts': 'tail'}, "'head' or 'windows'"),
    ({'normalise': 'x'}, 'yes_no'),
  ],
)
def test_bad_settings_are_explained(vocabulary, model, settings, message):
  with pytest.raises(ValueError, match=message):
    ask_llm.make(network=model[0], vocabulary=vocabulary, **settings)


def test_byte_vocabulary_cannot_answer_in_one_token(model):
  with pytest.raises(ValueError, match="'yes' is 3 tokens"):
    ask_llm.make(network=model[0], vocabulary=ByteVocabulary())
