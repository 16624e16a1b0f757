"""Prompts around a text, and the probability of the token that follows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.data.vocabulary import ByteVocabulary, load_vocabulary
from jaxcurate.scorers import answers, ask_llm

TEMPLATE = 'Is this good?\n{text}\n\nOPTIONS:\n- yes\n- no'
BYTES = ByteVocabulary()


def ids(text, vocabulary):
  return vocabulary.encode_batch([text])[0]


# --- frames -------------------------------------------------------------------


def test_an_encoders_prompt_ends_in_eos(small_vocabulary):
  vocabulary = load_vocabulary(str(small_vocabulary))
  before, after = answers.frame_tokens(TEMPLATE, vocabulary)
  assert before == ids('Is this good?', vocabulary)
  assert after == [*ids('OPTIONS: - yes - no', vocabulary), 1]


def test_a_bare_prompt_begins_with_bos_and_ends_its_line(bos_vocabulary):
  before, after = answers.frame_tokens(TEMPLATE, bos_vocabulary, causal=True)
  assert before == [2, *ids('Is this good?\n', bos_vocabulary)]
  assert after == ids('\n\nOPTIONS:\n- yes\n- no\n', bos_vocabulary)
  ended = answers.frame_tokens(TEMPLATE + '\n', BYTES, causal=True)
  assert ended == (before[1:], after)


def test_a_chat_frames_what_the_user_says(chat_vocabulary):
  frame = answers.frame_tokens(
    TEMPLATE, chat_vocabulary, causal=True, chat='auto'
  )
  text = ids('One text.', chat_vocabulary)
  said = TEMPLATE.replace('{text}', 'One text.')
  whole = chat_vocabulary.encode_chat([('user', said)])
  assert chat_vocabulary.decode(
    [*frame[0], *text, *frame[1]]
  ) == chat_vocabulary.decode(whole)
  special = chat_vocabulary.encode_special
  assert frame[0][:1] == special('<|user|>')
  assert frame[1][-2:] == special('<|end|><|assistant|>')
  bare = answers.frame_tokens(TEMPLATE, chat_vocabulary, causal=True)
  assert bare[0][:1] == [chat_vocabulary.bos_id]


def test_no_space_comes_in_between_in_llamas_vocabulary(shared_data):
  vocabulary = load_vocabulary(
    str(shared_data / 'tokenizers' / 'llama2_tokenizer.model')
  )
  before, after = answers.frame_tokens(
    ask_llm.TEMPLATE, vocabulary, causal=True
  )
  assert before[0] == vocabulary.bos_id
  whole = ids(ask_llm.TEMPLATE.replace('{text}', '?') + '\n', vocabulary)
  assert after == whole[-len(after) :]
  assert vocabulary.decode(after) == ask_llm.TEMPLATE.split('{text}')[1] + '\n'
  # The word that begins a text (29871 is a space) and the one that goes on.
  assert len(answers.word_ids(('yes',), vocabulary, causal=True)) == 2
  assert len(answers.word_ids(('yes',), vocabulary)) == 1


# --- words --------------------------------------------------------------------


def test_words_and_spellings(chat_vocabulary):
  def one(word):
    [token] = ids(word, chat_vocabulary)
    return token

  word_ids = answers.word_ids(
    ['yes', 'Yes', 'yes'], chat_vocabulary, causal=True
  )
  assert word_ids == (one('yes'), one('Yes'))
  spelt = answers.spelling_ids('yes', chat_vocabulary, causal=True)
  assert set(spelt) == {one('yes'), one('Yes'), one(' yes')}
  assert len(ids('YES', chat_vocabulary)) > 1  # and was left out


def test_unfit_words_are_explained(chat_vocabulary):
  for causal in (False, True):
    with pytest.raises(ValueError, match="'perhaps so' is "):
      answers.word_ids(['yes', 'perhaps so'], chat_vocabulary, causal=causal)
    with pytest.raises(ValueError, match="no spelling of 'perhaps so'"):
      answers.spelling_ids('perhaps so', chat_vocabulary, causal=causal)
  with pytest.raises(ValueError, match="in a list, or 'auto'; found 'yes'"):
    answers.word_ids('yes', chat_vocabulary)


# --- the next token -----------------------------------------------------------


def test_states_are_those_of_each_segments_last_token(slow_llama):
  llama = slow_llama(BYTES.size)
  texts = [ids(text, BYTES) for text in ('abc', 'de', 'fghij')]
  rows = [
    ([0, 0, *texts[0], *texts[1]], [0, 0, 1, 1, 1, 2, 2]),  # padded left
    ([*texts[2], 0, 0], [1, 1, 1, 1, 1, 0, 0]),  # and right
    ([0] * 7, [0] * 7),
  ]
  batch = {
    'decoder_input_tokens': jnp.array([row for row, _ in rows]),
    'decoder_segment_ids': jnp.array([row for _, row in rows]),
  }
  states, exists = jax.jit(
    lambda params, batch: answers.answer_states(llama.network, params, batch, 2)
  )(llama.params, batch)
  assert exists.tolist() == [[True, True], [True, False], [False, False]]
  assert np.isfinite(states).all()
  for place, text in zip([(0, 0), (0, 1), (1, 0)], texts, strict=True):
    expected = llama.states(text)[-1]
    np.testing.assert_allclose(states[place], expected, atol=1e-4)


def test_yes_no_reads_only_those_rows():
  states = jnp.ones((1, 1, 2))
  head = jnp.array([[1.0, 2.0, 0.5, 9.0], [0.0, 1.0, 0.5, 9.0]])
  # logits 1, 3, 1, 18
  both = answers.log_prob_of_words(states, head, (0, 2), (1,))
  expected = np.log(2 * np.e) - np.log(2 * np.e + np.exp(3))
  assert float(both[0, 0]) == pytest.approx(expected, rel=1e-6)
  full = answers.log_prob_of_words(states, head, (3,))
  assert float(full[0, 0]) == pytest.approx(0.0, abs=2e-6)
