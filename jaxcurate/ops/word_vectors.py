"""Vectors of words by latent semantic analysis, and of texts by their words.

Word counts of a sample of texts, as tf-idf, are factored (Deerwester et al.,
JASIS 41(6), 1990) by a randomised singular value decomposition (Halko,
Martinsson and Tropp, arXiv 0909.4061, Algorithm 4.4). A text's vector is the
sum of its words' times 1 + ln of how often it has them. Words are hashed to a
fixed number of buckets: the table serves texts of any other corpus.
"""

from collections.abc import Sequence
import zlib

from jaxtyping import Float
import numpy as np
import scipy.sparse

NUM_BUCKETS = 1 << 16  # about as many as a sample has words that matter
_POWERS, _MORE = 3, 10  # iterations and spare directions: sections 4.3 and 4.5


def entries(words: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
  """Buckets of a text's words, and how often it has each.

  Args:
    words: of one text, in any order.

  Returns:
    [W] int32 buckets, rising (the low bits of CRC-32), and [W] int32 >= 1.

  >>> bucket, count = entries(['cat', 'dog', 'cat'])
  >>> sorted(count.tolist()), bool((bucket < NUM_BUCKETS).all())
  ([1, 2], True)
  """
  hashed = (zlib.crc32(word.encode()) % NUM_BUCKETS for word in words)
  found = np.fromiter(hashed, np.int32, len(words))
  bucket, count = np.unique(found, return_counts=True)
  return bucket, count.astype(np.int32)


def matrix(
  found: Sequence[tuple[np.ndarray, np.ndarray]],
) -> scipy.sparse.csr_matrix:
  """[N, NUM_BUCKETS] float64, 1 + ln count of each text's words."""
  lengths = [len(bucket) for bucket, _ in found]
  none = np.zeros(0, np.int32)
  bucket = np.concatenate([*(bucket for bucket, _ in found), none])
  count = np.concatenate([*(count for _, count in found), none])
  return scipy.sparse.csr_matrix(
    (1 + np.log(count), bucket, np.cumsum([0, *lengths])),
    (len(found), NUM_BUCKETS),
  )


def learn(
  counts: scipy.sparse.csr_matrix, width: int, seed: int = 0
) -> Float[np.ndarray, 'V D']:
  """Vectors of the buckets: idf times the right singular vectors of tf-idf.

  idf_t = ln((1 + N) / n_t), n_t of N texts have a word of bucket t; rows are
  brought to unit norm before they are factored.

  Args:
    counts: [N, V = NUM_BUCKETS] from `matrix`.
    width: D, at most; fewer where there are fewer texts.
    seed: of the random start.

  Returns:
    [V, D] float32; 0 for a bucket that no text has.
  """
  num_texts = len(counts.indptr) - 1
  have_V = np.bincount(counts.indices, minlength=NUM_BUCKETS)
  used = np.flatnonzero(have_V)
  width = min(width, num_texts)
  table_VxD = np.zeros((NUM_BUCKETS, width), np.float32)
  if not len(used):
    return table_VxD
  idf_U = np.log((1 + num_texts) / have_V[used])
  weighed = counts[:, used].multiply(idf_U).tocsr()
  norm_N = np.sqrt(np.asarray(weighed.multiply(weighed).sum(axis=1)).ravel())
  unit = scipy.sparse.diags(1 / np.where(norm_N > 0, norm_N, 1.0)) @ weighed
  rng = np.random.default_rng(seed)
  basis = rng.normal(size=(len(used), min(width + _MORE, *unit.shape)))
  for _ in range(_POWERS):
    rows, _ = np.linalg.qr(unit @ basis)
    basis, _ = np.linalg.qr(unit.T @ rows)
  right = np.linalg.svd(unit @ basis, full_matrices=False).Vh
  found_UxD = idf_U[:, None] * (basis @ right[:width].T)
  table_VxD[used, : found_UxD.shape[1]] = found_UxD
  return table_VxD
