"""The measured agreement with the exact density."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.ops import density_check, log_density


def sample_of(points, usable=None):
  num = len(points)
  return log_density.Sample(
    points=jnp.asarray(points, jnp.float32),
    id_hash=jnp.asarray(np.arange(2 * num).reshape(num, 2), jnp.uint32),
    usable=jnp.ones(num, bool) if usable is None else jnp.asarray(usable),
  )


def exact(query, points, bandwidth):
  square = ((query[:, None] - points[None]) ** 2).sum(-1)
  return np.exp(-square / (2 * bandwidth**2)).sum(1)


def test_sums_equal_numpy_over_batches_and_shards():
  points = np.random.default_rng(0).normal(size=(90, 5))
  start = density_check.start(sample_of(points[:10]), jnp.float32(0.8))
  first, second = start, start
  for part in np.split(points, 9)[:4]:
    batch = jnp.asarray(np.pad(part, [(0, 2), (0, 0)]), jnp.float32)
    first = density_check.update(first, batch, jnp.arange(12) < 10)
  rest = jnp.asarray(points[40:], jnp.float32)
  second = density_check.update(second, rest, jnp.ones(50, bool))
  check = density_check.merge(first, second)
  assert int(check.num_documents) == 90
  expected = exact(points[:10], points, 0.8)
  np.testing.assert_allclose(check.total, expected, rtol=1e-5)
  report = density_check.agreement(check, jnp.asarray(np.log(expected), 'f4'))
  assert report['spearman_exact'] > 0.999
  assert report['checked_documents'] == 10
  assert report['mean_kernel'] == pytest.approx(expected.mean() / 90, rel=1e-5)
  backward = density_check.agreement(check, -check.total)
  assert backward['spearman_exact'] < -0.999


def test_the_last_usable_documents_are_checked(monkeypatch):
  monkeypatch.setattr(density_check, 'NUM_CHECKS', 3)
  usable = [True] * 5 + [False] * 2
  points = np.arange(7.0)[:, None]
  check = density_check.start(sample_of(points, usable), jnp.float32(1.0))
  assert check.embedding.ravel().tolist() == [2, 3, 4]
  assert check.mask.all()


def test_unusable_documents_are_left_out():
  usable = [True, False, False]
  points = np.arange(3.0)[:, None]
  check = density_check.start(sample_of(points, usable), jnp.float32(1.0))
  check = density_check.update(check, jnp.zeros((1, 1)), jnp.ones(1, bool))
  estimate = jnp.array([0.0, jnp.nan, jnp.nan])
  report = density_check.agreement(check, estimate)
  assert report['checked_documents'] == 1
  assert report['spearman_exact'] == 1.0


def test_nothing_to_check():
  sample = sample_of(np.ones((2, 1)), [False, False])
  check = density_check.start(sample, jnp.float32(1.0))
  report = density_check.agreement(check, jnp.zeros(2))
  assert report == {'checked_documents': 0}
