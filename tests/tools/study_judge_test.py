"""The judges' study: folds, their errors, and that no arm sees a test label."""

import pathlib
import sys

import numpy as np
import pytest
import scipy.sparse

from jaxcurate.evaluate import auc
from jaxcurate.ops import ngrams
from jaxcurate.train.probe import Inputs

TOOLS = pathlib.Path(__file__).parent.parent.parent / 'tools'
NUM_PAGES = 60


@pytest.fixture
def study(monkeypatch):
  pytest.importorskip('sklearn', reason='the peers are of scikit-learn')
  monkeypatch.syspath_prepend(str(TOOLS))
  import study_judge
  import threadpoolctl

  with threadpoolctl.threadpool_limits(1):
    yield study_judge
  for name in (
    'study_judge',
    'quality_peers',
    'cross_validation',
    'evaluate_judge',
    'train_vocabulary',
  ):
    sys.modules.pop(name)


@pytest.fixture
def label():
  return np.arange(NUM_PAGES) % 3 != 0


@pytest.fixture
def texts(label):
  rng = np.random.default_rng(0)
  words = np.array(['the page says so.', 'CLICK here', 'buy 1 now', 'A word'])
  return [
    '\n'.join(rng.choice(words, 6, p=[0.4, 0.2, 0.1, 0.3] if good else None))
    for good in label
  ]


def inputs_of(texts, order):
  """What a head sees, with random states."""
  tokens = [np.frombuffer(text.encode(), np.uint8) for text in texts]
  grams = ngrams.matrix(tokens, order) if order else None
  pooled = np.random.default_rng(1).normal(size=(len(texts), 3))
  return Inputs(pooled, grams, np.log([len(own) for own in tokens]))


def arms_of(study, texts):
  """Every fitted arm of the study, small."""
  peers = study.quality_peers
  choices = {str(order): inputs_of(texts, order) for order in (0, 2)}
  return [
    study.fitted_judge('judge', choices, {'states': choices['0']}, (1.0,), []),
    peers.logistic_regression(
      'grams',
      {str(o): peers.character_ngrams(texts, o) for o in ((1, 2), (2, 3))},
      (1.0, 10.0),
      [],
    ),
    peers.logistic_regression(
      'features', {'all': peers.hand_made(texts)}, (1.0,), []
    ),
  ]


def test_shares_of_three_pages_by_hand(study):
  shares = study.cross_validation.auc_shares(
    np.array([1.0, 0.0, 2.0]), np.array([True, False, False]), np.zeros(3, int)
  )
  # The good page beats one of two: 1/2. Bad ones: beaten and not, 3/2 apart.
  np.testing.assert_allclose(shares, [0.5, 1.25, -0.25])


def test_shares_average_to_the_mean_area_of_the_folds(study, label):
  rng = np.random.default_rng(2)
  score = np.round(rng.normal(size=NUM_PAGES) + label, 1)  # with ties
  [fold] = study.cross_validation.deal(label, 4, 1, 0)
  shares = study.cross_validation.auc_shares(score, label, fold)
  areas = []
  for k in range(4):
    own = [(s, y) for s, y, f in zip(score, label, fold, strict=True) if f == k]
    wins = [
      (a > b) + 0.5 * (a == b) for a, good in own if good
      for b, other in own if not other
    ]  # fmt: skip
    areas.append(np.float64(sum(wins)) / len(wins))
    part = fold == k
    found = auc.roc_auc(score[part], label[part]).auc
    assert areas[-1] == pytest.approx(found)
  assert shares.mean() == pytest.approx(np.mean(areas))


