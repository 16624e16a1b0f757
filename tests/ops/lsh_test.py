"""The hash sketch against its own kernel, and what must not change it."""

import jax
from jax import export
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import numpy as np
import pytest
from scipy import stats

from jaxcurate.ops import lsh

ADD = jax.jit(lsh.add)
MEAN_COUNTS = jax.jit(lsh.mean_counts)


def _points(num, width=6, seed=0):
  points = np.random.default_rng(seed).normal(size=(num, width))
  return jnp.asarray(
    points / np.linalg.norm(points, axis=1, keepdims=True), 'f4'
  )


def _hashes(rows=200, per_row=1, bandwidth=1.0, width=6, seed=0):
  return lsh.make_hashes(
    jax.random.key(seed),
    width=width,
    num_rows=rows,
    hashes_per_row=per_row,
    bandwidth=bandwidth,
  )


def _sketch(points, hashes, rows=200, buckets=500, mask=None):
  mask = jnp.ones(len(points), bool) if mask is None else mask
  return ADD(lsh.empty_sketch(rows, buckets), hashes, points, mask)


def _slow_kernel(distance, bandwidth):
  t = bandwidth / distance
  border = 2 / (np.sqrt(2 * np.pi) * t) * (1 - np.exp(-(t**2) / 2))
  return 1 - 2 * stats.norm.cdf(-t) - border


def test_kernel_by_hand_and_float64():
  assert lsh.collision_kernel(jnp.zeros(1), 2.0, 3)[0] == 1.0
  distance = np.array([0.01, 0.5, 1.0, 3.0, 40.0])
  got = lsh.collision_kernel(jnp.asarray(distance, 'f4'), 1.3, 1)
  np.testing.assert_allclose(got, _slow_kernel(distance, 1.3), rtol=1e-4)
  twice = lsh.collision_kernel(jnp.asarray(distance, 'f4'), 1.3, 2)
  np.testing.assert_allclose(twice, got**2, rtol=1e-5)


@pytest.mark.parametrize('per_row', [1, 2, 4])
def test_kernel_by_monte_carlo(per_row):
  rows, bandwidth = 10_000, 0.8
  distance = np.array([0.1, 0.5, 1.2])
  points = jnp.asarray([[0.0, 0.0], *[[d, 0.0] for d in distance]], 'f4')
  # Away from the origin, where cells are negative half of the time.
  sketch = _sketch(
    points[:1],
    hashes := _hashes(rows, per_row, bandwidth, width=2),
    rows,
    buckets=1_000,
  )
  mean, error = MEAN_COUNTS(sketch, hashes, points)
  kernel = _slow_kernel(distance, bandwidth) ** per_row
  got = lsh.unbias(mean, 1_000)[1:]
  bound = 4 * np.sqrt(kernel * (1 - kernel) / rows)
  assert (np.abs(got - kernel) < bound).all()
  assert mean[0] == 1.0
  if per_row == 1:  # else too few of the rows collide to estimate it
    expected = np.sqrt(kernel * (1 - kernel) / rows)
    np.testing.assert_allclose(error[1:], expected, rtol=0.05)


def test_few_buckets_are_unbiased():
  points, rows, buckets = _points(40), 4_000, 7
  sketch = _sketch(points, hashes := _hashes(rows), rows, buckets)
  mean, error = MEAN_COUNTS(sketch, hashes, points)
  distance = np.linalg.norm(points[:, None] - points[None], axis=-1)
  distance = np.where(distance > 1e-6, distance, 1e-9)
  expected = _slow_kernel(distance, 1.0).mean(1)
  got = lsh.unbias(mean / 40, buckets)
  assert (np.abs(got - expected) < 5 * np.asarray(error) / 40 + 1e-3).all()


def test_equals_slow_counts():
  points, hashes = _points(30), _hashes(rows=150, per_row=2)
  sketch = np.asarray(_sketch(points, hashes, 150, 50))
  assert sketch.sum() == 30 * 150
  projected = points @ hashes.direction_DxRP
  cells = np.floor(projected / hashes.bandwidth + hashes.offset_RP)
  cells = cells.reshape(30, 150, 2)
  mean, _ = MEAN_COUNTS(jnp.asarray(sketch), hashes, points)
  same_cell = (cells[:, None] == cells[None]).all(-1).sum(1)  # [query, row]
  # Accidental sharing only adds.
  assert (np.asarray(mean) >= same_cell.mean(1) - 1e-4).all()
  assert np.mean(np.asarray(mean) - same_cell.mean(1)) < 2 * 30 / 50


