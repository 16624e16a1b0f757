"""A mixture's shares and shape, as expected copies of documents."""

import numpy as np
import pytest

from jaxcurate.mixtures import expected_copies, quadmix
from jaxcurate.ops import ids as ids_lib
from jaxcurate.ops import quality_ranks
from jaxcurate.types import Mixture, QualityShape, ScoreTable


def pool(num=300, seed=0, domains='abc'):
  rng = np.random.default_rng(seed)
  return ScoreTable(
    id=np.array([f'doc-{i}' for i in range(num)], object),
    domain=np.array([domains[i % len(domains)] for i in range(num)], object),
    num_tokens=rng.integers(1, 60, num).astype(np.int32),
    scores={
      'good': rng.normal(size=num).astype(np.float32),
      'clean': rng.normal(size=num).astype(np.float32),
    },
    units={'good': '', 'clean': ''},
  )


def shape(num_domains=3, **settings):
  given = {
    'steepness': 50.0, 'keep_fraction': 0.3, 'repetition': 1.0, 'floor': 0.05,
    **settings,
  }  # fmt: skip
  weights = np.full((num_domains, 2), 0.5)
  return QualityShape(
    ('good', 'clean'),
    weights,
    *(np.full(num_domains, value) for value in given.values()),
  )


def expected(mixture, table, limit=1_000, *, max_copies=1e9, cost=None):
  return expected_copies.expected_copies(
    mixture,
    table,
    table.num_tokens if cost is None else cost,
    limit,
    max_copies=max_copies,
  )


def tokens_by_domain(copies, table):
  return {
    name: float((copies * table.num_tokens)[table.domain == name].sum())
    for name in sorted(set(table.domain))
  }


def test_shares_by_hand():
  table = ScoreTable(
    np.array(['1', '2', '3'], object), np.array(['a', 'a', 'b'], object),
    np.array([10, 30, 5], np.int32), {}, {},
  )  # fmt: skip
  copies, other = expected(Mixture(('a', 'b'), np.array([0.8, 0.2])), table, 50)
  # 40 tokens of a's 40, 10 of b's 5.
  np.testing.assert_allclose(copies, [1.0, 1.0, 2.0])
  assert other == {}


@pytest.mark.parametrize('by_quality', [False, True])
def test_tokens_are_the_mixtures_shares_of_the_budget(by_quality):
  table, share = pool(), np.array([0.5, 0.3, 0.2])
  mixture = Mixture(
    ('c', 'a', 'b'), share, shape(steepness=5.0) if by_quality else None
  )
  copies, _ = expected(mixture, table, 2_000)
  found = tokens_by_domain(copies, table)
  assert found == pytest.approx({'c': 1_000, 'a': 600, 'b': 400})


def value_of(table, keep_fraction):
  """Sampling values by the formula, domain by domain."""
  value = np.empty(len(table.id))
  score = np.stack([table.scores['good'], table.scores['clean']], axis=1)
  for name in 'abc':
    own = table.domain == name
    # Percentiles are of the whole pool, ranks of the domain.
    quality = quality_ranks.percentiles(score).mean(axis=1)[own]
    rank = quality_ranks.token_ranks(
      quality, table.num_tokens[own], np.zeros(own.sum(), int),
      ids_lib.hash_ids(table.id[own]),
    )  # fmt: skip
    value[own] = quadmix.sampling_value(
      rank,
      steepness=50.0,
      keep_fraction=keep_fraction,
      repetition=1.0,
      floor=0.05,
    )
  return value


def test_the_parameters_own_budget_is_the_formula_of_exact_ranks():
  table = pool(6_000)
  value = value_of(table, 0.3)
  tokens = tokens_by_domain(value, table)
  limit = sum(tokens.values())
  share = np.array(list(tokens.values())) / limit
  copies, _ = expected(
    Mixture(('a', 'b', 'c'), share, shape()), table, round(limit)
  )
  np.testing.assert_allclose(copies, value, rtol=1e-3)


