"""QuaDMix's sampling function, by hand, by integral and in its properties."""

import numpy as np
import pytest
import scipy.integrate

from jaxcurate.mixtures import document_values, quadmix
from jaxcurate.types import ScoreTable

SHAPE = {
  'steepness': 30.0, 'keep_fraction': 0.4, 'repetition': 0.7, 'floor': 0.01,
}  # fmt: skip


def test_values_by_hand():
  rank = np.array([0.1, 0.3, 0.4, 0.40001, 1.0])
  value = quadmix.sampling_value(rank, **SHAPE)
  by_hand = [
    (2 / (1 + np.exp(-30 * 0.3))) ** 0.7 + 0.01,
    (2 / (1 + np.exp(-30 * 0.1))) ** 0.7 + 0.01,
    1.01,  # at the cut: one copy and the floor
    0.01,
    0.01,
  ]
  np.testing.assert_allclose(value, by_hand, rtol=1e-12)


def test_repetition_is_an_exponent_of_the_whole_fraction():
  best = quadmix.sampling_value(
    np.array([0.0]), steepness=1e3, keep_fraction=0.1, repetition=3.0, floor=0.0
  )
  assert best == pytest.approx(8.0)  # as a factor it would be 6


def test_better_ranks_are_never_sampled_less():
  rng = np.random.default_rng(0)
  rank = np.sort(rng.random(200))
  draws = quadmix.draw_parameters(1, 50, 3, 2)
  for steepness, keep, repetition, floor in zip(*draws[1:], strict=True):
    value = quadmix.sampling_value(
      rank[:, None],
      steepness=steepness,
      keep_fraction=keep,
      repetition=repetition,
      floor=floor,
    )
    assert value.shape == (200, 3)
    assert (np.diff(value, axis=0) <= 0).all()
    assert (value >= floor).all() and (value <= 2**repetition + floor).all()


def test_expected_copies_are_the_integral():
  num = 100_000
  rank = (np.arange(num) + 0.5) / num
  mean = quadmix.sampling_value(rank, **SHAPE).mean()
  steepness, keep = SHAPE['steepness'], SHAPE['keep_fraction']
  integral, _ = scipy.integrate.quad(
    lambda r: (2 / (1 + np.exp(-steepness * (keep - r)))) ** 0.7, 0, keep
  )
  assert mean == pytest.approx(integral + 0.01, abs=1e-5)
  closed = 2 / steepness * (np.log(1 + np.exp(steepness * keep)) - np.log(2))
  linear = quadmix.sampling_value(rank, **{**SHAPE, 'repetition': 1.0}).mean()
  assert linear == pytest.approx(closed + 0.01, abs=1e-5)


def test_the_steepest_cut_does_not_overflow():
  with np.errstate(all='raise'):
    value = quadmix.sampling_value(
      np.array([0.0, 1.0]),
      steepness=1e3, keep_fraction=0.1, repetition=1.0, floor=0.0,
    )  # fmt: skip
  assert value.tolist() == [2.0, 0.0]


@pytest.mark.parametrize(
  ('name', 'value'),
  [('steepness', -1.0), ('keep_fraction', 1.5), ('floor', np.nan)],
)
def test_settings_out_of_range_are_named(name, value):
  with pytest.raises(ValueError, match=f'{name} is'):
    quadmix.sampling_value(np.array([0.5]), **{**SHAPE, name: value})


def test_draws_follow_algorithm_1():
  draws = quadmix.draw_parameters(0, 4_000, 3, 2)
  assert [v.shape[1:] for v in draws] == [(3, 2), (3,), (3,), (3,), (3,)]
  np.testing.assert_allclose(draws.weights.sum(axis=-1), 1.0)
  for value, highest in zip(draws[1:], (1e3, 0.1, 1.0, 1e-3), strict=True):
    assert 0 <= value.min() and value.max() <= highest
    # Mean of 12,000 uniform numbers: 0.5 with a standard error of 0.0026.
    assert value.mean() / highest == pytest.approx(0.5, abs=0.011)
  # Domains of a set agree: the criterion's own number is common to them.
  first = draws.weights[:, :, 0]
  assert np.corrcoef(first[:, 0], first[:, 1])[0, 1] > 0.3
  assert draws.features().shape == (4_000, (2 + 4) * 3)


