"""Ratings of texts: a linear head on pooled states, token n-grams and length.

  rating = sum_w n_w (pooled_w @ kernel + grams_w @ ngrams) / sum_w n_w
           + length * log(sum_w n_w) + bias

over the windows w of a text, n_w tokens in each. Source of the linear head on
a language model and of the token-weighted mean over windows: QuRating (arXiv
2402.09739, section 3). Ours: n-grams (`ops.ngrams`) and length, without which
a small judge that was trained on few labels loses to a bag of n-grams.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from jaxcurate.ops import ngrams, pool, segments

POOLINGS = ('mean', 'position', 'last')


def init(
  width: int, num_criteria: int, max_order: int
) -> dict[str, Float[np.ndarray, '...']]:
  """A head of zeros, which rates every text 0.

  Args:
    width: D.
    num_criteria: C.
    max_order: longest n-gram, 0 for none.
  """
  shapes = {'kernel': (width,), 'length': (), 'bias': ()}
  if max_order:
    shapes['ngrams'] = (ngrams.NUM_BUCKETS,)
  return {
    name: np.zeros((*shape, num_criteria), np.float32)
    for name, shape in shapes.items()
  }


def pool_states(
  states_BxLxD: Float[Array, 'B L D'],
  segment_ids_BxL: Int[Array, 'B L'],
  num_segments: int,
  pooling: str,
) -> Float[Array, 'B S D']:
  """One vector per segment.

  Args:
    states_BxLxD: [B, L, D] float.
    segment_ids_BxL: [B, L] int, 1..S, 0 = padding.
    num_segments: S.
    pooling: 'mean', 'position' (later states weigh more) or 'last'.

  Returns:
    [B, S, D] float32; 0 for empty segments.

  Raises:
    ValueError: an unknown pooling.

  >>> states = jnp.array([[[3.], [6.], [9.]]])
  >>> pool_states(states, jnp.array([[1, 1, 0]]), 1, 'last').tolist()
  [[[6.0]]]
  """
  if pooling == 'mean':
    return pool.mean_pool(states_BxLxD, segment_ids_BxL, num_segments)
  if pooling == 'position':
    return pool.position_weighted_pool(
      states_BxLxD, segment_ids_BxL, num_segments
    )
  if pooling != 'last':
    raise ValueError(f'pooling is {pooling!r}, expected one of {POOLINGS}')
  following = jnp.pad(segment_ids_BxL[:, 1:], ((0, 0), (0, 1)))
  # The mean over one token: all others are padding.
  last_BxL = jnp.where(segment_ids_BxL == following, 0, segment_ids_BxL)
  return pool.mean_pool(states_BxLxD, last_BxL, num_segments)


def rate_windows(
  head: Mapping[str, Array],
  states_BxLxD: Float[Array, 'B L D'],
  tokens_BxL: Int[Array, 'B L'],
  segment_ids_BxL: Int[Array, 'B L'],
  num_segments: int,
  pooling: str,
  max_order: int,
) -> dict[str, jax.Array]:
  """What each window adds to its text's rating, before length and bias.

  Args:
    head: tensors of a `types.Head`.
    states_BxLxD: [B, L, D] float, of the network.
    tokens_BxL: [B, L] int, which it read.
    segment_ids_BxL: [B, L] int, one segment per window.
    num_segments: S.
    pooling: see `pool_states`.
    max_order: longest n-gram, 0 for none.

  Returns:
    'rating' [B, S, C] float32 and 'tokens' [B, S] float32, both 0 for empty
    segments.
  """
  pooled_BxSxD = pool_states(
    states_BxLxD, segment_ids_BxL, num_segments, pooling
  )
  rating_BxSxC = jnp.einsum(
    'bsd,dc->bsc',
    pooled_BxSxD,
    head['kernel'].astype(jnp.float32),
    precision=jax.lax.Precision.HIGHEST,
  )
  if max_order:
    rating_BxSxC += ngrams.weigh(
      tokens_BxL, segment_ids_BxL, num_segments, head['ngrams'], max_order
    )
  member_BxLxS = segments.membership(segment_ids_BxL, num_segments)
  count_BxS = jnp.sum(member_BxLxS, axis=1, dtype=jnp.float32)
  return {'rating': rating_BxSxC, 'tokens': count_BxS}


def rate_text(
  head: Mapping[str, Float[np.ndarray, '...']],
  rating_WxC: Float[np.ndarray, 'W C'],
  tokens_W: Float[np.ndarray, ' W'],
) -> Float[np.ndarray, ' C']:
  """The rating of a text from those of its windows.

  Args:
    head: tensors of a `types.Head`.
    rating_WxC: [W, C], from `rate_windows`.
    tokens_W: [W] >= 1.

  Returns:
    [C] float64.

  >>> head = {'length': np.ones(1), 'bias': np.zeros(1)}
  >>> rate_text(head, np.array([[1.], [4.]]), np.array([2., 1.])).round(3)
  array([3.099])
  """
  total = tokens_W.sum(dtype=np.float64)
  mean_C = tokens_W.astype(np.float64) @ rating_WxC / total
  return mean_C + head['length'] * np.log(total) + head['bias']
