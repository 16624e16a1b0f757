"""One vector per example from the states of its tokens.

Position weights follow ADAPT (arXiv 2605.05227, section 5.1): under causal
attention later states have read more of the text, so token l of n weighs
l / (1 + ... + n). Bidirectional states are pooled by their plain mean.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from jaxcurate.ops import segments


def position_weighted_pool(
  states_BxLxD: Float[Array, 'B L D'],
  segment_ids_BxL: Int[Array | np.ndarray, 'B L'],
  num_segments: int,
) -> Float[Array, 'B S D']:
  """Mean of a segment's states, weighted by position.

  pooled = sum_l l h_l / sum_l l, l = 1, 2, ... over the segment's real tokens

  Args:
    states_BxLxD: [B, L, D] float; anything, even NaN, at padding.
    segment_ids_BxL: [B, L] int, 1..S, 0 = padding; padding on the left is
      not counted.
    num_segments: S.

  Returns:
    [B, S, D] float32; 0 for empty segments.

  >>> states = jnp.array([[[3.], [6.], [9.]]])
  >>> position_weighted_pool(states, jnp.array([[1, 1, 0]]), 1).tolist()
  [[[5.0]]]
  """
  member_BxLxS = segments.membership(segment_ids_BxL, num_segments)
  rank_BxLxS = jnp.cumsum(member_BxLxS, axis=1, dtype=jnp.float32)
  return _weighted_mean(
    states_BxLxD, jnp.where(member_BxLxS, rank_BxLxS, 0.0), segment_ids_BxL
  )


def mean_pool(
  states_BxLxD: Float[Array, 'B L D'],
  segment_ids_BxL: Int[Array | np.ndarray, 'B L'],
  num_segments: int,
) -> Float[Array, 'B S D']:
  """Plain mean of a segment's states.

  Args:
    states_BxLxD: [B, L, D] float; anything, even NaN, at padding.
    segment_ids_BxL: [B, L] int, 1..S, 0 = padding.
    num_segments: S.

  Returns:
    [B, S, D] float32; 0 for empty segments.

  >>> states = jnp.array([[[3.], [6.], [9.]]])
  >>> mean_pool(states, jnp.array([[1, 1, 0]]), 1).tolist()
  [[[4.5]]]
  """
  member_BxLxS = segments.membership(segment_ids_BxL, num_segments)
  return _weighted_mean(
    states_BxLxD, member_BxLxS.astype(jnp.float32), segment_ids_BxL
  )


def _weighted_mean(
  states_BxLxD: Array,
  weight_BxLxS: Array,
  segment_ids_BxL: Array | np.ndarray,
) -> Array:
  real_BxLx1 = (segment_ids_BxL > 0)[:, :, None]
  # HIGHEST: accelerators otherwise round float32 operands to bfloat16.
  total_BxSxD = jnp.einsum(
    'bls,bld->bsd',
    weight_BxLxS,
    jnp.where(real_BxLx1, states_BxLxD.astype(jnp.float32), 0.0),
    precision=jax.lax.Precision.HIGHEST,
  )
  weight_BxSx1 = jnp.sum(weight_BxLxS, axis=1)[:, :, None]
  return total_BxSxD / jnp.maximum(weight_BxSx1, 1.0)