def test_more_draws_begin_with_the_same_ones():
  few, many = (quadmix.draw_parameters(7, n, 2, 3) for n in (5, 50))
  for one, other in zip(few, many, strict=True):
    np.testing.assert_array_equal(one, other[:5])


def test_mean_of_sets_keeps_weights_on_the_simplex():
  draws = quadmix.draw_parameters(0, 10, 2, 3)
  features = draws.features()[[1, 4]].mean(axis=0)
  shape = quadmix.shape_of(features, 2, ('a', 'b', 'c'))
  np.testing.assert_allclose(shape.weights_MxQ.sum(axis=1), 1.0)
  np.testing.assert_allclose(
    shape.floor_M, (draws.floor[1] + draws.floor[4]) / 2
  )


def table(num=400, seed=0):
  rng = np.random.default_rng(seed)
  return ScoreTable(
    id=np.array([f'doc{i}' for i in range(num)], object),
    domain=np.array([f'd{i % 2}' for i in range(num)], object),
    num_tokens=rng.integers(1, 50, num).astype(np.int32),
    scores={name: rng.normal(size=num).astype(np.float32) for name in 'ab'},
    units={'a': 'u', 'b': 'u'},
  )


def test_features_are_the_sets_again():
  draws = quadmix.draw_parameters(3, 5, 4, 2)
  again = quadmix.Draws.of(draws.features(), 4, 2)
  for one, other in zip(draws, again, strict=True):
    np.testing.assert_array_equal(one, other)
  names = quadmix.Draws.names(['w', 'x', 'y', 'z'], ['a', 'b'])
  assert len(names) == len(set(names)) == draws.features().shape[1]
  marked = draws._replace(
    weights=np.full((5, 4, 2), 0.0), floor=np.full((5, 4), 7.0)
  )
  found = dict(zip(names, marked.features()[0], strict=True))
  assert found['y/weight/b'] == 0.0 and found['y/floor'] == 7.0


def test_search_and_selection_agree_on_the_values():
  pool = table()
  space = quadmix.quality_space(pool)
  code = (pool.domain == 'd1').astype(np.int64)
  [row] = space.draw(1, 1)
  mixture = space.mixture(row)
  assert mixture.shape.criteria == ('a', 'b')
  exact = document_values.document_values(mixture.shape, pool, code)
  near = space.values(row)
  # A bin is half a document off: few fall on the other side of the cut.
  assert (np.abs(exact - near) > 0.05).mean() < 0.05
  np.testing.assert_allclose(
    mixture.share_M,
    np.bincount(code, exact * pool.num_tokens)
    / (exact * pool.num_tokens).sum(),
  )


def test_the_heavier_criterion_chooses():
  pool = table()
  space = quadmix.quality_space(pool)
  draws = quadmix.draw_parameters(0, 1, 2, 2)
  draws.weights[:] = [0.0, 1.0]
  draws.keep_fraction[:] = 0.25
  value = space.values(draws.features()[0])
  for name in ('d0', 'd1'):
    own = pool.domain == name
    kept = own & (value >= 1)
    tokens = pool.num_tokens
    assert tokens[kept].sum() / tokens[own].sum() == pytest.approx(
      0.25, abs=0.03
    )
    assert pool.scores['b'][kept].min() > pool.scores['b'][own & ~kept].max()


def test_a_space_needs_criteria():
  pool = table()
  bare = ScoreTable(pool.id, pool.domain, pool.num_tokens, {}, {})
  with pytest.raises(ValueError, match='no score column'):
    quadmix.quality_space(bare)
