"""Hashed n-grams: the host's sparse rows and the device's sums agree."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.ops import ngrams


def slow_row(text, max_order):
  """sqrt(count / total) by n-gram, and the bucket of each, in float64."""
  counts = {}
  for order in range(1, max_order + 1):
    for at in range(len(text) - order + 1):
      gram = tuple(text[at : at + order])
      counts[gram] = counts.get(gram, 0) + 1
  row = np.zeros(ngrams.NUM_BUCKETS)
  total = sum(counts.values())
  for gram, count in counts.items():
    bucket = ngrams.buckets(np.array(gram), len(gram))[0]
    assert row[bucket] == 0, 'two n-grams in one bucket: choose other tokens'
    row[bucket] = np.sqrt(count / total)
  return row


def test_by_hand():
  # 5 twice, 6 once; the pairs 5 5 and 5 6.
  row = ngrams.matrix([np.array([5, 5, 6])], 2)
  np.testing.assert_allclose(np.sort(row.data), np.sqrt([0.2, 0.2, 0.2, 0.4]))
  bucket = ngrams.buckets(np.array([5]), 1)[0]
  np.testing.assert_allclose(row[0, bucket], np.sqrt(0.4))


@pytest.mark.parametrize('max_order', [1, 2, 3])
def test_matrix_against_numpy(max_order):
  rng = np.random.default_rng(max_order)
  texts = [rng.integers(3, 40, size=n) for n in (1, 2, 3, 30)]
  found = ngrams.matrix(texts, max_order).toarray()
  expected = np.stack([slow_row(text, max_order) for text in texts])
  np.testing.assert_allclose(found, expected, atol=1e-12)
  np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1)


@pytest.mark.parametrize('max_order', [1, 2, 3])
def test_device_against_matrix(max_order):
  rng = np.random.default_rng(0)
  texts = [rng.integers(3, 30, size=n) for n in (9, 5, 1, 12)]
  table = rng.normal(size=(ngrams.NUM_BUCKETS, 2)).astype(np.float32)
  tokens, ids = np.full((2, 20), 7), np.zeros((2, 20), np.int32)
  # Left padding, three packed texts, padding of the same token as text.
  for row, start, segment, text in (
    (0, 2, 1, texts[0]),
    (0, 11, 2, texts[1]),
    (0, 16, 3, texts[2]),
    (1, 0, 1, texts[3]),
  ):
    tokens[row, start : start + len(text)] = text
    ids[row, start : start + len(text)] = segment
  found = jax.jit(ngrams.weigh, static_argnums=(2, 4))(
    jnp.asarray(tokens), jnp.asarray(ids), 3, jnp.asarray(table), max_order
  )
  expected = ngrams.matrix(texts, max_order) @ table
  np.testing.assert_allclose(found[0], expected[:3], atol=1e-4)
  np.testing.assert_allclose(found[1, 0], expected[3], atol=1e-4)
  assert (found[1, 1:] == 0).all()


def test_buckets_are_spread_and_the_same_on_host_and_device():
  ids = np.arange(32_000)
  host = ngrams.buckets(ids, 1)
  np.testing.assert_array_equal(host, ngrams.buckets(jnp.asarray(ids), 1))
  assert host.min() >= 0 and host.max() < ngrams.NUM_BUCKETS
  # Expected share of distinct buckets of random throws, 4 standard errors.
  load = len(ids) / ngrams.NUM_BUCKETS
  expected = ngrams.NUM_BUCKETS * (1 - np.exp(-load))
  assert abs(len(np.unique(host)) - expected) < 4 * np.sqrt(len(ids))


def test_nothing_and_one_token():
  assert ngrams.matrix([], 2).shape == (0, ngrams.NUM_BUCKETS)
  found = ngrams.matrix([np.zeros(0, int), np.array([9])], 2)
  assert found[0].nnz == 0 and found[1].data.tolist() == [1.0]


def test_orders_that_share_a_bucket_add_up_on_both_sides():
  tokens = np.arange(3, 2003)
  of_one = ngrams.buckets(tokens[:, None], 1)[:, 0]
  of_two = ngrams.buckets(np.stack([tokens, tokens + 1], axis=1), 2)[:, 0]
  first, second = np.nonzero(of_one[:, None] == of_two)
  assert len(first) > 10  # 2000 * 2000 / 65536 = 61 are expected
  text = np.array(
    [*tokens[first[:3]], tokens[second[0]], tokens[second[0]] + 1]
  )
  table = np.random.default_rng(1).normal(size=(ngrams.NUM_BUCKETS, 1))
  table = table.astype(np.float32)
  found = ngrams.weigh(
    jnp.asarray(text[None]), jnp.ones((1, 5), int), 1, jnp.asarray(table), 2
  )
  row = ngrams.matrix([text], 2)
  np.testing.assert_allclose(found[0], row @ table, atol=1e-5)
  assert row.max() == pytest.approx(2 / 3)  # 1 + 1 of sqrt(5 + 4)
