"""Ranks that go with a Mixture: exact on its pool, the pool's elsewhere."""

import dataclasses

import numpy as np
import pytest

from jaxcurate.mixtures import document_values, quadmix
from jaxcurate.ops import quality_ranks
from jaxcurate.types import ScoreTable


@pytest.fixture(scope='module')
def pool():
  rng = np.random.default_rng(0)
  num = 6000
  return ScoreTable(
    id=np.array([f'doc{i}' for i in range(num)], object),
    domain=np.array([f'd{i % 2}' for i in range(num)], object),
    num_tokens=rng.integers(1, 50, num).astype(np.int32),
    scores={name: rng.normal(size=num).astype(np.float32) for name in 'ab'},
    units={'a': 'u', 'b': 'u'},
  )


@pytest.fixture(scope='module')
def shape(pool):
  space = quadmix.quality_space(pool)
  shape = space.mixture(space.draw(0, 1)[0]).shape
  # A slope over all ranks, so that every rank shows.
  return dataclasses.replace(
    shape, steepness_M=np.full(2, 3.0), keep_fraction_M=np.ones(2)
  )


def values(shape, table):
  code = (table.domain == 'd1').astype(np.int64)
  return document_values.document_values(shape, table, code)


def test_some_documents_have_the_ranks_of_the_whole_pool(pool, shape):
  whole = values(shape, pool)
  exact = values(dataclasses.replace(shape, ranks=None), pool)
  np.testing.assert_array_equal(whole, exact)
  best = np.flatnonzero(exact > np.quantile(exact, 0.7))
  some = pool.take(np.random.default_rng(1).permutation(best)[:500])
  found = values(shape, some)
  place = {name: i for i, name in enumerate(pool.id)}
  expected = whole[[place[name] for name in some.id]]
  np.testing.assert_allclose(found, expected, atol=3e-3)
  # Without the map they would be ranked among themselves.
  alone = values(dataclasses.replace(shape, ranks=None), some)
  assert np.abs(alone - expected).mean() > 0.1


def test_the_order_of_a_pool_does_not_name_it(pool):
  shuffled = pool.take(np.random.default_rng(0).permutation(len(pool.id)))
  assert document_values.pool_name(pool) == document_values.pool_name(shuffled)
  fewer = pool.take(np.arange(len(pool.id) - 1))
  assert document_values.pool_name(pool) != document_values.pool_name(fewer)


def test_knots_by_hand():
  values, weights = np.array([5.0, 1.0, 3.0]), np.array([1.0, 1.0, 2.0])
  found = quality_ranks.knots(values, weights, num_knots=4)
  assert found.tolist() == [1.0, 3.0, 3.0, 5.0]
  share = quality_ranks.share_below(np.array([0.0, 1.0, 3.0, 9.0]), found)
  assert share.tolist() == [0.0, 0.125, 0.5, 1.0]
  nothing = quality_ranks.knots(values, np.zeros(3), num_knots=3)
  assert nothing.tolist() == [1.0, 3.0, 5.0]
