"""GPT-3's Pareto rule: its probabilities, and a line that meets a budget."""

import numpy as np
import pytest

from jaxcurate import types
from jaxcurate.ops import gumbel
from jaxcurate.ops import ids as ids_lib
from jaxcurate.samplers import pareto
from jaxcurate.samplers.budget import parse_budget


def pool_of(prob, unit='log P(positive)'):
  prob = np.asarray(prob)
  ids = np.array([f'doc{i}' for i in range(len(prob))], object)
  with np.errstate(divide='ignore'):
    score = np.log(prob).astype(np.float32)
  return types.Candidates(
    id=ids,
    id_hash=ids_lib.hash_ids(ids),
    score=score,
    num_tokens=np.arange(1, len(prob) + 1, dtype=np.int32),
    domain=np.full(len(prob), None, object),
    unit=unit,
  )


def test_inclusion_by_hand():
  # (1 + 1 - P)^-9: 1, 1.5^-9 and 2^-9; a line of 1.5 halves 1 to 1.5^-9.
  found = pareto.inclusion_prob(np.array([1.0, 0.5, 0.0]), np.ones(3), 9.0)
  np.testing.assert_allclose(found, [1.0, 1.5**-9, 1 / 512], rtol=1e-12)
  found = pareto.inclusion_prob(np.ones(2), np.array([1.5, -np.inf]), 9.0)
  np.testing.assert_allclose(found, [1.5**-9, 1.0], rtol=1e-12)


def test_the_papers_rule_document_by_document():
  # np.random.pareto by inversion of the same uniform numbers.
  pool = pool_of(np.random.default_rng(0).random(400))
  prob = np.exp(pool.score.astype(float))
  uniform = gumbel.uniforms(3, pool.id_hash)
  kept = uniform ** (-1 / 9) - 1 > 1 - prob
  got = pareto.sample(3, pool)
  assert set(got.id) == set(pool.id[kept])
  expected = dict(zip(pool.id, (2 - prob) ** -9.0, strict=True))
  np.testing.assert_allclose(
    got.expected_count, [expected[i] for i in got.id], rtol=1e-6
  )
  assert got.design == 'random' and (got.count == 1).all()


def test_as_often_as_numpys_own_draws():
  prob, trials = 0.8, 20_000
  pool = pool_of(np.full(trials, prob))
  own = len(pareto.sample(0, pool).id) / trials
  numpys = np.mean(np.random.default_rng(0).pareto(9, trials) > 1 - prob)
  expected = 1.2**-9
  bound = 4 * np.sqrt(expected * (1 - expected) / trials)
  assert abs(own - expected) < bound
  assert abs(numpys - expected) < bound


def test_totals_without_a_budget_are_unbiased():
  pool, trials = pool_of(np.linspace(0.3, 1.0, 30)), 500
  totals = []
  for seed in range(trials):
    totals.append(np.sum(1 / pareto.sample(seed, pool).expected_count))
  error = np.std(totals) / np.sqrt(trials)
  assert abs(np.mean(totals) - 30) < 4 * error


def test_a_budget_moves_the_line_and_nothing_else():
  pool = pool_of(np.random.default_rng(1).random(300))
  free = pareto.sample(5, pool)
  same = pareto.sample(5, pool, parse_budget(str(len(free.id))))
  assert list(same.id) == list(free.id)
  fewer = pareto.sample(5, pool, parse_budget('7'))
  assert list(fewer.id) == list(free.id[:7])
  tokens = pareto.sample(5, pool, parse_budget('900t'))
  assert list(tokens.id[:7]) == list(free.id[:7])
  everything = pareto.sample(5, pool, parse_budget('1.0'))
  np.testing.assert_array_equal(everything.expected_count, 1.0)


def test_alpha_decides_how_far_the_draws_reach():
  pool = pool_of(np.r_[np.full(1000, 0.9), np.full(1000, 0.1)])
  best = set(pool.id[:1000])
  flat, steep = (
    len(best & set(pareto.sample(0, pool, parse_budget('500'), alpha=a).id))
    / 500
    for a in (0.1, 90.0)
  )
  assert abs(flat - 0.5) < 0.1
  assert steep == 1.0


def test_degenerate_scores():
  assert set(pareto.sample(0, pool_of([1.0, 1.0])).id) == {'doc0', 'doc1'}
  # Underflow: log P is finite, P is 0.
  pool = pool_of([1.0] * 3)
  pool.score[:] = -1e30
  with pytest.raises(ValueError, match=r'none of 3 documents passes.*budget'):
    pareto.sample(0, pool)
  got = pareto.sample(0, pool, parse_budget('2'))
  assert len(got.id) == 2 and (got.expected_count > 0).all()


def test_mistakes_are_named():
  with pytest.raises(ValueError, match="this one has 'mean BM25'"):
    pareto.sample(0, pool_of([0.5], unit='mean BM25'))
  with pytest.raises(ValueError, match=r"'doc1' has log P 0.69.*at most 0"):
    pareto.sample(0, pool_of([0.5, 2.0]))
  with pytest.raises(ValueError, match=r'alpha is 0\.0, expected more than 0'):
    pareto.sample(0, pool_of([0.5]), alpha=0.0)
