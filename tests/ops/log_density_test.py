"""Which documents count, and the form of a density column."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.ops import log_density


def features_of(points, mask=None):
  num = len(points)
  return {
    'embedding': jnp.asarray(points, jnp.float32),
    'id_hash': jnp.asarray(
      np.stack([np.arange(num)[::-1] // 2, np.arange(num)], 1), jnp.uint32
    ),
    'mask': jnp.ones(num, bool) if mask is None else jnp.asarray(mask),
  }


def test_zero_and_not_finite_vectors_are_unusable():
  points = [[1.0, 0.0], [0.0, 0.0], [np.nan, 1.0], [np.inf, 1.0], [2.0, 2.0]]
  mask = [True, True, True, True, False]
  kept, usable = log_density.usable_points(features_of(points, mask))
  assert usable.tolist() == [True, False, False, False, False]
  np.testing.assert_array_equal(kept, [[1, 0]] + [[0, 0]] * 4)


def test_sample_is_sorted_by_hash_and_unusable_rows_are_last():
  points = np.arange(1.0, 7.0)[:, None]
  points[5] = 0
  sample = log_density.sorted_sample(features_of(points))
  # Hashes (high, low): (2,0) (2,1) (1,2) (1,3) (0,4), and (0,5) unusable.
  assert sample.points.ravel().tolist() == [5, 3, 4, 1, 2, 0]
  assert sample.usable.tolist() == [True] * 5 + [False]
  order = np.array([3, 0, 5, 1, 4, 2])
  shuffled = {k: v[order] for k, v in features_of(points).items()}
  again = log_density.sorted_sample(shuffled)
  np.testing.assert_array_equal(again.id_hash, sample.id_hash)
  np.testing.assert_array_equal(again.points, sample.points)


def test_clamped_to_one_document_and_to_all():
  score = log_density.minus_log(
    jnp.array([-0.1, 0.0, 0.5, 1.5, 0.5, 0.5]),
    jnp.uint32(100),
    jnp.array([True, True, True, True, False, False]),
    {'mask': jnp.array([True] * 5 + [False])},
  )
  expected = [np.log(100), np.log(100), np.log(2), 0.0, np.nan, 0.0]
  np.testing.assert_allclose(score, expected, rtol=1e-6)


def test_empty_corpus_gives_no_infinity():
  score = log_density.minus_log(
    jnp.zeros(1), jnp.uint32(0), jnp.array([True]), {'mask': jnp.array([True])}
  )
  assert score[0] == 0.0


@pytest.mark.parametrize('bandwidth', [0.0, -1.0, float('nan')])
def test_bad_bandwidth(bandwidth):
  with pytest.raises(ValueError, match='expected more than 0'):
    log_density.check_kernel(bandwidth, 0.5)


@pytest.mark.parametrize('target', [0.0, 1.0, float('nan')])
def test_bad_target(target):
  log_density.check_kernel(None, 0.5)
  with pytest.raises(ValueError, match=r'expected in \(0, 1\)'):
    log_density.check_kernel(None, target)
