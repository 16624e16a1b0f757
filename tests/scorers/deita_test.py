"""DEITA: expected grades, their product, and the sum over exchanges."""

import numpy as np
import pytest

from jaxcurate.data.vocabulary import ByteVocabulary, load_vocabulary
from jaxcurate.models import t5
from jaxcurate.scorers import deita
from jaxcurate.types import Document

CONVERSATIONS = [
  [('Add 2 and 2.', 'It is 4.')],
  [('Hi', 'Ho'), ('Name {output} and {instruction}.', ''), ('x', 'y' * 40)],
]


def documents_of(conversations):
  return [
    Document(
      f'd{i}',
      'text',
      None,
      turns=tuple(
        turn
        for said, answered in exchanges
        for turn in (('user', said), ('assistant', answered))
      ),
    )
    for i, exchanges in enumerate(conversations)
  ]


@pytest.fixture(scope='module')
def llama(slow_llama, chat_vocabulary):
  return slow_llama(chat_vocabulary.size)


@pytest.fixture
def make(llama, chat_vocabulary):
  def call(**settings):
    return deita.make(
      network=llama.network,
      vocabulary=chat_vocabulary,
      **{'max_length': 512, **settings},
    )

  return call


def slow_grade(llama, prompt, grade_ids):
  """Expected grade after a prompt, float64."""
  prob = np.exp(llama.log_probs(prompt)[-1][grade_ids])
  return float(prob @ np.arange(1, 7) / prob.sum())


def test_products_add_up_by_hand(make):
  scorer = make()
  # Two exchanges, graded 2 x 3 and 5 x 4; off the diagonal is not read.
  grade = np.zeros((4, 2), np.float32)
  grade[[0, 2], 0], grade[[1, 3], 1] = [2, 5], [3, 4]
  row = scorer.score(scorer.features.combine({'grade': grade}))
  assert row == {'deita': 26, 'deita/complexity': 3.5, 'deita/quality': 3.5}
  assert list(row) == list(scorer.columns)


def test_agrees_with_a_slow_llama(
  llama, chat_vocabulary, make, score_documents
):
  rows = score_documents(
    make(), llama.params, documents_of(CONVERSATIONS), chat_vocabulary
  )
  digits = [
    chat_vocabulary.encode_batch([f': {i}'])[0][-1] for i in range(1, 7)
  ]
  assert len(set(digits)) == 6
  for conversation, row in zip(CONVERSATIONS, rows, strict=True):
    grades = []
    for said, answered in conversation:
      end = ['#Response#:\n', ' \n##Quality: ']
      head, middle = deita.QUALITY.split('{instruction}')
      assert middle == '\n' + '{output}'.join(end)
      texts = [
        deita.COMPLEXITY.replace('{instruction}', said),
        head + said + '\n' + answered.join(end),
      ]
      # The prompt is what stands before a grade, a space or not.
      prompts = [
        [chat_vocabulary.bos_id, *tokens[:-1]]
        for tokens in chat_vocabulary.encode_batch([t + '1' for t in texts])
      ]
      grades.append([slow_grade(llama, p, digits) for p in prompts])
    expected = sum(complexity * quality for complexity, quality in grades)
    assert row['deita'] == pytest.approx(expected, rel=1e-4)
    means = np.mean(grades, axis=0)
    assert row['deita/complexity'] == pytest.approx(means[0], rel=1e-4)
    assert row['deita/quality'] == pytest.approx(means[1], rel=1e-4)
    assert abs(means - 3.5).max() > 0.1  # not uniform over the grades


def test_packing_and_order_change_nothing(
  llama, chat_vocabulary, make, score_documents
):
  documents = documents_of(CONVERSATIONS)
  one, other = (
    score_documents(
      make(), llama.params, documents, chat_vocabulary, max_segments=slots
    )
    for slots in (1, 8)
  )
  for row, packed in zip(one, other, strict=True):
    assert row == pytest.approx(packed, rel=1e-5)


def test_no_conversation_has_no_score(make, chat_vocabulary):
  documents = [
    Document('a', 'a text', None),
    Document('b', 'be kind', None, turns=(('system', 'be kind'),)),
  ]
  assert make().features.examples(documents, [[1], [2]]) == [[], []]


def test_long_prompts_lose_the_end_of_their_longer_part(make, chat_vocabulary):
  scorer = make(max_length=200)
  answer = 'many words and 😀 ' * 60
  [examples] = scorer.features.examples(
    documents_of([[('A question?', answer)]]), [[]]
  )
  complexity, quality = (e['decoder_inputs'].tolist() for e in examples)
  text = chat_vocabulary.decode(quality)
  assert 190 < len(quality) <= 200
  assert '#Question#:\nA question?\n#Response#:\nmany words and' in text
  assert text.rstrip().endswith('\n##Quality:')
  assert 'A question?' in chat_vocabulary.decode(complexity)


def test_llama_2_has_the_papers_token_ids(shared_data, slow_llama):
  vocabulary = load_vocabulary(
    str(shared_data / 'tokenizers' / 'llama2_tokenizer.model')
  )
  for template in (deita.COMPLEXITY, deita.QUALITY):
    found = deita._grade_ids(template, vocabulary)
    # Of hkust-nlp/deita, llama_scorer.py.
    assert found == [29896, 29906, 29941, 29946, 29945, 29953]
  network = slow_llama(vocabulary.size, embed_dim=4).network
  scorer = deita.make(network=network, vocabulary=vocabulary)
  [examples] = scorer.features.examples(documents_of([[('Hi', 'Ho')]]), [[]])
  said = deita.COMPLEXITY.replace('{instruction}', 'Hi')
  [whole] = vocabulary.encode_batch([said])
  assert examples[0]['decoder_inputs'].tolist() == [1, *whole]


@pytest.mark.parametrize(
  'settings, message',
  [
    ({'complexity_template': 'nothing'}, '{instruction} 0 times'),
    ({'quality_template': '{instruction} only'}, '{output} 0 times'),
    ({'max_length': 30}, 'leaves no room'),
  ],
)
def test_bad_settings_are_explained(make, settings, message):
  with pytest.raises(ValueError, match=message):
    make(**settings)


def test_what_cannot_grade_is_refused(llama):
  class OneDigit(ByteVocabulary):
    """Bytes of which '6' is two."""

    def encode_batch(self, texts):
      return super().encode_batch([t.replace('6', '66') for t in texts])

  with pytest.raises(ValueError, match="grade '6' is not one token"):
    deita.make(network=llama.network, vocabulary=OneDigit())
  seq2seq = t5.make_network(
    t5.T5Config(vocab_size=300, num_encoder_layers=1, num_decoder_layers=1)
  )
  with pytest.raises(ValueError, match='give a decoder-only model'):
    deita.make(network=seq2seq, vocabulary=ByteVocabulary())
