"""The benchmark of parameter sets: both contenders value the same sets."""

import numpy as np
import pytest


@pytest.fixture
def bench(tool):
  return tool('bench_mixtures')


def test_contenders_value_the_same_sets(bench):
  table = bench.pool(20_000, 3, 2)
  assert len(np.unique(table.domain)) == 3
  near, exact = (row.call() for row in bench.rows(table, 4))
  # The same but for documents beside the cut.
  assert (np.abs(near - exact) > 0.01).mean() < 0.01
  assert 0 < bench.rank_error(table) < 0.01