def test_cells_are_mixed_evenly_and_signs_differ():
  cells = np.arange(-500, 500, dtype=np.int32).reshape(-1, 1, 1)
  salt = jnp.array([12345], jnp.uint32)
  bucket = np.asarray(lsh.hash_cells(jnp.asarray(cells), salt, 10)).ravel()
  assert bucket.min() == 0
  assert bucket.max() == 9
  assert stats.chisquare(np.bincount(bucket, minlength=10)).pvalue > 1e-3
  many = np.asarray(lsh.hash_cells(jnp.asarray(cells), salt, 2**31 - 1)).ravel()
  assert len(np.unique(many)) == 1_000


def test_merge_of_eight_shards_is_the_whole():
  points, hashes = _points(64), _hashes()
  whole = _sketch(points, hashes)
  parts = [_sketch(part, hashes) for part in jnp.split(points, 8)]
  np.testing.assert_array_equal(sum(parts), whole)


def test_sharded_batch_counts_the_same():
  points, hashes = _points(64), _hashes()
  mask = jnp.arange(64) < 50
  whole = _sketch(points, hashes, mask=mask)
  mesh = Mesh(np.array(jax.devices()), ('data',))
  split = NamedSharding(mesh, PartitionSpec('data'))
  everywhere = NamedSharding(mesh, PartitionSpec())
  sharded = _sketch(
    jax.device_put(points, split),
    jax.device_put(hashes, everywhere),
    mask=jax.device_put(mask, split),
  )
  np.testing.assert_array_equal(sharded, whole)
  np.testing.assert_array_equal(whole, _sketch(points[:50], hashes))


def test_far_points_do_not_overflow():
  points = jnp.asarray([[1e30] * 6, [-1e30] * 6, [0.0] * 6], jnp.float32)
  sketch = _sketch(points, hashes := _hashes(bandwidth=1e-6))
  mean, _ = MEAN_COUNTS(sketch, hashes, points)
  assert np.isfinite(mean).all()
  assert sketch.sum() == 3 * 200


def test_too_large_a_sketch():
  with pytest.raises(ValueError, match=r'fewer than 2\*\*31'):
    lsh.empty_sketch(200_000, 20_000)


def test_lowers_for_tpu():
  arguments = (lsh.empty_sketch(200, 500), _hashes(), _points(16))
  mask = jnp.ones(16, bool)
  for function, extra in [(lsh.add, (mask,)), (lsh.mean_counts, ())]:
    exported = export.export(jax.jit(function), platforms=['tpu'])
    text = exported(*arguments, *extra).mlir_module()
    assert 'callback' not in text


def test_counts_may_fade():
  points, hashes = _points(30), _hashes()
  whole = _sketch(points, hashes)
  some = jnp.arange(30) < 10
  half = ADD(0.5 * whole.astype(jnp.float32), hashes, points, some)
  assert half.dtype == jnp.float32
  expected = 0.5 * np.float64(whole) + _sketch(points, hashes, mask=some)
  np.testing.assert_array_equal(half, expected)


def test_signatures_say_where_a_point_lies():
  points, hashes = _points(50), _hashes()
  signatures = jax.jit(lsh.signatures, static_argnums=2)
  found = np.asarray(signatures(hashes, points, 32))
  order = np.random.default_rng(2).permutation(50)
  moved = signatures(hashes, points[order], 32)
  np.testing.assert_array_equal(moved, found[order])
  assert len(set(found.tolist())) == 50
  # Cells wider than everything tell nothing; rows beyond the last are none.
  wide = hashes._replace(bandwidth=jnp.float32(1e9))
  assert len(set(signatures(wide, points, 32).tolist())) == 1
  few = jax.eval_shape(
    lambda: lsh.signatures(_hashes(rows=2), points, num_rows=9)
  )
  assert few.shape == (50,)
