"""The n-gram classifier against dictionaries of n-grams, text by text."""

import numpy as np
import pytest

from jaxcurate.data.vocabulary import ByteVocabulary
from jaxcurate.evaluate import auc
from jaxcurate.ops import ngrams, words
from jaxcurate.scorers import ngram_classifier
from jaxcurate.types import Document


def documents_of(texts, name='d'):
  return [Document(f'{name}{i}', text, None) for i, text in enumerate(texts)]


def make(positives, negatives, **settings):
  """The scorer, and what it learns."""
  scorer = ngram_classifier.make(
    anchors=documents_of(positives), sample=documents_of(negatives), **settings
  )
  fitted = scorer.fit(None, None)
  return scorer, fitted, fitted.pop('report')


def score(score_documents, scorer, fitted, texts):
  rows = score_documents(
    scorer, ({}, fitted), documents_of(texts), ByteVocabulary()
  )
  return np.array([row['ngram_classifier'] if row else np.nan for row in rows])


def slow_log_odds(text, weight, max_order):
  """sum over n-grams g of w_g sqrt(c_g / n) + b; texts are of words alone."""
  terms = text.lower().split()
  counts = {}
  for order in range(1, max_order + 1):
    for at in range(len(terms) - order + 1):
      ids = words.word_ids([' '.join(terms[at : at + order])])[0]
      gram = order, int(ngrams.buckets(ids, order)[0])
      counts[gram] = counts.get(gram, 0) + 1
  total = sum(counts.values())
  return float(weight[-1]) + sum(
    float(weight[bucket]) * np.sqrt(count / total)
    for (_, bucket), count in counts.items()
  )


def random_texts(seed, sizes, power, num_words=60):
  """Texts of words w0, w1, ..., the first ones the commoner, the higher
  `power` is."""
  rng = np.random.default_rng(seed)
  return [
    ' '.join(f'W{int(word)}' for word in num_words * rng.random(size) ** power)
    for size in sizes
  ]


def test_one_word_by_hand(score_documents):
  # Texts of one word each: 1 at a bucket. Good and bad teach opposite weights
  # u with (1/2) / (1 + e^(u + b)) = l2 u, b = 0; other words none.
  scorer, fitted, report = make(['good'], ['bad'], max_order=1, l2=0.25)
  found = score(score_documents, scorer, fitted, ['Good', 'bad', 'other'])
  u = 0.6748  # root of 0.5 / (1 + e^u) = 0.25 u
  expected = -np.log(1 + np.exp([-u, u, 0.0]))
  np.testing.assert_allclose(found, expected, atol=1e-4)
  assert report == {'positives': 1, 'negatives': 1}  # too few to hold any out


@pytest.mark.parametrize('max_order', [1, 2])
def test_equals_a_slow_one(score_documents, max_order):
  positives = random_texts(0, [30, 5, 90, 1], 3)
  negatives = random_texts(1, [40, 7, 60], 1)
  scorer, fitted, _ = make(positives, negatives, max_order=max_order)
  texts = [*positives, *negatives, *random_texts(2, [1600], 1, 1500)]
  # A document with more than 1,023 different n-grams is several examples.
  [parts] = scorer.features.examples(documents_of(texts[-1:]), None)
  assert len(parts) == 2 * max_order - 1
  found = score(score_documents, scorer, fitted, texts)
  log_odds = [slow_log_odds(t, fitted['weight'], max_order) for t in texts]
  expected = -np.log1p(np.exp(-np.array(log_odds)))
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_unseen_texts_of_both_kinds_are_told_apart(score_documents):
  positives = random_texts(3, [60] * 60, 2)
  negatives = random_texts(4, [60] * 40, 1)
  scorer, fitted, report = make(positives[:40], negatives[:20])
  assert report['held-out AUC'] > 0.95
  found = score(
    score_documents, scorer, fitted, positives[40:] + negatives[20:]
  )
  assert (found < 0).all()
  area = auc.roc_auc(found, np.arange(40) < 20, num_resamples=2).auc
  assert area > 0.95


def test_a_classifier_belongs_to_its_anchors_and_settings_alone():
  def name_of(positives, negatives, **settings):
    return make(positives, negatives, **settings)[0].features.name

  own = name_of(['a b', 'c'], ['d'])
  assert own == name_of(['a b', 'c'], ['e f'])  # to serve another corpus
  assert own != name_of(['a b', 'd'], ['d'])
  assert own != name_of(['a b', 'c'], ['d'], l2=1.0)


def test_texts_without_a_word(score_documents):
  scorer, fitted, report = make(['a', ' \n'], ['b', ''])
  assert report == {'positives': 1, 'negatives': 1}
  found = score(score_documents, scorer, fitted, ['a', ' \n', '!'])
  np.testing.assert_array_equal(np.isfinite(found), [True, False, True])


@pytest.mark.parametrize(
  'settings, message',
  [
    ({'max_order': 0}, 'max_order is 0 and l2'),
    ({'l2': 0.0}, r'l2 0\.0, expected'),
    ({'positives': [' ']}, 'no document of the anchors has a word'),
    ({'negatives': []}, 'no document of the sample has a word'),
  ],
)
def test_bad_settings_are_refused(settings, message):
  with pytest.raises(ValueError, match=message):
    make(**{'positives': ['a'], 'negatives': ['b'], **settings})
