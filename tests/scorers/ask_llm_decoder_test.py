"""Ask-LLM on decoder-only networks: the answer after the last prompt token."""

import numpy as np
import pytest

from jaxcurate.scorers import answers, ask_llm
from jaxcurate.types import Document

TEMPLATE = '###\n{text}\n###\ngood? - yes - no'
TEXTS = ['A fact.', 'class object def return', 'x = 1', 'and so on ' * 40, '']


@pytest.fixture(scope='module')
def llama(slow_llama, chat_vocabulary):
  return slow_llama(chat_vocabulary.size)


@pytest.fixture
def make(llama, chat_vocabulary):
  def call(**settings):
    return ask_llm.make(
      network=llama.network,
      vocabulary=chat_vocabulary,
      **{'template': TEMPLATE, 'max_length': 64, **settings},
    )

  return call


@pytest.fixture
def score(llama, chat_vocabulary, score_documents):
  def call(scorer, texts=TEXTS, **settings):
    documents = [Document(f'd{i}', text, None) for i, text in enumerate(texts)]
    return score_documents(
      scorer, llama.params, documents, chat_vocabulary, **settings
    )

  return call


def slow_probs(llama, prompt):
  """P of every next token after the prompt, float64."""
  return np.exp(llama.log_probs(prompt)[-1])


def prompts(vocabulary, text, room, chat, template=TEMPLATE):
  """The whole prompts of a text's windows."""
  before, after = answers.frame_tokens(
    template, vocabulary, causal=True, chat=chat
  )
  [tokens] = vocabulary.encode_batch([text])
  size = room - len(before) - len(after)
  return [
    ([*before, *tokens[i : i + size], *after], len(tokens[i : i + size]))
    for i in range(0, len(tokens), size)
  ]


@pytest.mark.parametrize('chat', ['auto', 'never'])
def test_score_is_the_slow_llamas_log_prob_of_yes(
  llama, chat_vocabulary, make, score, chat
):
  [[yes]] = chat_vocabulary.encode_batch(['yes'])
  rows = score(make(chat=chat))
  assert rows[-1] is None  # no text, no score
  expected = [
    slow_probs(llama, prompts(chat_vocabulary, text, 64, chat)[0][0])[yes]
    for text in TEXTS[:-1]
  ]
  found = [row['ask_llm'] for row in rows[:-1]]
  np.testing.assert_allclose(found, np.log(expected), rtol=1e-4)
  assert np.ptp(found) > 0.05


def test_spellings_add_up_and_no_can_be_the_rest(
  llama, chat_vocabulary, make, score
):
  yes, no = (
    answers.spelling_ids(word, chat_vocabulary, causal=True)
    for word in ('yes', 'no')
  )
  assert len(yes) == 3
  for normalise in ('vocabulary', 'yes_no'):
    rows = score(
      make(yes_words='auto', no_words='auto', normalise=normalise), TEXTS[:2]
    )
    for text, row in zip(TEXTS, rows, strict=False):
      [(prompt, _)] = prompts(chat_vocabulary, text, 64, 'auto')
      prob = slow_probs(llama, prompt)
      total = prob[list(yes)].sum()
      if normalise == 'yes_no':
        total /= total + prob[list(no)].sum()
      expected = pytest.approx(np.log(total), rel=1e-4, abs=1e-5)
      assert row['ask_llm'] == expected


def test_windows_average_the_probability_by_tokens(
  llama, chat_vocabulary, make, score
):
  [[yes]] = chat_vocabulary.encode_batch(['yes'])
  [row] = score(make(long_texts='windows'), TEXTS[3:4])
  windows = prompts(chat_vocabulary, TEXTS[3], 64, 'auto')
  assert len(windows) > 2
  probs = [slow_probs(llama, prompt)[yes] for prompt, _ in windows]
  sizes = [size for _, size in windows]
  expected = np.average(probs, weights=sizes)
  assert row['ask_llm'] == pytest.approx(np.log(expected), rel=1e-4)


def test_packing_and_order_change_nothing(make, score):
  scorer = make()
  assert scorer.features.max_segments == 1  # 64 tokens are one prompt's
  alone = score(scorer, TEXTS[:3])
  roomy = make(max_length=256)
  assert roomy.features.max_segments > 3
  for texts, flip in ((TEXTS[:3], 1), (TEXTS[:3][::-1], -1)):
    packed = score(roomy, texts)[::flip]
    for one, other in zip(alone, packed, strict=True):
      assert one['ask_llm'] == pytest.approx(other['ask_llm'], rel=1e-5)


def test_criteria_of_several_lengths_and_their_weighted_sum(
  llama, chat_vocabulary, make, score
):
  criteria = {'fun': '{text}\nfun?', 'use': 'Is it\n{text}\nof any use?'}
  scorer = make(
    criteria=criteria,
    criteria_weights={'use': 2.0, 'fun': 0.5},
    long_texts='windows',
  )
  assert list(scorer.columns) == ['ask_llm/fun', 'ask_llm/use', 'ask_llm']
  assert scorer.columns['ask_llm'] == 'weighted sum of log P(yes)'
  [row] = score(scorer, TEXTS[3:4])
  [[yes]] = chat_vocabulary.encode_batch(['yes'])
  frames = {
    name: answers.frame_tokens(
      template, chat_vocabulary, causal=True, chat='auto'
    )
    for name, template in criteria.items()
  }
  longest = max(len(before + after) for before, after in frames.values())
  for name, (before, after) in frames.items():
    room = 64 - longest + len(before + after)  # one room for all criteria
    windows = prompts(chat_vocabulary, TEXTS[3], room, 'auto', criteria[name])
    probs = [slow_probs(llama, prompt)[yes] for prompt, _ in windows]
    mean = np.average(probs, weights=[size for _, size in windows])
    assert row[f'ask_llm/{name}'] == pytest.approx(np.log(mean), rel=1e-4)
  expected = 2 * row['ask_llm/use'] + 0.5 * row['ask_llm/fun']
  assert row['ask_llm'] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
  'settings, message',
  [
    ({'yes_words': ('yes', 'perhaps so')}, 'not one known token'),
    ({'yes_words': 'yes'}, "in a list, or 'auto'"),
    ({'chat': 'always'}, "'auto' or 'never'"),
    ({'max_length': 8}, 'leaves no room'),
    ({'criteria_weights': {'fun': 1.0}}, 'give each its weight'),
    ({'template': 'glued{text}'}, 'white space'),
  ],
)
def test_bad_settings_are_explained(make, settings, message):
  with pytest.raises(ValueError, match=message):
    make(**settings)
