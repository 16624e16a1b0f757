"""Sums over the examples of packed rows, and their values back on the tokens.

A row holds up to S examples; `segment_ids` says which token belongs to which
(1..S, 0 = padding). Membership is compared, not scattered: a compare and a sum
shard over rows and run on every accelerator, where scatters are slow.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
import numpy as np


def membership(
  segment_ids_BxL: Int[Array | np.ndarray, 'B L'], num_segments: int
) -> Bool[Array, 'B L S']:
  """Which token belongs to which segment.

  Args:
    segment_ids_BxL: [B, L] int, 1..S, 0 = padding.
    num_segments: S.

  Returns:
    [B, L, S] bool, entry [b, l, s - 1] is True where token l is of segment s.

  >>> membership(jnp.array([[1, 2, 0]]), 2)[0].tolist()
  [[True, False], [False, True], [False, False]]
  """
  return segment_ids_BxL[:, :, None] == jnp.arange(1, num_segments + 1)


def segment_sum(
  values_BxT: Float[Array, 'B T'],
  segment_ids_BxT: Int[Array | np.ndarray, 'B T'],
  num_segments: int,
) -> Float[Array, 'B S']:
  """Sum of the values of each segment's tokens; padding is never read.

  Args:
    values_BxT: [B, T] float.
    segment_ids_BxT: [B, T] int, 1..S, 0 = padding.
    num_segments: S.

  Returns:
    [B, S] float32; 0 for empty segments.

  >>> segment_sum(jnp.array([[1., 2., 4.]]), jnp.array([[1, 1, 0]]), 2).tolist()
  [[3.0, 0.0]]
  """
  member_BxTxS = membership(segment_ids_BxT, num_segments)
  values_BxTx1 = values_BxT.astype(jnp.float32)[:, :, None]
  return jnp.sum(jnp.where(member_BxTxS, values_BxTx1, 0.0), axis=1)


def segment_values(
  values_BxS: Float[Array, 'B S'],
  segment_ids_BxT: Int[Array | np.ndarray, 'B T'],
) -> Float[Array, 'B T']:
  """Gives every token the value of its segment, and padding 0.

  Args:
    values_BxS: [B, S] float, one value per segment.
    segment_ids_BxT: [B, T] int, 1..S, 0 = padding.

  Returns:
    [B, T] float32.

  >>> segment_values(jnp.array([[.5, 2.]]), jnp.array([[2, 1, 0]])).tolist()
  [[2.0, 0.5, 0.0]]
  """
  member_BxTxS = membership(segment_ids_BxT, values_BxS.shape[1])
  values_Bx1xS = values_BxS.astype(jnp.float32)[:, None, :]
  return jnp.sum(jnp.where(member_BxTxS, values_Bx1xS, 0.0), axis=2)
