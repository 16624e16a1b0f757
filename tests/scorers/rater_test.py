"""Raters: heads on networks, against slow float64 arithmetic."""

import jax
import numpy as np
import pytest

from jaxcurate.ops import ngrams, rating
from jaxcurate.scorers import rater
from jaxcurate.types import Document, Head, HeadSettings

TEXTS = [
  'a text',
  'another text, and a longer one, of windows',
  'x',
  '',
  'z' * 99,
]
LENGTH = 14  # tokens per window


@pytest.fixture(scope='module')
def llama(slow_llama, bos_vocabulary):
  return slow_llama(bos_vocabulary.size)


def head_of(pooling='last', unit='as labelled', criteria=(), max_order=2):
  settings = HeadSettings(criteria, unit, pooling, LENGTH, 3, max_order)
  rng = np.random.default_rng(0)
  shapes = rating.init(16, max(1, len(criteria)), max_order)
  params = {n: rng.normal(size=a.shape) for n, a in shapes.items()}
  return Head(settings, jax.tree.map(np.float32, params))


def slow_rating(llama, vocabulary, head, text):
  """[C] rating of a text, window by window."""
  settings, params = head.settings, jax.tree.map(np.float64, head.params)
  room = settings.max_length - 2
  [tokens] = vocabulary.encode_batch([text])
  tokens = tokens[: settings.max_windows * room]
  rated, counts = [], []
  for start in range(0, len(tokens), room):
    window = [2, *tokens[start : start + room], vocabulary.eos_id]
    states = llama.states(window)
    weights = np.arange(1.0, len(window) + 1)
    if settings.pooling == 'last':
      weights = weights == len(window)
    own = weights @ states / weights.sum() @ params['kernel']
    if settings.ngrams:
      row = ngrams.matrix([np.array(window)], settings.ngrams)
      own = own + (row @ params['ngrams'])[0]
    rated.append(own)
    counts.append(len(window))
  mean = np.average(rated, axis=0, weights=counts)
  return mean + params['length'] * np.log(sum(counts)) + params['bias']


@pytest.fixture(scope='module')
def score(llama, bos_vocabulary, score_documents):
  def call(head, **settings):
    scorer = rater.make(
      network=llama.network, vocabulary=bos_vocabulary, head=head
    )
    documents = [Document(str(i), t, None) for i, t in enumerate(TEXTS)]
    params = (llama.params, scorer.fit(llama.params, None))
    return score_documents(
      scorer, params, documents, bos_vocabulary, **settings
    )

  return call


@pytest.mark.parametrize('pooling', ['last', 'position'])
@pytest.mark.parametrize('max_order', [0, 2])
def test_against_numpy(llama, bos_vocabulary, score, pooling, max_order):
  head = head_of(pooling, max_order=max_order)
  rows = score(head)
  assert rows[3] is None  # no text, no score
  for text, row in zip(TEXTS, rows, strict=True):
    if row is not None:
      expected = slow_rating(llama, bos_vocabulary, head, text)
      assert row['rater'] == pytest.approx(expected[0], rel=1e-4, abs=1e-4)


def test_probabilities_are_log_sigmoids_of_the_rating(score):
  plain, logs = score(head_of()), score(head_of(unit=rater.PROBABILITY))
  for one, other in zip(plain, logs, strict=True):
    if one is not None:
      expected = -np.log1p(np.exp(-one['rater']))
      assert other['rater'] == pytest.approx(expected, rel=1e-5)
      assert other['rater'] < 0


def test_criteria_are_columns(llama, bos_vocabulary, score):
  head = head_of(criteria=('style', 'facts'))
  rows = score(head)
  expected = slow_rating(llama, bos_vocabulary, head, TEXTS[1])
  assert list(rows[1]) == ['rater/style', 'rater/facts']
  np.testing.assert_allclose(list(rows[1].values()), expected, rtol=1e-4)


def test_packing_changes_nothing(score):
  alone, packed = score(head_of(), max_segments=1), score(head_of())
  for one, other in zip(alone, packed, strict=True):
    assert (one is None) == (other is None)
    if one is not None:
      assert one['rater'] == pytest.approx(other['rater'], rel=1e-5)


def test_heads_have_names_of_their_own(llama, bos_vocabulary):
  def name(head):
    return rater.make(
      network=llama.network, vocabulary=bos_vocabulary, head=head
    ).features.name

  head = head_of()
  moved = head._replace(params={**head.params, 'bias': np.ones(1, np.float32)})
  names = {name(head), name(moved), name(head_of('position'))}
  assert len(names) == 3 and name(head) == name(head_of())


@pytest.mark.parametrize(
  'change, words',
  [
    ({'criteria': ('a', 'b')}, r"the head has .*'bias': \(1,\)"),
    ({'ngrams': 0}, 'but the model asks for'),
    ({'pooling': 'mean'}, r"'mean', expected one of \('position', 'last'\)"),
    ({'max_length': 2}, 'leave no room for text'),
    ({'max_windows': 0}, 'leave no room for text'),
  ],
)
def test_heads_that_do_not_fit(llama, bos_vocabulary, change, words):
  head = head_of()
  head = head._replace(settings=head.settings._replace(**change))
  with pytest.raises(ValueError, match=words):
    rater.make(network=llama.network, vocabulary=bos_vocabulary, head=head)
