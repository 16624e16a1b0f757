"""All ways of the benchmark compute the same matrix."""

import numpy as np
import pytest


@pytest.fixture
def bench(tool):
  return tool('bench_factored')


@pytest.mark.slow
def test_ways_agree_as_far_as_they_are_exact(bench):
  params = bench.make_params(width=16, layers=1)
  tokens = bench.make_tokens(examples=3, length=12)
  found = {
    name: np.asarray(way(params, tokens), np.float64)
    for name, way in bench.make_ways([16, 704]).items()
  }
  exact = found.pop('vmap(grad)')
  errors = {
    name: bench.relative_error(gram, exact) for name, gram in found.items()
  }
  assert max(errors['ghost'], errors['materialised']) < 1e-5
  assert errors['projected to 704'] < 1e-5  # 16 x 44: nothing is left out
  assert 0.01 < errors['projected to 16'] < 2


def test_operations_by_hand(bench):
  params = bench.make_params(width=16, layers=1)
  # 2 examples of 3 tokens: 36 pairs; up and down have 16 + 44 columns each.
  assert bench.ghost_operations(params, 2, 3) == 2 * 36 * 120
