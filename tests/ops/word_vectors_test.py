"""Word vectors: entries by hand, the factoring against a dense one."""

import numpy as np
import pytest

from jaxcurate.ops import word_vectors


def counts_of(texts):
  return word_vectors.matrix([word_vectors.entries(t.split()) for t in texts])


TOPICS = {
  'sea': 'ship wave sail storm anchor harbour deck mast'.split(),
  'code': 'loop file bug byte class code print stack'.split(),
}


def texts_of(num, seed=0):
  rng = np.random.default_rng(seed)
  return [
    ' '.join(['the', *rng.choice(TOPICS[('sea', 'code')[i % 2]], 6)])
    for i in range(num)
  ]


def test_entries_by_hand():
  bucket, count = word_vectors.entries(['the', 'cat', 'the', 'cat', 'the'])
  assert sorted(count.tolist()) == [2, 3]
  assert bucket.dtype == count.dtype == np.int32
  assert (np.diff(bucket) > 0).all() and bucket.max() < 1 << 16
  again = dict(zip(bucket.tolist(), count.tolist(), strict=True))
  [one], _ = word_vectors.entries(['cat'])
  assert again[int(one)] == 2
  row = counts_of(['the cat the cat the', ''])
  assert row.shape == (2, 1 << 16) and row[1].nnz == 0
  assert row[0, int(one)] == pytest.approx(1 + np.log(2))
  empty, _ = word_vectors.entries([])
  assert len(empty) == 0


def test_agrees_with_a_dense_factoring():
  counts = counts_of(texts_of(40))
  used = np.unique(counts.indices)
  dense = counts[:, used].toarray()
  idf = np.log(41 / (dense > 0).sum(axis=0))
  unit = dense * idf
  unit /= np.linalg.norm(unit, axis=1, keepdims=True)
  _, _, right = np.linalg.svd(unit, full_matrices=False)
  expected = dense @ (idf[:, None] * right[:2].T)
  found = counts @ word_vectors.learn(counts, 2)
  np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=5e-3)


def test_texts_of_one_topic_lie_together():
  counts = counts_of(texts_of(60))
  table = word_vectors.learn(counts, 4)
  assert table.dtype == np.float32 and table.shape == (1 << 16, 4)
  vectors = counts_of(texts_of(20, seed=1)) @ table
  vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
  cosine = vectors @ vectors.T
  same = np.add.outer(np.arange(20), np.arange(20)) % 2 == 0
  assert cosine[same].mean() > cosine[~same].mean() + 0.5
  again = word_vectors.learn(counts, 4)
  np.testing.assert_array_equal(table, again)


@pytest.mark.parametrize('num', [1, 2, 3])
def test_fewer_texts_than_numbers(num):
  counts = counts_of(texts_of(num))
  table = word_vectors.learn(counts, 64)
  assert table.shape == (1 << 16, num) and np.isfinite(table).all()
  assert np.linalg.norm(counts @ table, axis=1).min() > 0
  empty = word_vectors.learn(counts_of(['']), 64)
  assert not empty.any()
