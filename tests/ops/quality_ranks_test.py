"""Percentiles, merged quality and token-weighted ranks."""

import numpy as np
import pytest

from jaxcurate.ops import ids, quality_ranks


def _pool(num=400, num_domains=3, seed=0):
  rng = np.random.default_rng(seed)
  return {
    'quality': rng.random(num).round(2),  # with ties
    'num_tokens': rng.integers(1, 50, num),
    'domain': rng.integers(0, num_domains, num),
    'id_hash': ids.hash_ids([f'doc{i}' for i in range(num)]),
  }


def _slow(quality, num_tokens, domain, id_hash):
  rank = np.empty(len(quality))
  for i in range(len(quality)):
    own = domain == domain[i]
    before = (quality < quality[i]) | (
      (quality == quality[i]) & (id_hash <= id_hash[i])
    )
    rank[i] = num_tokens[own & before].sum() / num_tokens[own].sum()
  return rank


def test_percentiles_by_hand():
  score = np.array([[5.0, 1.0], [3.0, 1.0], [3.0, 1.0], [1.0, 1.0]])
  found = quality_ranks.percentiles(score)
  assert found[:, 0].tolist() == [0.125, 0.5, 0.5, 0.875]
  assert found[:, 1].tolist() == [0.5] * 4  # constant: says nothing


def test_percentiles_do_not_change_under_increasing_maps():
  score = np.random.default_rng(0).normal(size=(50, 2))
  np.testing.assert_array_equal(
    quality_ranks.percentiles(score), quality_ranks.percentiles(np.exp(score))
  )


def test_a_missing_score_is_named():
  with pytest.raises(ValueError, match='criterion 1 of document 2 is nan'):
    quality_ranks.percentiles(np.array([[1, 1], [1, 1], [1, np.nan]]))


def test_merge_is_the_domains_weighted_sum():
  rng = np.random.default_rng(0)
  percentile, domain = rng.random((30, 3)), rng.integers(0, 4, 30)
  weights = rng.dirichlet(np.ones(3), 4)
  np.testing.assert_allclose(
    quality_ranks.merge(percentile, domain, weights),
    [p @ weights[d] for p, d in zip(percentile, domain, strict=True)],
  )


def test_token_ranks_equal_a_slow_reference():
  pool = _pool()
  np.testing.assert_allclose(
    quality_ranks.token_ranks(**pool), _slow(**pool), rtol=1e-12
  )


def test_ranks_do_not_depend_on_the_order_of_rows():
  pool = _pool()
  order = np.random.default_rng(1).permutation(400)
  shuffled = {name: values[order] for name, values in pool.items()}
  np.testing.assert_array_equal(
    quality_ranks.token_ranks(**shuffled),
    quality_ranks.token_ranks(**pool)[order],
  )


def test_degenerate_domains():
  rank = quality_ranks.token_ranks(
    np.array([0.5, 0.5, 0.5, 0.1]),
    np.array([0, 0, 7, 3]),
    np.array([2, 2, 5, 9]),  # no tokens; one document; one document
    np.arange(4, dtype=np.uint64),
  )
  assert rank.tolist() == [1.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize('num_bins', [64, 4096])
def test_histogram_ranks_are_as_near_as_they_say(num_bins):
  pool = _pool(num=5_000)
  pool['quality'] = np.random.default_rng(3).random(5_000)
  exact = quality_ranks.token_ranks(**pool)
  tokens = pool['num_tokens'].astype(float)
  cell, rank, error = quality_ranks.histogram_ranks(
    pool['quality'], tokens, pool['domain'], 3, num_bins=num_bins
  )
  found = rank.reshape(-1)[cell]
  # A document's rank lies within its bin.
  assert np.abs(found - exact).max() <= error + 1e-12
  assert error < 1 / num_bins + 0.01
  assert found.min() > 0 and found.max() <= 1