def test_the_error_is_that_of_resampled_pages(study):
  rng = np.random.default_rng(3)
  label = np.arange(300) % 2 == 0
  score = rng.normal(size=300) + label
  fold = np.zeros(300, int)
  share = study.cross_validation.auc_shares(score, label, fold)
  found = study.cross_validation.area_of(share[None])
  draws = []
  for _ in range(1_000):
    own = rng.integers(0, 300, 300)
    good, bad = score[own][label[own]], score[own][~label[own]]
    draws.append((good[:, None] > bad).mean())
  # Four standard errors of a standard deviation from 1,000 draws: 9 %.
  assert found.error == pytest.approx(np.std(draws), rel=4 / np.sqrt(2_000))
  assert found.auc == pytest.approx(np.mean(draws), abs=0.005)


def test_a_difference_is_paired(study):
  rng = np.random.default_rng(4)
  pages = rng.normal(size=(1, 100))
  noise = 0.01 * rng.normal(size=(5, 100))
  found = study.cross_validation.compare(pages + noise + 0.1, pages + 0 * noise)
  assert found.difference == pytest.approx(0.1, abs=0.01)
  assert found.low < found.difference < found.high
  assert found.error < 0.01 < np.std(pages) / 10
  assert found.verdict == 'better'


def test_folds_hold_both_labels_evenly_and_differ(study, label):
  fold_RxN = study.cross_validation.deal(label, 5, 3, 0)
  for fold_N in fold_RxN:
    assert np.bincount(fold_N[label]).tolist() == [8] * 5
    assert np.bincount(fold_N[~label]).tolist() == [4] * 5
  assert not np.array_equal(fold_RxN[0], fold_RxN[1])


def test_what_is_fitted_does_not_depend_on_the_pages_left_out(
  study, texts, label
):
  train, every = np.arange(40), np.arange(NUM_PAGES)
  other = [*texts[:40], *(text[::-1] for text in texts[40:])]
  for one, two in zip(
    arms_of(study, texts), arms_of(study, other), strict=True
  ):
    first = one(train, label[train], every)
    second = two(train, label[train], every)
    for name in first:
      np.testing.assert_allclose(first[name][:40], second[name][:40], atol=1e-6)
      assert len(first[name]) == NUM_PAGES


def test_labels_of_the_test_fold_reach_no_arm(study, label):
  fold_RxN = study.cross_validation.deal(label, 5, 2, 0)
  seen = []

  def arm(train, own, test):
    assert not set(train) & set(test)
    np.testing.assert_array_equal(own, label[train])
    seen.extend(test)
    return {'page': test.astype(float)}

  scores = study.cross_validation.out_of_fold([arm], label, fold_RxN)
  np.testing.assert_array_equal(scores['page'], [np.arange(NUM_PAGES)] * 2)
  assert sorted(seen) == sorted([*range(NUM_PAGES)] * 2)


def test_ngrams_are_those_of_a_pipeline_fitted_in_the_fold(study, texts, label):
  from sklearn.feature_extraction.text import TfidfVectorizer
  from sklearn.linear_model import LogisticRegression

  train, test = np.arange(40), np.arange(40, 60)
  arm = study.quality_peers.logistic_regression(
    'grams',
    {'2': study.quality_peers.character_ngrams(texts, (1, 2))},
    (10.0,),
    [],
  )
  found = arm(train, label[train], test)['grams']
  vectorizer = TfidfVectorizer(
    analyzer='char', ngram_range=(1, 2), sublinear_tf=True, min_df=2
  )
  rows = vectorizer.fit_transform(texts[:40])
  model = LogisticRegression(C=10.0, max_iter=1_000, tol=1e-6)
  expected = model.fit(rows, label[:40]).decision_function(
    vectorizer.transform(texts[40:])
  )
  np.testing.assert_allclose(found, expected, atol=0.01)


def test_reduced_rows_keep_their_inner_products(study):
  rng = np.random.default_rng(5)
  train = scipy.sparse.csr_matrix(rng.normal(size=(5, 9)))
  test = scipy.sparse.csr_matrix(rng.normal(size=(3, 9)))
  rows, others = study.quality_peers.reduced(train, test)
  np.testing.assert_allclose(rows @ rows.T, (train @ train.T).toarray())
  np.testing.assert_allclose(others @ rows.T, (test @ train.T).toarray())
