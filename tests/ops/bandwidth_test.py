"""Bandwidths that reach a mean kernel value."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.ops import bandwidth, kernel_density, lsh


def _points(num, seed=0):
  return jnp.asarray(np.random.default_rng(seed).normal(size=(num, 8)), 'f4')


def test_pairs_are_of_different_rows_and_masked():
  points = jnp.asarray([[0.0], [1.0], [5.0], [jnp.inf]], jnp.float32)
  mask = jnp.array([True, True, True, False])
  distance, kept = bandwidth.pair_distances(points, mask)
  got = sorted(np.asarray(distance)[np.asarray(kept)].tolist())
  # Shifts 1 and 2 of four rows: 0-1, 1-2, (2-3, 3-0), 0-2 twice, (1-3 twice).
  assert got == [1.0, 4.0, 5.0, 5.0]


def test_about_ten_thousand_pairs():
  points = _points(300)
  distance, kept = bandwidth.pair_distances(points, jnp.ones(300, bool))
  assert 10_000 <= len(distance) <= 10_300
  assert kept.all()
  assert distance.min() > 0


@pytest.mark.parametrize('target', [0.1, 0.45, 0.9])
@pytest.mark.parametrize('scale', [1e-3, 1.0, 1e4])
@pytest.mark.parametrize('name', ['gaussian', 'collision'])
def test_target_is_reached(name, scale, target):
  kernel = {
    'gaussian': kernel_density.gaussian_kernel,
    'collision': lambda d, r: lsh.collision_kernel(d, r, 2),
  }[name]
  distance, mask = bandwidth.pair_distances(
    scale * _points(200), jnp.ones(200, bool)
  )
  solve = jax.jit(bandwidth.solve_bandwidth, static_argnums=0)
  width = solve(kernel, distance, mask, target)
  mean = np.mean(kernel(distance, width))
  assert mean == pytest.approx(target, abs=1e-3)
  reported = bandwidth.mean_kernel(kernel, distance, mask, width)
  assert reported == pytest.approx(target, abs=1e-3)


@pytest.mark.parametrize('num', [1, 2, 5])
def test_equal_points_have_bandwidth_one(num):
  distance, mask = bandwidth.pair_distances(
    jnp.ones((num, 3)), jnp.ones(num, bool)
  )
  got = bandwidth.solve_bandwidth(
    kernel_density.gaussian_kernel, distance, mask, 0.45
  )
  assert got == 1.0


def test_rounding_of_the_points_changes_nothing():
  points = _points(50)
  widths = {
    float(
      bandwidth.solve_bandwidth(
        kernel_density.gaussian_kernel,
        *bandwidth.pair_distances(points * scale, jnp.ones(50, bool)),
        0.45,
      )
    )
    for scale in (1.0, 1.0 + 3e-7, 1.0 - 3e-7)
  }
  assert len(widths) == 1
