"""Spherical k-means: by hand, against slow NumPy, and where it could break."""

import jax
from jax import export
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.ops import kmeans


def at(*degrees):
  angle = np.deg2rad(np.array(degrees, float))
  return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


def unit(points):
  return points / np.linalg.norm(points, axis=1, keepdims=True)


def scattered(num, width=8, num_groups=5, noise=0.6, seed=0):
  """Unit vectors around centres, and the centre of each."""
  rng = np.random.default_rng(seed)
  centres = unit(rng.normal(size=(num_groups, width)))
  group = rng.integers(0, num_groups, num)
  points = centres[group] + noise * rng.normal(size=(num, width)) / width**0.5
  return unit(points).astype(np.float32), group


def test_six_angles_by_hand():
  """Groups: 0, 10, 20 degrees around 10, 100 and 110 around 105, and 250."""
  found = kmeans.fit(3 * at(100, 0, 250, 10, 110, 20), 3)
  np.testing.assert_allclose(found.centroid, at(10, 105, 250), atol=1e-6)
  assert found.cluster.tolist() == [1, 0, 2, 0, 1, 0]  # the larger first
  cosines = np.cos(np.deg2rad([10, 0, 10, 5, 5, 0]))
  assert found.objective == pytest.approx(cosines.mean(), abs=1e-6)


def slow_lloyd(points, centroid, steps=100):
  """Float64 loops, for seeds that leave no cluster empty."""
  points, centroid = np.float64(points), np.float64(centroid)
  cluster = None
  for _ in range(steps):
    now = [max(range(len(centroid)), key=lambda k, p=p: p @ centroid[k])
           for p in points]  # fmt: skip
    if now == cluster:
      break
    cluster = now
    for k in range(len(centroid)):
      total = sum(p for p, own in zip(points, now, strict=True) if own == k)
      centroid[k] = total / np.linalg.norm(total)
  return centroid, np.array(cluster)


def test_agrees_with_a_slow_lloyd():
  points, _ = scattered(120)
  mask = jnp.ones(120, bool)
  seeds = kmeans.seed_centroids(jnp.asarray(points), mask, jax.random.key(0), 5)
  centroid, cluster = slow_lloyd(points, seeds)
  found = kmeans.fit(points, 5)
  order = np.argsort(-np.bincount(cluster), kind='stable')
  np.testing.assert_allclose(found.centroid, centroid[order], atol=1e-5)
  assert found.cluster.tolist() == np.argsort(order)[cluster].tolist()
  cosine = (points @ centroid.T).max(axis=1)
  assert found.objective == pytest.approx(cosine.mean(), abs=1e-6)


def test_groups_that_lie_apart_are_found_in_any_order():
  points, group = scattered(1_100, noise=0.1)  # in two blocks
  found = kmeans.fit(points, 5)
  pairs = set(zip(found.cluster.tolist(), group.tolist(), strict=True))
  assert len(pairs) == 5
  order = np.random.default_rng(1).permutation(1_100)
  other = kmeans.fit(points[order], 5, seed=3)
  np.testing.assert_allclose(other.centroid, found.centroid, atol=1e-5)
  assert other.cluster.tolist() == found.cluster[order].tolist()


def test_no_step_lowers_the_objective_and_no_cluster_stays_empty():
  """Twelve seeds that are one point: eleven clusters begin empty."""
  points, _ = scattered(120, noise=2.0)
  points, mask = jnp.asarray(points), jnp.arange(120) < 100
  centroid = jnp.tile(points[:1], (12, 1))
  objective, cluster = [], None
  for _ in range(25):
    centroid, cluster, cosine = kmeans.step(points, mask, centroid)
    objective.append(float(cosine[:100].mean()))
  assert (np.diff(objective) >= -1e-6).all() and objective[-1] > objective[0]
  assert set(np.asarray(cluster)[:100].tolist()) == set(range(12))
  norm = np.linalg.norm(np.asarray(centroid), axis=1)
  np.testing.assert_allclose(norm, 1, atol=1e-5)


def test_seeds_are_real_points_and_repeat_by_seed():
  points, group = scattered(120, noise=0.1)
  mask = jnp.asarray(group != 3)
  keys = jax.random.key(0), jax.random.key(0), jax.random.key(1)
  first, again, other = (
    np.asarray(kmeans.seed_centroids(jnp.asarray(points), mask, key, 5))
    for key in keys
  )
  assert first.tolist() == again.tolist() != other.tolist()
  rows = [int(np.flatnonzero((points == c).all(axis=1))[0]) for c in first]
  assert set(group[rows]) == {0, 1, 2, 4}  # all groups but the masked one


def test_more_clusters_than_points_and_duplicates():
  found = kmeans.fit(at(0, 90, 180), 9)
  assert sorted(found.cluster.tolist()) == [0, 1, 2]
  assert found.objective == pytest.approx(1)
  found = kmeans.fit(at(0, 0, 0, 120, 120, 0, 0, 120), 3)
  assert found.cluster.tolist() == [0, 0, 0, 1, 1, 0, 0, 1]
  np.testing.assert_allclose(found.centroid, at(0, 120), atol=1e-6)


def test_one_point_zero_vectors_and_points_that_cancel():
  found = kmeans.fit(at(30), 4)
  np.testing.assert_allclose(found.centroid, at(30), atol=1e-6)
  points = np.concatenate([np.zeros((1, 2), np.float32), at(30, 40)])
  found = kmeans.fit(points, 1)
  assert found.cluster.tolist() == [-1, 0, 0]
  np.testing.assert_allclose(found.centroid, at(35), atol=1e-6)
  found = kmeans.fit(at(0, 180), 1)
  assert found.objective == pytest.approx(0, abs=1e-6)
  assert np.linalg.norm(found.centroid) == pytest.approx(1)


def test_lowers_for_tpu():
  points = jax.ShapeDtypeStruct((2_048, 8), jnp.float32)
  mask = jax.ShapeDtypeStruct((2_048,), bool)
  centroid = jax.ShapeDtypeStruct((5, 8), jnp.float32)
  made = export.export(kmeans.step, platforms=['tpu'])(points, mask, centroid)
  assert 'callback' not in made.mlir_module()
  # Sums over members are products: a scatter adds in no fixed order.
  assert 'stablehlo.scatter' not in made.mlir_module()


@pytest.mark.parametrize(
  ('points', 'num', 'why'),
  [
    (at(0, 1), 0, 'num_clusters is 0'),
    (np.zeros((3, 2), np.float32), 1, '3 points, 0 of them with a direction'),
  ],
)
def test_what_is_wrong_is_said(points, num, why):
  with pytest.raises(ValueError, match=why):
    kmeans.fit(points, num)
