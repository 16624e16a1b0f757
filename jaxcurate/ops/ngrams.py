"""Bags of hashed token n-grams, as square roots of their shares in a text.

A text of n n-grams of one order, c_g of them g, is the unit vector with
sqrt(c_g / n) at bucket hash(g), so that inner products of texts are
Bhattacharyya coefficients. Hashed n-grams in a linear classifier are
fastText's (arXiv 1607.01759); the square root is ours: it keeps a text's most
common n-grams from deciding alone.

One hash serves NumPy and JAX, so that what is learnt from sparse rows on the
host is what the device computes from the tokens it has anyway.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
import numpy as np
import scipy.sparse

from jaxcurate.ops import segments

NUM_BUCKETS = 1 << 16  # a power of two
_BITS = 16
_PRIME = np.uint32(0x01000193)  # FNV-1a's, 32 bits
_MIX = np.uint32(0x9E3779B1)  # odd, near 2^32 / golden ratio


def hashes(tokens: Any, order: int) -> Any:
  """32 mixed bits of the n-gram that begins at each place of the last axis.

  Args:
    tokens: [..., L] int array of NumPy or JAX; 32 bits count.
    order: n, >= 1.

  Returns:
    [..., L] uint32; the last n - 1 wrap around and mean nothing.

  >>> found = hashes(np.array([5, 6, 5, 6]), 2)
  >>> bool(found[0] == found[2]), bool(found[0] == found[1])
  (True, False)
  """
  xp = jnp if isinstance(tokens, jnp.ndarray) else np
  ids = tokens.astype(xp.uint32)
  hashed = xp.full_like(ids, np.uint32(order))
  for place in range(order):
    hashed = (hashed ^ xp.roll(ids, -place, axis=-1)) * _PRIME
    hashed = hashed ^ (hashed >> np.uint32(15))
  return hashed * _MIX


def buckets(tokens: Any, order: int) -> Any:
  """Bucket of the n-gram that begins at each place of the last axis.

  Args:
    tokens: [..., L] int array of NumPy or JAX.
    order: n, >= 1.

  Returns:
    [..., L] int32 in [0, NUM_BUCKETS); the last n - 1 mean nothing.
  """
  xp = jnp if isinstance(tokens, jnp.ndarray) else np
  return (hashes(tokens, order) >> np.uint32(32 - _BITS)).astype(xp.int32)


def matrix(
  texts: Sequence[np.ndarray], max_order: int
) -> scipy.sparse.csr_matrix:
  """Texts as rows of sqrt(c_g / n), all orders up to the longest together.

  Args:
    texts: [L] int token ids of each.
    max_order: longest n-gram, >= 1.

  Returns:
    [N, NUM_BUCKETS] float64; 0 for a text without tokens. Rows are of norm 1
    but where n-grams of two orders share a bucket: their roots are added, as
    `weigh` adds them.

  >>> matrix([np.array([5, 5, 6])], 1).data.round(3).tolist()
  [0.577, 0.816]
  """
  counts = [_counts(texts, order) for order in range(1, max_order + 1)]
  totals = sum(np.asarray(own.sum(axis=1))[:, 0] for own in counts)
  roots = sum((own.power(0.5) for own in counts[1:]), counts[0].power(0.5))
  scale = scipy.sparse.diags(1 / np.sqrt(np.maximum(totals, 1.0)))
  made = scipy.sparse.csr_matrix(scale @ roots)
  made.sort_indices()
  return made


def _counts(texts: Sequence[np.ndarray], order: int) -> scipy.sparse.csr_matrix:
  """[N, NUM_BUCKETS] how often the n-grams of one order occur."""
  length = np.array([len(text) for text in texts], np.int64)
  flat = np.concatenate([*texts, np.zeros(0, np.int32)])
  end = np.repeat(np.cumsum(length), length)
  whole = np.arange(len(flat)) + order <= end
  starts = np.cumsum(np.append(0, np.maximum(length - order + 1, 0)))
  column = buckets(flat, order)[whole]
  counts = scipy.sparse.csr_matrix(
    (np.ones(len(column)), column, starts), (len(texts), NUM_BUCKETS)
  )
  counts.sum_duplicates()
  return counts


def weigh(
  tokens_BxL: Int[Array, 'B L'],
  segment_ids_BxL: Int[Array, 'B L'],
  num_segments: int,
  table_KxC: Float[Array, 'K C'],
  max_order: int,
) -> Float[Array, 'B S C']:
  """Inner products of the rows of `matrix` with a table, on the device.

  An n-gram that occurs c times adds its table entry c times, divided by
  sqrt(c): equality of all pairs of places gives c without a scatter.

  Args:
    tokens_BxL: [B, L] int.
    segment_ids_BxL: [B, L] int, 1..S, 0 = padding; segments are contiguous.
    num_segments: S.
    table_KxC: [NUM_BUCKETS, C] float.
    max_order: longest n-gram, >= 1.

  Returns:
    [B, S, C] float32; 0 for empty segments.
  """
  member_BxLxS = segments.membership(segment_ids_BxL, num_segments)
  total_BxSxC = 0.0
  count_BxS = jnp.zeros(())
  for order in range(1, max_order + 1):
    bucket_BxL = buckets(tokens_BxL, order)
    whole_BxL = _whole(segment_ids_BxL, order)
    same_BxLxL = (
      (bucket_BxL[:, :, None] == bucket_BxL[:, None, :])
      & (segment_ids_BxL[:, :, None] == segment_ids_BxL[:, None, :])
      & whole_BxL[:, None, :]
    )
    repeats_BxL = jnp.sum(same_BxLxL, axis=2, dtype=jnp.float32)
    weight_BxL = jnp.where(
      whole_BxL, jax.lax.rsqrt(jnp.maximum(repeats_BxL, 1.0)), 0.0
    )
    total_BxSxC += jnp.einsum(
      'bls,bl,blc->bsc',
      member_BxLxS.astype(jnp.float32),
      weight_BxL,
      table_KxC.astype(jnp.float32)[bucket_BxL],
      precision=jax.lax.Precision.HIGHEST,
    )
    count_BxS += jnp.sum(
      member_BxLxS & whole_BxL[:, :, None], axis=1, dtype=jnp.float32
    )
  return total_BxSxC * jax.lax.rsqrt(jnp.maximum(count_BxS, 1.0))[:, :, None]


def _whole(segment_ids_BxL: Array, order: int) -> Bool[Array, 'B L']:
  """Whether the n-gram that begins at a place ends in its segment."""
  last = order - 1
  ends = jnp.pad(segment_ids_BxL[:, last:], ((0, 0), (0, last)))
  return (segment_ids_BxL > 0) & (segment_ids_BxL == ends)
