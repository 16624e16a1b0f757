"""Sparse logistic regression against Newton's method on dense rows."""

import numpy as np
import pytest
import scipy

from jaxcurate.ops import logistic


def slow_fit(rows, positive, l2, steps=50):
  """Newton's method in float64, the bias as an unpenalised column."""
  rows = np.column_stack([rows, np.ones(len(rows))])
  penalty = l2 * np.append(np.ones(rows.shape[1] - 1), 0.0)
  share = np.where(positive, 0.5 / positive.sum(), 0.5 / (~positive).sum())
  weight = np.zeros(rows.shape[1])
  for _ in range(steps):
    prob = 1 / (1 + np.exp(-rows @ weight))
    gradient = rows.T @ (share * (prob - positive)) + penalty * weight
    curvature = (rows.T * (share * prob * (1 - prob))) @ rows
    weight -= np.linalg.solve(curvature + np.diag(penalty), gradient)
  return weight[:-1], weight[-1]


def random_rows(seed, num, width):
  rng = np.random.default_rng(seed)
  rows = rng.random((num, width)) * (rng.random((num, width)) < 0.4)
  positive = rng.random(num) < 1 / (1 + np.exp(-3 * (rows[:, 0] - 0.3)))
  return rows, positive


def test_two_rows_by_hand():
  # The slope is 2 / (1 + e^2w) = 0.5 w.
  rows = scipy.sparse.csr_matrix([[2.0], [-2.0]])
  found = logistic.fit(rows, np.array([True, False]), 0.5)
  np.testing.assert_allclose(found.weight, [0.7408], atol=1e-4)
  w = found.weight[0]
  assert 2 / (1 + np.exp(2 * w)) == pytest.approx(0.5 * w, abs=1e-5)
  assert found.bias == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize('l2', [1e-2, 1e-1])
def test_equals_newtons_method(l2):
  rows, positive = random_rows(0, 300, 12)
  found = logistic.fit(scipy.sparse.csr_matrix(rows), positive, l2)
  weight, bias = slow_fit(rows, positive, l2)
  np.testing.assert_allclose(found.weight, weight, atol=5e-4)
  assert found.bias == pytest.approx(bias, abs=5e-4)


def test_more_of_one_kind_changes_nothing():
  rows, positive = random_rows(1, 80, 5)
  rows = scipy.sparse.csr_matrix(rows)
  once = logistic.fit(rows, positive, 1e-2)
  again = scipy.sparse.vstack([rows, rows[~positive], rows[~positive]])
  more = np.append(positive, np.zeros(2 * (~positive).sum(), bool))
  twice = logistic.fit(scipy.sparse.csr_matrix(again), more, 1e-2)
  np.testing.assert_allclose(twice.weight, once.weight, atol=1e-3)


def test_rows_that_can_be_told_apart_have_finite_weights():
  rows = scipy.sparse.csr_matrix(np.eye(4))
  found = logistic.fit(rows, np.array([True, True, False, False]), 1e-6)
  assert np.isfinite(found.weight).all() and found.weight[0] > 5
  # Rows of zeros teach the bias nothing but how frequent the kinds are.
  none = logistic.fit(0 * rows, np.array([True, False, False, False]), 1.0)
  np.testing.assert_allclose([*none.weight, none.bias], 0.0, atol=1e-12)


def test_log_prob_far_out():
  found = [logistic.log_prob(z) for z in (np.log(3.0), 800.0, -800.0, 40.0)]
  expected = [np.log(0.75), 0.0, -800.0, -np.exp(-40.0)]
  np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_mistakes_are_named():
  rows = scipy.sparse.csr_matrix(np.eye(2))
  with pytest.raises(ValueError, match=r'l2 is 0\.0, expected more than 0'):
    logistic.fit(rows, np.array([True, False]), 0.0)
  with pytest.raises(ValueError, match='2 of 2 rows are positive'):
    logistic.fit(rows, np.array([True, True]), 1.0)
