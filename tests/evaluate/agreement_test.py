import numpy as np
import pytest

from jaxcurate.evaluate.agreement import overlap, rank_agreement, tau_matrix


def _slow_tau_b(first, second):
  agree, ties_first, ties_second = 0, 0, 0
  for i in range(len(first)):
    for j in range(i):
      sign = np.sign(first[i] - first[j])
      other = np.sign(second[i] - second[j])
      agree += sign * other
      ties_first += sign**2
      ties_second += other**2
  return agree / np.sqrt(ties_first * ties_second)


def test_by_hand():
  # Pairs: 12 agree, 13 agree, 23 disagree.
  result = rank_agreement(np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0]))
  assert result.tau == pytest.approx(1 / 3)
  assert result.spearman == pytest.approx(0.5)
  assert result.standard_error == 0


def test_against_all_pairs_with_ties_and_missing_scores():
  rng = np.random.default_rng(0)
  first = rng.integers(0, 5, 60).astype(float)
  second = first + rng.integers(-2, 3, 60)
  first[:5], second[3:8] = np.nan, np.nan
  result = rank_agreement(first, second)
  assert result.num_rows == 52
  assert result.tau == pytest.approx(_slow_tau_b(first[8:], second[8:]))


def test_sampled_pairs_agree_with_all_pairs():
  rng = np.random.default_rng(1)
  first = rng.normal(size=3_000)
  second = first + 2 * rng.normal(size=3_000)
  exact = rank_agreement(first, second)
  sampled = rank_agreement(
    first, second, max_exact_rows=100, num_pairs=40_000, seed=3
  )
  assert sampled.standard_error == pytest.approx(0.005)
  assert sampled.tau == pytest.approx(exact.tau, abs=4 * sampled.standard_error)


def test_invariant_to_monotone_maps_and_row_order():
  rng = np.random.default_rng(2)
  first, second = rng.normal(size=(2, 200))
  order = rng.permutation(200)
  assert rank_agreement(first, second).tau == pytest.approx(
    rank_agreement(np.exp(first[order]), second[order] ** 3).tau
  )


@pytest.mark.parametrize(
  'first, second',
  [
    ([1.0], [2.0]),
    ([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]),
    ([np.nan, np.nan], [1.0, 2.0]),
    ([], []),
    ([np.inf, 1.0], [1.0, 2.0]),
  ],
)
def test_degenerate_columns_give_nan_and_no_warning(first, second):
  result = rank_agreement(np.array(first, float), np.array(second, float))
  assert np.isnan(result.tau)
  assert np.isnan(result.spearman)


def test_matrix_is_symmetric_and_marks_constant_columns():
  columns = np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0], [7.0, 7.0, 7.0]])
  tau, error = tau_matrix(columns)
  np.testing.assert_array_equal(tau, tau.T)
  assert tau[0, 1] == -1
  assert tau[0, 0] == tau[1, 1] == 1
  assert np.isnan(tau[2]).all()
  assert (error == 0).all()


def test_overlap_by_hand_and_by_chance():
  result = overlap(['a', 'b', 'c'], ['b', 'c', 'd'], 6)
  assert result.num_shared == 2
  assert result.jaccard == pytest.approx(0.5)
  assert result.chance == pytest.approx(1.5 / 4.5)
  rng = np.random.default_rng(0)
  trials = [
    overlap(
      map(str, rng.choice(500, 100, replace=False)),
      map(str, rng.choice(500, 50, replace=False)),
      500,
    )
    for _ in range(200)
  ]
  drawn = np.array([trial.jaccard for trial in trials])
  atol = 4 * drawn.std() / np.sqrt(len(drawn)) + 1e-3  # ratio bias O(1/N)
  assert drawn.mean() == pytest.approx(trials[0].chance, abs=atol)


def test_overlap_of_nothing_and_of_too_much():
  assert np.isnan(overlap([], [], 0).jaccard)
  assert overlap([], ['a'], 3).jaccard == 0
  with pytest.raises(ValueError, match='2 documents kept of 1'):
    overlap(['a'], ['b'], 1)
