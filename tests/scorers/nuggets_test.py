"""Nuggets: one-shot against zero-shot, over anchors that share a candidate."""

import jax
import numpy as np
import pytest

from jaxcurate.data.vocabulary import ByteVocabulary
from jaxcurate.models import t5
from jaxcurate.scorers import nuggets
from jaxcurate.types import Document

VOCABULARY = ByteVocabulary()
EXAMPLE = 'Q {instruction}\nA {response}\n\n'


def conversation(name, *turns):
  roles = ['user', 'assistant'] * len(turns)
  return Document(
    name, ' '.join(turns), None, turns=tuple(zip(roles, turns, strict=False))
  )


ANCHORS = [
  conversation('a', 'Two and two?', 'four'),
  conversation('b', 'Hi', 'Ho', 'Bye', 'See you'),
  conversation('c', 'A colour', 'blue or green or whatever you like'),
  conversation('d', '?', '!'),
]
DOCUMENTS = [
  conversation('x', 'Three and three?', 'six'),
  Document('y', 'A plain text.', None),
  conversation('z', 'Hi', 'Ho', 'And {response}?', ''),
]


@pytest.fixture(scope='module')
def llama(slow_llama):
  return slow_llama(VOCABULARY.size)


def make(llama, vocabulary=VOCABULARY, anchors=ANCHORS, **settings):
  return nuggets.make(
    network=llama.network,
    vocabulary=vocabulary,
    anchors=anchors,
    **{'example': EXAMPLE, 'max_length': 64, **settings},
  )


def fit_and_score(scorer, llama, documents, vocabulary, tools, score_documents):
  fitted = scorer.fit(llama.params, tools)
  return score_documents(
    scorer, (llama.params, fitted), documents, vocabulary
  ), np.asarray(fitted['zero_shot'])


# Written by hand: what stands before each question, the question, the answer.
TASKS = [
  ('Q Two and two?\nA ', 'four'),
  ('Q Hi\nA Ho\n\nQ Bye\nA ', 'See you'),
  ('Q A colour\nA ', 'blue or green or whatever you like'),
  ('Q ?\nA ', '!'),
]
CANDIDATES = [
  'Q Three and three?\nA six\n\n',
  'A plain text.\n\n',
  'Q Hi\nA Ho\n\nQ And {response}?\nA \n\n',
]


def test_a_share_and_a_mean_by_hand(llama):
  """Gains of 2, -1, 4 and 0 nats over 4, 7, 34 and 1 tokens: two of four."""
  scorer = make(llama)
  row = scorer.score(
    scorer.features.combine(
      {
        'nuggets': np.float32([0.5]),
        'nuggets/gain': np.float32([(2 / 4 - 1 / 7 + 4 / 34) / 4]),
      }
    )
  )
  assert row['nuggets'] == 0.5
  assert list(row) == list(scorer.columns)
  [*_, own] = [nuggets._task(a, EXAMPLE, VOCABULARY, 64) for a in ANCHORS]
  assert [VOCABULARY.decode(part) for part in own] == list(TASKS[3])


@pytest.mark.parametrize('with_bos', [False, True])
def test_agrees_with_a_slow_llama(
  llama, with_bos, bos_vocabulary, fit_tools, score_documents
):
  vocabulary = bos_vocabulary if with_bos else VOCABULARY
  start = [2] if with_bos else []
  rows, zero_shot = fit_and_score(
    make(llama, vocabulary),
    llama,
    DOCUMENTS,
    vocabulary,
    fit_tools,
    score_documents,
  )

  def slow(candidate, question, answer):
    ids = vocabulary.encode_batch([candidate, question, answer])
    tokens = [*start, *ids[0], *ids[1], *ids[2]]
    return llama.log_likelihood(tokens, len(tokens) - len(ids[2]))

  zero = np.array([slow('', *task) for task in TASKS])
  np.testing.assert_allclose(zero_shot, zero, rtol=1e-5)
  shares = []
  for candidate, row in zip(CANDIDATES, rows, strict=True):
    gain = np.array([slow(candidate, *task) for task in TASKS]) - zero
    assert abs(gain).min() > 1e-3  # no tie that rounding could break
    assert row['nuggets'] == (gain > 0).mean()
    per_token = gain / [len(answer) for _, answer in TASKS]
    assert row['nuggets/gain'] == pytest.approx(per_token.mean(), abs=1e-4)
    shares.append(row['nuggets'])
  assert any(0 < share < 1 for share in shares)


