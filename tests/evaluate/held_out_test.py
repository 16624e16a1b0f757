import math

import numpy as np
import pytest

from jaxcurate.evaluate.held_out import mean_loss, perplexity_table


def _objects(*values):
  return np.array(values, dtype=object)


def test_by_hand():
  rows = perplexity_table(
    _objects('wiki', 'news', 'wiki', None),
    np.array([1.0, 2.0, 3.0, 0.0]),
    np.array([1, 2, 3, 4]),
    sets={'high quality': ['wiki', 'news'], 'empty': ['books']},
  )
  found = {row.name: row for row in rows}
  assert [row.name for row in rows] == [
    'all',
    'high quality',
    'empty',
    '(no domain)',
    'news',
    'wiki',
  ]
  assert found['wiki'].loss == pytest.approx((1 * 1 + 3 * 3) / 4)
  assert found['wiki'].perplexity == pytest.approx(math.exp(2.5))
  assert found['wiki'].num_tokens == 4
  assert found['high quality'].loss == pytest.approx((1 + 4 + 9) / 6)
  assert found['all'].loss == pytest.approx(14 / 10)
  assert found['empty'].num_documents == 0
  assert math.isnan(found['empty'].perplexity)


def test_all_is_the_token_weighted_mean_of_the_domains():
  rng = np.random.default_rng(0)
  domain = rng.choice(['a', 'b', 'c'], 100).astype(object)
  loss, tokens = rng.uniform(1, 5, 100), rng.integers(1, 90, 100)
  whole, *parts = perplexity_table(domain, loss, tokens)
  total = sum(row.loss * row.num_tokens for row in parts)
  assert whole.loss == pytest.approx(total / whole.num_tokens)
  assert whole.num_documents == 100


def test_documents_without_loss_or_tokens_do_not_count():
  rows = perplexity_table(
    _objects('a', 'a', 'a'),
    np.array([np.nan, 1.0, 5.0], np.float32),
    np.array([9, 1, 0], np.int32),
  )
  assert rows[0].loss == 1.0
  assert rows[0].num_documents == 1


def test_degenerate_input():
  assert math.isnan(mean_loss(np.zeros(0), np.zeros(0, np.int32)))
  assert math.isnan(mean_loss(np.array([np.nan]), np.array([3])))
  (row,) = perplexity_table(
    _objects(), np.zeros(0, np.float32), np.zeros(0, np.int32)
  )
  assert row.num_documents == 0
  huge = perplexity_table(_objects('a'), np.array([1e4]), np.array([1]))
  assert huge[0].perplexity == math.inf
