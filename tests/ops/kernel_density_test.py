"""Gaussian kernel sums against float64 NumPy."""

import jax
from jax import export
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.ops import kernel_density


def _slow(query, reference, mask, bandwidth, own=None):
  query, reference = query.astype(np.float64), reference.astype(np.float64)
  square = ((query[:, None] - reference[None]) ** 2).sum(-1)
  kernel = np.exp(-square / (2 * bandwidth**2)) * mask
  if own is not None:
    kernel[np.arange(len(query)), own] *= own < 0
  return kernel.sum(1)


def _unit(num, seed):
  points = np.random.default_rng(seed).normal(size=(num, 24))
  points += 2 * np.eye(24)[np.arange(num) % 5] * np.sqrt(24)
  return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype('f4')


def _sums(query, reference, mask, bandwidth, own=None):
  return np.asarray(
    kernel_density.gaussian_sums(
      jnp.asarray(query),
      jnp.asarray(reference),
      jnp.asarray(mask),
      bandwidth,
      own_B=None if own is None else jnp.asarray(own),
    )
  )


def test_three_numbers_by_hand():
  query = np.array([[0.0], [1.0], [3.0]], np.float32)
  got = _sums(query, query[:2], np.ones(2, bool), 1.0)
  expected = [1 + np.exp(-0.5), 1 + np.exp(-0.5), np.exp(-4.5) + np.exp(-2)]
  np.testing.assert_allclose(got, expected, rtol=1e-6)


@pytest.mark.parametrize('bandwidth', [0.2, 0.5, 2.0])
@pytest.mark.parametrize('offset', [0.0, 30.0])
def test_equals_float64(bandwidth, offset):
  query, reference = _unit(70, 0) + offset, _unit(45, 1) + offset
  mask = np.arange(45) % 4 > 0
  own = np.where(np.arange(70) < 20, np.arange(70), -1).astype(np.int32)
  reference[:20] = query[:20]
  got = _sums(query, reference, mask, bandwidth, own)
  expected = _slow(query, reference, mask, bandwidth, own)
  np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_tiles_change_nothing(monkeypatch):
  query, reference = _unit(50, 0), _unit(31, 1)
  mask, own = np.ones(31, bool), np.full(50, 30, np.int32)
  whole = _sums(query, reference, mask, 0.4, own)
  monkeypatch.setattr(kernel_density, '_QUERY_TILE', 16)
  monkeypatch.setattr(kernel_density, '_REFERENCE_TILE', 7)
  tiled = _sums(query, reference, mask, 0.4, own)
  np.testing.assert_allclose(tiled, whole, rtol=1e-6)


def test_masked_references_may_hold_anything():
  reference = _unit(4, 1)
  mask = np.array([True, False, True, False])
  expected = _sums(_unit(3, 0), reference, mask, 0.5)
  reference[1], reference[3] = np.nan, np.inf
  np.testing.assert_array_equal(
    _sums(_unit(3, 0), reference, mask, 0.5), expected
  )


def test_nothing_to_sum():
  got = _sums(_unit(3, 0), _unit(2, 1), np.zeros(2, bool), 0.5)
  np.testing.assert_array_equal(got, 0.0)


def test_memory_is_one_tile():
  def sums(query, reference):
    mask = jnp.ones(len(reference), bool)
    return kernel_density.gaussian_sums(query, reference, mask, 0.5)

  shape = jax.ShapeDtypeStruct((32_768, 8), jnp.float32)
  memory = jax.jit(sums).lower(shape, shape).compile().memory_analysis()
  assert memory is not None
  # The whole kernel matrix would be 4 GiB, a tile is 32 MiB.
  assert memory.temp_size_in_bytes < 40 * 2**20


def test_lowers_for_tpu():
  shape = jax.ShapeDtypeStruct((64, 8), jnp.float32)
  mask = jax.ShapeDtypeStruct((64,), jnp.bool_)
  sums = jax.jit(kernel_density.gaussian_sums, static_argnums=3)
  text = export.export(sums, platforms=['tpu'])(shape, shape, mask, 0.5)
  assert 'callback' not in text.mlir_module()
