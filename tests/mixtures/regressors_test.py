"""Regressors on losses of known form, and what they refuse."""

import numpy as np
import pytest

from jaxcurate.mixtures import regressors


def shares(num, domains=4, seed=0):
  return np.random.default_rng(seed).dirichlet(np.ones(domains), size=num)


def test_a_line_is_recovered():
  rows, slope = shares(12), np.array([1.0, -2.0, 0.5, 3.0])
  predict = regressors.fit_linear(rows, rows @ slope + 7)
  others = shares(5, seed=1)
  np.testing.assert_allclose(predict(others), others @ slope + 7, rtol=1e-9)


def test_a_penalty_shrinks_the_slopes_and_needs_no_more_runs():
  rng = np.random.default_rng(0)
  rows = rng.normal(size=(10, 30))
  loss = rows[:, 0] * 2 + 5
  predict = regressors.fit_linear(rows, loss, ridge=0.5)
  z = (rows - rows.mean(axis=0)) / rows.std(axis=0)
  slope = np.linalg.solve(z.T @ z + 5 * np.eye(30), z.T @ (loss - loss.mean()))
  np.testing.assert_allclose(predict(rows), z @ slope + loss.mean())


@pytest.mark.parametrize('floor', [0.0, 2.5])
def test_a_mixing_law_is_recovered(floor):
  rows, t = shares(40), np.array([-2.0, -0.3, 0.4, 0.1])
  noise = np.random.default_rng(2).normal(0, 1e-4, 40)
  predict = regressors.fit_mixing_law(rows, floor + np.exp(rows @ t) + noise)
  others = shares(9, seed=1)
  np.testing.assert_allclose(
    predict(others), floor + np.exp(others @ t), atol=2e-3
  )


def test_trees_find_what_a_line_cannot():
  rows = np.random.default_rng(0).random((200, 6))
  loss = np.where(rows[:, 2] > 0.5, rows[:, 0], 1 - rows[:, 0]) / 100 + 3
  others = np.random.default_rng(1).random((200, 6))
  truth = np.where(others[:, 2] > 0.5, others[:, 0], 1 - others[:, 0]) / 100 + 3

  def agreement(fit):
    return np.corrcoef(fit(rows, loss)(others), truth)[0, 1]

  assert agreement(regressors.fit_lightgbm) > 0.7
  assert abs(agreement(regressors.fit_linear)) < 0.3


def test_trees_are_the_same_twice():
  rows = shares(40)
  loss = rows[:, 0] ** 2
  one, two = (regressors.fit_lightgbm(rows, loss)(rows) for _ in range(2))
  np.testing.assert_array_equal(one, two)


def test_equal_losses_predict_themselves():
  rows = shares(30)
  for fit in (regressors.fit_lightgbm, regressors.fit_linear):
    np.testing.assert_allclose(fit(rows, np.full(30, 2.0))(rows), 2.0)


@pytest.mark.parametrize(
  ('fit', 'num', 'needed'),
  [
    (regressors.fit_lightgbm, 19, 20),
    (regressors.fit_linear, 5, 6),
    (regressors.fit_mixing_law, 5, 6),
  ],
)
def test_too_few_runs(fit, num, needed):
  with pytest.raises(ValueError, match=f'at least {needed} .* there are {num}'):
    fit(shares(num), np.ones(num))


def test_a_mixing_law_needs_shares():
  with pytest.raises(ValueError, match='do not sum to 1'):
    regressors.fit_mixing_law(np.ones((20, 3)), np.ones(20))
