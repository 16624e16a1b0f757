"""The contract of every sampler, and what each one prefers."""

import numpy as np
import pytest

from jaxcurate import types
from jaxcurate.ops import ids as ids_lib
from jaxcurate.ops import log_ratio
from jaxcurate.samplers import budget as budget_lib
from jaxcurate.samplers import (
  draw,
  importance,
  inverse_propensity,
  quotas,
  threshold,
  top_k,
  uniform,
)

UNIT = '-log density'


def _pool(num=200, seed=0, unit=UNIT):
  rng = np.random.default_rng(seed)
  ids = np.array([f'doc{i}' for i in range(num)], object)
  domain = np.where(rng.random(num) < 0.8, 'web', 'books')
  domain[:3] = 'rare'
  return types.Candidates(
    id=ids,
    id_hash=ids_lib.hash_ids(ids),
    score=rng.normal(size=num).astype(np.float32),
    num_tokens=rng.integers(1, 60, num).astype(np.int32),
    domain=domain.astype(object),
    unit=unit,
  )


def _budget(text):
  return budget_lib.parse_budget(text)


def _quotas(shares, rule):
  def sample(seed, candidates, budget):
    return quotas.sample(seed, candidates, budget, shares=shares, rule=rule)

  return sample


RANDOM = {
  'uniform': uniform.sample,
  'inverse_propensity': inverse_propensity.sample,
  'quotas/proportional': _quotas('proportional', 'uniform'),
  'quotas/equal': _quotas('equal', 'inverse_propensity'),
}
DETERMINISTIC = {
  'top_k': top_k.sample,
  'threshold': threshold.sample,
  'quotas/top_k': _quotas({'web': 1, 'books': 1, 'rare': 0}, 'top_k'),
}
ALL = {**RANDOM, **DETERMINISTIC}


@pytest.mark.parametrize('name', ALL)
@pytest.mark.parametrize('budget', ['40', '0.2', '900t', '0.2t'])
def test_same_seed_same_ids_whatever_the_row_order(name, budget):
  pool = _pool()
  order = np.random.default_rng(1).permutation(len(pool.id))
  first = ALL[name](7, pool, _budget(budget))
  second = ALL[name](7, draw.take_rows(pool, order), _budget(budget))
  assert list(first.id) == list(second.id)
  np.testing.assert_array_equal(first.expected_count, second.expected_count)


@pytest.mark.parametrize('name', ALL)
@pytest.mark.parametrize('budget', ['1', '40', '0.2', '900t', '0.3t'])
def test_budgets_are_met(name, budget):
  pool = _pool()
  tokens = dict(zip(pool.id, pool.num_tokens.tolist(), strict=True))
  for seed in range(20):
    got = ALL[name](seed, pool, _budget(budget))
    assert len(set(got.id)) == len(got.id)
    assert got.count.dtype == np.int32
    assert got.expected_count.dtype == np.float64
    assert (got.expected_count > 0).all()
    assert got.design == ('random' if name in RANDOM else 'deterministic')
    if budget.endswith('t'):
      paid = [tokens[name] for name in got.id]
      _, limit = budget_lib.resolve_budget(_budget(budget), pool)
      assert limit <= sum(paid) < limit + max(pool.num_tokens)
    else:
      assert len(got.id) == {'1': 1, '40': 40, '0.2': 40}[budget]


@pytest.mark.parametrize('name', RANDOM)
@pytest.mark.parametrize('budget', ['8', '300t'])
def test_horvitz_thompson_totals(name, budget):
  pool, trials = _pool(60), 1_000
  column = dict(zip(pool.id, np.exp(pool.score) + 1.0, strict=True))
  totals = []
  for seed in range(trials):
    got = RANDOM[name](seed, pool, _budget(budget))
    weight = got.count / got.expected_count
    values = np.array([column[name] for name in got.id])
    totals.append([weight.sum(), (weight * values).sum()])
  truth = np.array([len(pool.id), sum(column.values())])
  error = 4 * np.std(totals, axis=0) / np.sqrt(trials)
  assert (np.abs(np.mean(totals, axis=0) - truth) < error + 1e-9).all()