def test_a_larger_budget_takes_more_documents_and_not_more_copies():
  table = pool(6_000)
  mixture = Mixture(('a', 'b', 'c'), np.full(3, 1 / 3), shape())
  total = int(table.num_tokens.sum())
  kept = []
  for limit in (total // 10, total // 3, total):
    copies, _ = expected(mixture, table, limit)
    assert copies @ table.num_tokens == pytest.approx(limit)
    assert copies.max() <= 2.05 * 1.02
    kept.append(int((copies > 0.5).sum()))
  assert kept[0] * 2 < kept[1] and kept[1] * 2 < kept[2] < 6_000
  # No domain has more than 2.05 times its tokens: the copies make up for it.
  copies, _ = expected(mixture, table, 3 * total)
  np.testing.assert_allclose(copies @ table.num_tokens, 3 * total)
  assert copies.max() > 2.5 and (copies > 0.5).all()


def test_a_budget_of_documents_keeps_the_shares_of_tokens():
  table = pool()
  mixture = Mixture(('a', 'b', 'c'), np.array([0.6, 0.3, 0.1]))
  copies, _ = expected(mixture, table, 90, cost=np.ones(300, np.int64))
  assert copies.sum() == pytest.approx(90)
  found = np.array(list(tokens_by_domain(copies, table).values()))
  np.testing.assert_allclose(found / found.sum(), [0.6, 0.3, 0.1])


def test_other_domains_are_counted_and_left_out():
  copies, other = expected(Mixture(('b',), np.ones(1)), pool())
  assert other == {'a': 100, 'c': 100}
  assert (copies > 0).sum() == 100


def test_a_domain_without_documents_is_named():
  with pytest.raises(ValueError, match="domain 'd', and the pool has none"):
    expected(Mixture(('a', 'd'), np.array([0.9, 0.1])), pool())
  copies, _ = expected(Mixture(('a', 'd'), np.array([1.0, 0.0])), pool())
  assert copies.sum() > 0  # nothing is wanted of it


def test_too_large_a_budget_says_how_large_it_may_be():
  table = pool()
  mixture = Mixture(('a', 'b', 'c'), np.array([0.8, 0.1, 0.1]))
  with pytest.raises(ValueError, match="domain 'a', and at most 4") as error:
    expected(mixture, table, 100_000, max_copies=4.0)
  largest = int(str(error.value).rpartition(' ')[2].replace(',', ''))
  copies, _ = expected(mixture, table, largest, max_copies=4.0)
  assert 3.99 < copies.max() <= 4


def test_missing_domains_and_scores_are_named():
  table = pool()
  table.domain[7] = None
  with pytest.raises(ValueError, match=r"1 documents have no domain.*'doc-7'"):
    expected(Mixture(('a',), np.ones(1)), table)
  table = pool()
  table.scores['clean'][4] = np.nan
  with pytest.raises(ValueError, match="'doc-4' has no score in 'clean'"):
    expected(Mixture(('a', 'b', 'c'), np.full(3, 1 / 3), shape()), table)


@pytest.mark.parametrize('floor', [0.0, 0.05])
def test_a_domain_of_one_document_gives_it(floor):
  table = pool(num=3)  # one of each; its rank, 1, is beyond keep_fraction
  mixture = Mixture(('a', 'b', 'c'), np.full(3, 1 / 3), shape(floor=floor))
  copies, _ = expected(mixture, table, int(table.num_tokens.sum()))
  found = list(tokens_by_domain(copies, table).values())
  np.testing.assert_allclose(found, table.num_tokens.sum() / 3)


@pytest.mark.parametrize(
  ('domains', 'share', 'why'),
  [
    ((), [], 'needs a domain'),
    (('a', 'a'), [0.5, 0.5], "'a' occurs twice"),
    (('a', 'b'), [1.0], '2 domains and shares'),
    (('a', 'b'), [0.5, 0.6], 'sum to 1.1'),
    (('a', 'b'), [1.5, -0.5], 'at least 0'),
  ],
)
def test_mixtures_that_are_none(domains, share, why):
  with pytest.raises(ValueError, match=why):
    Mixture(domains, np.array(share))
