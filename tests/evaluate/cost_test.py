import math

import numpy as np
import pytest

from jaxcurate.evaluate.cost import break_even, reached_at, speed_up


def test_reached_at_by_hand():
  cost, loss = np.array([10.0, 20.0, 40.0]), np.array([5.0, 4.0, 3.0])
  assert reached_at(cost, loss, 4.5) == 15
  assert reached_at(cost, loss, 3.25) == 35
  assert reached_at(cost, loss, 3.0) == 40
  assert reached_at(cost, loss, 2.9) is None
  assert reached_at(cost, loss, 9.0) == 10  # there from the first evaluation


def test_reached_at_takes_the_first_crossing_and_skips_nan():
  cost = np.array([0.0, 1.0, 2.0, 3.0, 4.0])
  assert reached_at(cost, np.array([4.0, 2.0, 4.0, 1.0, 1.0]), 3.0) == 0.5
  assert reached_at(cost, np.array([4.0, np.nan, 2.0, 1.0, 1.0]), 3.0) == 1.0
  assert reached_at(cost, np.full(5, np.nan), 3.0) is None
  assert reached_at(np.zeros(0), np.zeros(0), 3.0) is None


def test_reached_at_matches_interpolation_of_a_monotone_curve():
  rng = np.random.default_rng(0)
  loss = np.sort(rng.uniform(2, 5, 50))[::-1]
  cost = np.cumsum(rng.uniform(0.1, 1, 50))
  for target in np.linspace(loss[-1], loss[0], 17):
    expected = np.interp(target, loss[::-1], cost[::-1])
    assert reached_at(cost, loss, target) == pytest.approx(expected)


def test_speed_up_interval_is_the_t_interval_of_log_ratios():
  full, method = [4.0, 4.0, 4.0], [1.0, 2.0, 4.0]
  result = speed_up(full, method)
  assert result.ratio == pytest.approx(2.0)
  half = 4.3027 * math.log(2) / math.sqrt(3)  # t, 2 dof, 97.5 %
  assert result.low == pytest.approx(2 * math.exp(-half), rel=1e-3)
  assert result.high == pytest.approx(2 * math.exp(half), rel=1e-3)
  inverse = speed_up(method, full)
  assert inverse.ratio == pytest.approx(1 / result.ratio)
  assert inverse.low == pytest.approx(1 / result.high)


def test_speed_up_covers_the_truth():
  rng, trials = np.random.default_rng(0), 500
  covered = 0
  for _ in range(trials):
    full = list(np.exp(rng.normal(1.0, 0.2, 3)))
    method = list(np.exp(rng.normal(0.5, 0.2, 3)))
    result = speed_up(full, method)
    covered += result.low <= math.exp(0.5) <= result.high
  bound = 4 * math.sqrt(0.95 * 0.05 / trials)
  assert abs(covered / trials - 0.95) <= bound


def test_speed_up_without_enough_seeds():
  assert speed_up([2.0], [1.0]) == (2.0, None, None, 1, 1)
  assert speed_up([2.0, 2.0], [None, None]) == (None, None, None, 0, 2)
  assert speed_up([None], [1.0]) == (None, None, None, 1, 1)
  assert speed_up([], []) == (None, None, None, 0, 0)
  assert speed_up([0.0], [0.0]).ratio is None  # free: no ratio
  assert math.isfinite(speed_up([1e300, 1.0], [1.0, 1e300]).high)
  with pytest.raises(ValueError, match='1 seeds of full data, 2'):
    speed_up([1.0], [1.0, 2.0])


@pytest.mark.parametrize(
  'scoring, shortened, full, expected',
  [
    (30, 80, 100, 2),
    (20, 80, 100, 1),
    (20.1, 80, 100, 2),
    (0, 80, 100, 1),
    (0, 100, 100, 1),
    (0, 101, 100, None),
    (1, 100, 100, None),
    (1, 120, 100, None),
    (0, 0, 0, 1),
    (1, 0, 0, None),
    (math.inf, 80, 100, None),
  ],
)
def test_break_even(scoring, shortened, full, expected):
  runs = break_even(float(scoring), float(shortened), float(full))
  assert runs == expected
  if runs is not None:
    assert scoring + runs * shortened <= runs * full
    assert runs == 1 or scoring + (runs - 1) * shortened > (runs - 1) * full