@pytest.mark.parametrize('name', ALL)
def test_whole_corpus(name):
  pool = _pool(30)
  if name in ('threshold', 'quotas/top_k'):
    with pytest.raises(ValueError, match='only'):
      ALL[name](0, pool, _budget('1.0'))
    return
  got = ALL[name](0, pool, _budget('1.0t'))
  assert set(got.id) == set(pool.id)
  np.testing.assert_array_equal(got.expected_count, 1.0)


@pytest.mark.parametrize('name', ALL)
def test_nan_scores_are_refused(name):
  pool = _pool(10)
  pool.score[4] = np.nan
  with pytest.raises(ValueError, match="the first is id 'doc4'"):
    ALL[name](0, pool, _budget('2'))


def test_one_document():
  pool = draw.take_rows(_pool(), np.array([5]))
  for name in ('uniform', 'top_k', 'threshold', 'quotas/proportional'):
    assert list(ALL[name](0, pool, _budget('1')).id) == ['doc5']


def test_inverse_propensity_prefers_the_rare_of_two_clusters():
  # 95 % and 5 %, overlap 0.1028: densities 0.95514 and 0.14766, odds 6.47.
  num, trials = 2_000, 300
  minority = np.arange(num) < num // 20
  density = np.where(minority, 0.05 + 0.95 * 0.1028, 0.95 + 0.05 * 0.1028)
  pool = _pool(num)
  pool.score[:] = -np.log(density)
  is_rare = dict(zip(pool.id, minority, strict=True))
  share = np.mean(
    [
      np.mean(
        [
          is_rare[name]
          for name in inverse_propensity.sample(seed, pool, _budget('20')).id
        ]
      )
      for seed in range(trials)
    ]
  )
  # 20 draws use up 5 of the 100 rare ones: 25.4 % of the first, 24.9 % of all.
  assert share == pytest.approx(0.25, abs=4 * np.sqrt(0.19 / (20 * trials)))


def test_importance_draws_by_the_weights_and_flattens_them():
  # The first of one draw is of weight w with probability w / sum w.
  pool, trials = draw.take_rows(_pool(), np.arange(3)), 600
  pool.score[:] = np.log([1.0, 2.0, 5.0])
  for temperature, weight in ((1.0, [1, 2, 5]), (2.0, np.sqrt([1, 2, 5]))):
    found = [
      importance.sample(s, pool, _budget('1'), temperature=temperature).id[0]
      for s in range(trials)
    ]
    share = np.array([found.count(i) for i in pool.id]) / trials
    expected = np.array(weight) / np.sum(weight)
    error = np.sqrt(expected * (1 - expected) / trials)
    assert (np.abs(share - expected) < 4 * error).all()
  with pytest.raises(ValueError, match=r'temperature is 0\.0, expected more'):
    importance.sample(0, pool, _budget('1'), temperature=0.0)


def test_log_weights_hundreds_of_nats_apart_are_drawn_in_order():
  pool = _pool(50)
  pool.score[:] = 1000.0 * np.arange(50)
  got = importance.sample(0, pool, _budget('5'))
  assert list(got.id) == [f'doc{i}' for i in range(49, 44, -1)]
  np.testing.assert_array_equal(got.expected_count, 1.0)


def test_inverse_propensity_refuses_other_scores():
  with pytest.raises(ValueError, match=r"this one has 'log P\(yes\)'"):
    inverse_propensity.sample(0, _pool(unit='log P(yes)'), _budget('2'))
  with pytest.raises(ValueError, match='-log density'):
    quotas.sample(0, _pool(unit=''), _budget('2'), rule='inverse_propensity')


def test_top_k_takes_the_best_and_breaks_ties_by_seed():
  pool = _pool(20)
  pool.score[:] = np.arange(20) // 5
  chosen = set()
  for seed in range(30):
    got = top_k.sample(seed, pool, _budget('7'))
    assert {'doc15', 'doc16', 'doc17', 'doc18', 'doc19'} < set(got.id)
    chosen |= set(got.id)
  assert chosen == {f'doc{i}' for i in range(10, 20)}


