"""Rising curves between two scores."""

import numpy as np
import pytest

from jaxcurate.ops import isotonic


def test_pooled_blocks_by_hand():
  # Without a slope: 3 and 1 pool to 2, 4 stays; the least slope is 1 % of
  # std(target) / std(score) = sqrt(14 / 9) / sqrt(2 / 3).
  curve = isotonic.fit(np.array([0.0, 1.0, 2.0]), np.array([3.0, 1.0, 4.0]))
  np.testing.assert_allclose(curve.score, [0.5, 2.0])
  np.testing.assert_allclose(curve.target, [2.0, 4.0])
  assert curve.slope == pytest.approx(0.01 * np.sqrt(14 / 9) / np.sqrt(2 / 3))


def slow_fit(score, target, slope):
  """Min-max formula of isotonic regression, in O(N^3)."""
  order = np.argsort(score)
  rest = (target - slope * score)[order]
  size = len(rest)
  value = [
    max(
      min(np.mean(rest[i : j + 1]) for j in range(k, size))
      for i in range(k + 1)
    )
    for k in range(size)
  ]
  return np.array(value) + slope * score[order], order


@pytest.mark.parametrize('noise', [0.0, 0.3, 3.0])
def test_blocks_are_those_of_the_min_max_formula(noise):
  rng = np.random.default_rng(0)
  score = rng.normal(size=40)
  target = score**3 + noise * rng.normal(size=40)
  curve = isotonic.fit(score, target)
  value, order = slow_fit(score, target, curve.slope)
  # On a block the slow fit runs along the slope through the block's knot.
  at = score[order]
  knot = np.array([np.abs(
    curve.target + curve.slope * (s - curve.score) - v
  ).min() for s, v in zip(at, value, strict=True)])  # fmt: skip
  np.testing.assert_allclose(knot, 0, atol=1e-9)


def test_equal_scores_count_once_with_their_mean():
  score = np.array([1.0, 1.0, 1.0, 2.0])
  curve = isotonic.fit(score, np.array([0.0, 3.0, 6.0, 9.0]))
  np.testing.assert_allclose(isotonic.apply(curve, score), [3, 3, 3, 9])


@pytest.mark.parametrize('sign', [1, -1])
def test_order_is_kept_everywhere_even_against_the_data(sign):
  rng = np.random.default_rng(1)
  score = rng.normal(size=200)
  curve = isotonic.fit(score, sign * score + rng.normal(size=200))
  grid = np.linspace(-9, 9, 5001)
  assert (np.diff(isotonic.apply(curve, grid)) > 0).all()
  if sign < 0:  # nothing but the least slope is left of it
    assert np.ptp(isotonic.apply(curve, score)) < 0.1


def test_scale_and_shift_of_both_sides():
  rng = np.random.default_rng(2)
  score, target = rng.normal(size=(2, 60))
  one = isotonic.apply(isotonic.fit(score, target), score)
  other = isotonic.fit(5 * score - 2, 0.1 * target + 7)
  np.testing.assert_allclose(
    isotonic.apply(other, 5 * score - 2), 0.1 * one + 7, atol=1e-12
  )


def test_mean_of_a_noisy_curve_is_found():
  rng = np.random.default_rng(3)
  score = rng.uniform(-2, 2, 4000)
  curve = isotonic.fit(score, np.tanh(score) + rng.normal(size=4000))
  grid = np.linspace(-1.5, 1.5, 7)
  # About 4 standard errors of a mean over 200 neighbours.
  np.testing.assert_allclose(
    isotonic.apply(curve, grid), np.tanh(grid), atol=4 / np.sqrt(200)
  )


def test_one_row_equal_rows_and_missing_scores():
  one = isotonic.fit(np.array([2.0]), np.array([5.0]))
  assert isotonic.apply(one, np.array([-1.0, 9.0])).tolist() == [5.0, 5.0]
  flat = isotonic.fit(np.zeros(4), np.arange(4.0))
  values = isotonic.apply(flat, np.array([0.0, np.nan]))
  assert values[0] == 1.5 and np.isnan(values[1])
  same = isotonic.fit(np.arange(4.0), np.ones(4))
  np.testing.assert_allclose(isotonic.apply(same, np.arange(9.0)), 1.0)


@pytest.mark.parametrize('score', [[], [np.nan], [np.inf]])
def test_nothing_to_fit(score):
  with pytest.raises(ValueError, match='finite'):
    isotonic.fit(np.array(score), np.zeros(len(score)))
