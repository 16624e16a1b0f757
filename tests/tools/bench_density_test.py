"""The density benchmark: its contenders estimate one and the same quantity."""

import numpy as np
import pytest


@pytest.fixture
def bench(tool):
  return tool('bench_density')


def test_contenders_agree(bench):
  points = bench.synthetic(200, 8)
  np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, rtol=1e-5)
  features = bench.features_of(points)
  [batch] = bench.batches(features)
  assert batch['mask'].sum() == 200
  assert len(batch['embedding']) == bench.BATCH
  estimate = bench.references(features, 200, 0.45, measured=True)
  scorer = bench.density_references.make(
    embedding='column:vector', num_references=200
  )
  bandwidth = float(bench.fitted(scorer, features).check.bandwidth)
  exact = bench.exact(points, bandwidth).densities()
  np.testing.assert_allclose(estimate.densities(), exact, rtol=1e-4)
  numpy = bench.numpy_exact(points, bandwidth).densities()
  np.testing.assert_allclose(numpy, exact[:: bench.NUMPY_SHARE], rtol=1e-4)
  assert estimate.resolvable_share == 1 / 200