def test_threshold_by_score_and_by_quantile():
  pool = _pool(10)
  pool.score[:] = np.arange(10)
  got = threshold.sample(0, pool, threshold=7.0)
  assert list(got.id) == ['doc9', 'doc8', 'doc7']
  assert len(threshold.sample(0, pool, quantile=0.5).id) == 5
  assert len(threshold.sample(0, pool, quantile=0.0).id) == 10
  got = threshold.sample(0, pool, _budget('2'), threshold=7.0)
  assert list(got.id) == ['doc9', 'doc8']


def test_threshold_of_a_log_ratio_is_the_ratio():
  pool = _pool(5, unit=log_ratio.UNIT)
  pool.score[:] = np.log([0.5, 0.9, 1.0, 1.1, 2.0])
  for ratio, kept in [(None, 3), (1.0, 3), (0.9, 4), (1.05, 2)]:
    got = threshold.sample(0, pool, threshold=ratio)
    assert len(got.id) == kept
    assert got.threshold == pytest.approx(np.log(ratio or 1.0))
  got = threshold.sample(0, pool, quantile=0.8)
  assert list(got.id) == ['doc4']
  with pytest.raises(ValueError, match=r'threshold is 0.0, .* above 0'):
    threshold.sample(0, pool, threshold=0.0)


def test_threshold_errors():
  pool = _pool(10)
  pool.score[:] = np.arange(10)
  with pytest.raises(ValueError, match='no score reaches 11, the highest is 9'):
    threshold.sample(0, pool, threshold=11.0)
  with pytest.raises(ValueError, match='asks for 5 documents, but only 3'):
    threshold.sample(0, pool, _budget('5'), threshold=7.0)
  with pytest.raises(ValueError, match='quantile is 2'):
    threshold.sample(0, pool, quantile=2.0)


def _kept_per_domain(pool, got):
  domain = dict(zip(pool.id, pool.domain, strict=True))
  names, counts = np.unique(
    [domain[name] for name in got.id], return_counts=True
  )
  return dict(zip(names.tolist(), counts.tolist(), strict=True))


def test_quotas_split_and_fill_up():
  pool = _pool(200)  # 'rare' has 3 documents
  equal = quotas.sample(0, pool, _budget('63'), shares='equal')
  assert _kept_per_domain(pool, equal) == {'rare': 3, 'books': 30, 'web': 30}
  shares = {'web': 0.25, 'books': 0.75}
  named = quotas.sample(0, pool, _budget('20'), shares=shares)
  assert _kept_per_domain(pool, named) == {'web': 5, 'books': 15}
  rare = quotas.sample(0, pool, _budget('7'), shares={'rare': 9, 'web': 1})
  assert _kept_per_domain(pool, rare) == {'rare': 3, 'web': 4}


def test_quotas_top_k_takes_the_best_of_each_domain():
  pool = _pool(200)
  got = quotas.sample(0, pool, _budget('10'), rule='top_k', shares='equal')
  web = [i for i in np.argsort(-pool.score) if pool.domain[i] == 'web']
  assert set(pool.id[web[:3]]) <= set(got.id)
  assert got.design == 'deterministic'


def test_quotas_errors():
  pool = _pool(20)
  for options, message in [
    ({'rule': 'best'}, "unknown rule 'best'"),
    ({'shares': 'fair'}, "unknown shares 'fair'"),
    ({'shares': {'news': 1}}, r"no candidate has domain \['news'\]"),
    ({'shares': {'web': -1}}, 'expected numbers >= 0'),
    ({'shares': {'rare': 1}}, 'hold only 3 of the 10'),
  ]:
    with pytest.raises(ValueError, match=message):
      quotas.sample(0, pool, _budget('10'), **options)
  pool.domain[2] = None
  with pytest.raises(
    ValueError, match="1 of 20 have none, the first is id 'doc2'"
  ):
    quotas.sample(0, pool, _budget('10'))
