"""Rank agreement against scipy and by hand."""

import numpy as np
import pytest
from scipy import stats

from jaxcurate.ops import ranks


def test_by_hand():
  first = np.array([1.0, 2.0, 3.0])
  assert ranks.spearman(first, np.array([10.0, 20.0, 5.0])) == -0.5
  assert ranks.spearman(first, first**3) == 1.0
  assert ranks.spearman(first, -first) == -1.0


def test_equals_scipy_with_ties():
  rng = np.random.default_rng(0)
  first = rng.integers(0, 20, 300).astype(float)
  second = first + rng.normal(scale=5, size=300)
  expected = np.asarray(stats.spearmanr(first, second))[0]
  assert ranks.spearman(first, second) == pytest.approx(expected, abs=1e-12)


def test_constant_columns():
  one, many = np.ones(4), np.arange(4.0)
  assert ranks.spearman(one, one) == 1.0
  assert ranks.spearman(one, many) == 0.0
  assert ranks.spearman(np.zeros(0), np.zeros(0)) == 1.0


def test_missing_scores_are_refused():
  with pytest.raises(ValueError, match='finite'):
    ranks.spearman(np.array([1.0, np.nan]), np.ones(2))
