import numpy as np
import pytest

from jaxcurate.evaluate.auc import roc_auc


def _slow(score, positive):
  wins = 0.0
  for high in score[positive]:
    for low in score[~positive]:
      wins += float(high > low) + 0.5 * float(high == low)
  return wins / (positive.sum() * (~positive).sum())


def test_by_hand():
  score = np.array([1.0, 2.0, 2.0, 3.0])
  positive = np.array([False, False, True, True])
  assert roc_auc(score, positive).auc == pytest.approx(3.5 / 4)


def test_against_all_pairs_with_ties():
  rng = np.random.default_rng(0)
  positive = rng.random(120) < 0.3
  score = rng.integers(0, 8, 120) + 2.0 * positive
  assert roc_auc(score, positive).auc == pytest.approx(_slow(score, positive))


def test_monotone_maps_change_nothing_and_negation_mirrors():
  rng = np.random.default_rng(1)
  score, positive = rng.normal(size=80), rng.random(80) < 0.5
  result = roc_auc(score, positive)
  assert roc_auc(np.exp(score), positive) == result
  assert roc_auc(-score, positive).auc == pytest.approx(1 - result.auc)
  assert result.low < result.auc < result.high


def test_interval_covers_the_truth():
  rng, trials, covered = np.random.default_rng(2), 200, 0
  truth = 0.7602  # P(x + 1 > y) = Phi(1 / sqrt(2)) for standard normals
  for trial in range(trials):
    positive = np.arange(120) < 60
    score = rng.normal(size=120) + positive
    result = roc_auc(score, positive, seed=trial, num_resamples=200)
    covered += result.low <= truth <= result.high
  # Percentile intervals of 60 + 60 documents cover a little under 95 %.
  assert covered / trials >= 0.93 - 4 * np.sqrt(0.93 * 0.07 / trials)


def test_missing_and_infinite_scores():
  score = np.array([np.nan, -np.inf, -np.inf, np.inf, 0.0])
  positive = np.array([True, False, True, True, False])
  result = roc_auc(score, positive)
  assert result.num_positive == 2
  # Pairs: -inf vs -inf tie, -inf < 0, inf wins twice.
  assert result.auc == pytest.approx(2.5 / 4)
  assert np.isfinite([result.low, result.high]).all()


@pytest.mark.parametrize('positive', [[True, True], [False, False], []])
def test_one_class_has_no_area(positive):
  score = np.arange(len(positive), dtype=float)
  result = roc_auc(score, np.array(positive, bool))
  assert np.isnan(result.auc)
  assert np.isnan(result.low)
