"""Near the line most often, everywhere sometimes."""

import numpy as np
import pytest

from jaxcurate import types
from jaxcurate.ops import gumbel, log_ratio
from jaxcurate.ops import ids as ids_lib
from jaxcurate.samplers import budget as budget_lib
from jaxcurate.samplers import uncertainty


def pool_of(score, unit='log P(yes)'):
  ids = np.array([f'doc{i}' for i in range(len(score))], object)
  return types.Candidates(
    id=ids,
    id_hash=ids_lib.hash_ids(ids),
    score=np.array(score, np.float32),
    num_tokens=np.full(len(ids), 3, np.int32),
    domain=np.array([None] * len(ids), object),
    unit=unit,
  )


def draw(pool, budget='1', seed=0, **settings):
  budget = budget_lib.parse_budget(budget)
  return uncertainty.sample(seed, pool, budget, **settings)


def positions(selection):
  return np.array([int(id_.removeprefix('doc')) for id_ in selection.id])


def test_distances_by_hand():
  # Ranks 0, 3, 1.5 and 1.5 of 4, each plus a half.
  away = uncertainty.distance(np.array([-9.0, 8.0, 2.0, 2.0]), 0.25)
  np.testing.assert_allclose(away, [0.125, 0.625, 0.25, 0.25])


def slow_probability(score, line, width, share, kappa):
  """Inclusion probabilities given the first key that was not taken."""
  below = [sum(s < t for s in score) for t in score]
  same = [sum(s == t for s in score) for t in score]
  rank = [(b + e / 2) / len(score) for b, e in zip(below, same)]
  near = [np.exp(-abs(r - line) / width) for r in rank]
  weight = [share + (1 - share) * n / (sum(near) / len(near)) for n in near]
  return np.array([1 - np.exp(-w * np.exp(-kappa)) for w in weight])


@pytest.mark.parametrize('share', [0.1, 0.5, 1.0])
def test_inclusion_probabilities_are_those_of_the_formula(share):
  score = np.random.default_rng(0).integers(0, 30, 50).astype(float)
  pool = pool_of(score)
  drawn = draw(pool, '12', quantile=0.3, width=0.1, uniform_share=share)
  below = np.array([np.mean(score < s) for s in score])
  same = np.array([np.mean(score == s) for s in score])
  near = np.exp(-np.abs(below + same / 2 - 0.3) / 0.1)
  log_weight = np.log(share + (1 - share) * near / near.mean())
  keys = np.sort(gumbel.gumbel_keys(0, pool.id_hash, log_weight))[::-1]
  want = slow_probability(score, 0.3, 0.1, share, keys[12])
  np.testing.assert_allclose(
    drawn.expected_count, want[positions(drawn)], rtol=1e-9
  )
  assert drawn.design == 'random'


def test_shape_and_unit_of_the_score_do_not_matter():
  score = np.random.default_rng(1).normal(size=300)
  one = draw(pool_of(score), '40')
  for other in (np.exp(score), 5 * score - 7, np.cbrt(score)):
    assert draw(pool_of(other), '40').id.tolist() == one.id.tolist()


def test_most_draws_lie_near_the_line_and_some_anywhere():
  pool = pool_of(np.arange(10_000))
  for quantile in (0.2, 0.5, 0.8):
    drawn = draw(pool, '1000', quantile=quantile, width=0.02)
    away = np.abs((positions(drawn) + 0.5) / 10_000 - quantile)
    assert 0.75 < np.mean(away < 0.1) < 0.95
    assert away.max() > 0.3
  alone = draw(pool, '1000', uniform_share=1.0)
  away = np.abs(positions(alone) / 10_000 - 0.5)
  assert abs(away.mean() - 0.25) < 4 * 0.144 / np.sqrt(1000)


def test_a_batch_does_not_repeat_the_nearest_ones_for_every_seed():
  pool = pool_of(np.arange(1000))
  drawn = [set(draw(pool, '50', seed=seed).id) for seed in range(4)]
  assert max(len(drawn[0] & other) for other in drawn[1:]) < 35


def test_threshold_is_the_line():
  score = np.linspace(-5, 0, 1001)
  for line, quantile in ((-1.0, 0.8), (-2.5, 0.5)):
    one = draw(pool_of(score), '60', threshold=line)
    near = draw(pool_of(score), '60', quantile=quantile)
    assert len(set(one.id) & set(near.id)) >= 58
    assert np.median(score[positions(one)]) == pytest.approx(line, abs=0.5)


def test_threshold_of_a_likelihood_ratio_is_the_ratio():
  score = np.linspace(-1, 1, 501)
  one = draw(pool_of(score, log_ratio.UNIT), '50', threshold=np.exp(0.5))
  two = draw(pool_of(score), '50', threshold=0.5)
  assert one.id.tolist() == two.id.tolist()
  with pytest.raises(ValueError, match='ratio above 0'):
    draw(pool_of(score, log_ratio.UNIT), '50', threshold=-1.0)


def test_equal_scores_are_drawn_uniformly():
  drawn = draw(pool_of(np.zeros(20)), '5')
  np.testing.assert_allclose(drawn.expected_count, drawn.expected_count[0])


@pytest.mark.parametrize('threshold', [-999.0, 999.0])
def test_a_line_beyond_all_scores_takes_the_nearest(threshold):
  drawn = draw(
    pool_of(np.arange(200)), '5', threshold=threshold, width=1e-9,
    uniform_share=1e-12,
  )  # fmt: skip
  assert (0 if threshold < 0 else 199) in positions(drawn)
  assert np.isfinite(drawn.expected_count).all()


@pytest.mark.parametrize(
  'settings, words',
  [
    ({'quantile': 1.5}, 'quantile is 1.5'),
    ({'width': 0.0}, 'width 0.0'),
    ({'uniform_share': 0.0}, 'uniform_share 0.0'),
    ({'threshold': float('nan')}, 'threshold is nan'),
  ],
)
def test_settings_out_of_range(settings, words):
  with pytest.raises(ValueError, match=words):
    draw(pool_of(np.arange(9)), '3', **settings)
