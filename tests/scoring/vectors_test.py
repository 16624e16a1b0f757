"""Vectors on disk: two dtypes, slices, and the batches a summary sees."""

import ml_dtypes
import numpy as np
import pytest

from jaxcurate.io import tables
from jaxcurate.ops import ids as ids_lib
from jaxcurate.scoring import parts, vectors


def write(folder, values, name='pass'):
  part = parts.Part('a', 0, len(values), True, {}, num_rows=len(values))
  ids = np.array([f'd{i}' for i in range(len(values))], object)
  parts.commit(folder, part, {'id': ids, name: values})
  return part


@pytest.fixture
def values():
  found = np.random.default_rng(0).normal(size=(7, 5))
  found[3] = np.nan
  return found


@pytest.mark.parametrize('dtype', [np.float32, ml_dtypes.bfloat16])
def test_batches(tmp_path, monkeypatch, values, dtype):
  monkeypatch.setattr(vectors, '_BATCH', 4)
  values = values.astype(dtype)
  part = write(tmp_path, values)
  (first, one), (second, other) = vectors.batches(tmp_path, part, 'pass')
  assert first.tolist() == [0, 1, 2, 4]
  assert second.tolist() == [5, 6]
  assert one['embedding'].dtype == np.float32
  np.testing.assert_array_equal(
    one['embedding'], values[first].astype(np.float32)
  )
  assert other['mask'].tolist() == [True, True, False, False]
  assert not other['embedding'][2:].any()
  hashes = ids_lib.hash_ids(['d5', 'd6'])
  halves = np.asarray(other['id_hash'], np.uint64)
  assert (halves[:2, 0] << np.uint64(32) | halves[:2, 1]).tolist() == list(
    hashes
  )


@pytest.mark.parametrize('dtype', [np.float32, ml_dtypes.bfloat16])
def test_a_slice_of_a_column(tmp_path, values, dtype):
  values = values.astype(dtype)
  part = write(tmp_path, values)
  column = tables.read_parquet(tmp_path / part.name, ['pass']).column('pass')
  found = vectors.from_column(column.slice(1, 2))
  assert found.dtype == dtype
  np.testing.assert_array_equal(found, values[1:3])


def test_a_chunk_without_vectors_has_no_batch(tmp_path):
  part = write(tmp_path, np.full((3, 1), np.nan, np.float32))
  assert list(vectors.batches(tmp_path, part, 'pass')) == []


def test_long_vectors_come_in_smaller_batches():
  assert vectors.batch_size(768) == 4096
  assert vectors.batch_size(4 * 8192) == 1024
  assert vectors.batch_size(1 << 30) == 1