def test_order_of_anchors_and_candidates_is_nothing(
  llama, fit_tools, score_documents
):
  both = [
    fit_and_score(
      make(llama, anchors=ANCHORS[::flip]),
      llama,
      DOCUMENTS[::flip],
      VOCABULARY,
      fit_tools,
      score_documents,
    )[0][::flip]
    for flip in (1, -1)
  ]
  for row, turned in zip(*both, strict=True):
    assert row == pytest.approx(turned, abs=1e-5)


def test_anchors_are_packed_without_touching():
  found = [([3] * 5, [4] * 3), ([5] * 2, [6]), ([7], [8] * 9), ([9], [10])]
  tasks = nuggets._pack(found, 10)
  assert tasks.rows['decoder_input_tokens'].shape == (2, 10)
  assert tasks.answer_tokens.tolist() == [3, 1, 9, 1]
  for (question, answer), row, segment in zip(
    found, tasks.row, tasks.segment, strict=True
  ):
    own = tasks.rows['decoder_segment_ids'][row] == segment
    values = {name: array[row][own] for name, array in tasks.rows.items()}
    both = question + answer
    assert values['decoder_input_tokens'].tolist() == both[:-1]
    assert values['decoder_target_tokens'].tolist() == both[1:]
    weights = [0] * (len(question) - 1) + [1] * len(answer)
    assert values['decoder_loss_weights'].tolist() == weights
    assert np.ptp(np.flatnonzero(own)) == own.sum() - 1  # contiguous


def test_long_tasks_keep_their_middle(llama):
  anchor = conversation('a', 'q' * 50, 'r' * 50)
  question, answer = nuggets._task(anchor, EXAMPLE, VOCABULARY, 20)
  assert VOCABULARY.decode(question) == 'q' * 8 + '\nA '
  assert VOCABULARY.decode(answer) == 'r' * 10
  assert len(question) + len(answer) - 1 == 20
  short = nuggets._task(ANCHORS[0], EXAMPLE, VOCABULARY, 20)
  assert VOCABULARY.decode(short[1]) == 'four'
  assert len(short[0]) + 3 == 20


def test_a_text_without_tokens_has_no_score_and_a_long_one_is_cut(llama):
  documents = [Document('a', ' ', None), Document('b', 'w' * 99, None)]
  found = make(llama).features.examples(documents, [[], [3] * 99])
  assert [len(own) for own in found] == [0, 1]
  assert len(found[1][0]['decoder_inputs']) == 64


@pytest.mark.parametrize(
  'settings, message',
  [
    ({'anchors': []}, 'there are no anchors'),
    ({'anchors': [Document('t', 'text', None)]}, "anchor 't' has no answer"),
    ({'anchors': [conversation('u', 'Hi')]}, "anchor 'u' has no answer"),
    ({'example': '{instruction}'}, '{response} 0 times'),
    (
      {
        'example': '{instruction}{response}',
        'anchors': [conversation('v', '', 'Ho')],
      },
      "anchor 'v' has no question",
    ),
    ({'max_length': 1}, 'max_length is 1'),
  ],
)
def test_bad_settings_are_explained(llama, settings, message):
  with pytest.raises(ValueError, match=message):
    make(llama, **settings)


def test_an_encoder_is_refused():
  network = t5.make_network(
    t5.T5Config(vocab_size=300, num_encoder_layers=1, num_decoder_layers=1)
  )
  with pytest.raises(ValueError, match='give a decoder-only model'):
    nuggets.make(network=network, vocabulary=VOCABULARY, anchors=ANCHORS)


def test_a_candidate_is_read_once(llama):
  """Doubling the anchors' rows does not read the candidate twice."""
  counts = []
  for copies in (1, 2):
    anchors = [
      anchor._replace(id=f'{anchor.id}{i}')
      for anchor in ANCHORS[2:3]
      for i in range(copies)
    ]
    scorer = make(llama, anchors=anchors, max_length=64)
    tokens = np.ones((1, 64), np.int32)
    batch = {'decoder_input_tokens': tokens, 'decoder_segment_ids': tokens}
    fitted = {'zero_shot': np.zeros(copies, np.float32)}
    jaxpr = jax.make_jaxpr(lambda b, s=scorer, f=fitted: s.features.apply(
      (llama.params, f), b, 1))(batch)  # fmt: skip
    counts.append(str(jaxpr).count('dot_general'))
  assert counts[0] == counts[1]
