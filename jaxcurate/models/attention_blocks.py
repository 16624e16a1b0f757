"""Attention one row and head at a time, for a CPU's cache.

A block of scores [T, L] (1 MiB at 512 x 512) lives between two products and is
dropped. `mixture` is for inference; `recomputed_mixture` is for training: the
gradient computes a block again instead of reading it back from memory, the
idea of FlashAttention (arXiv:2205.14135, section 3.1) without its tiles.
"""

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxcurate.models.softmax import MASKED


def mixture(
  query_BxTxD: Float[Array, 'B T D'],
  key_BxLxD: Float[Array, 'B L D'],
  value_BxLxD: Float[Array, 'B L D'],
  bias_HxTxL: Float[Array, 'H T L'],
  mask: Bool[Array, 'M 1 t L'],
) -> Float[Array, 'B T D']:
  """sum_l w_l v_l of every head, w = softmax(q k^T + bias) where unmasked.

  Blocks are read from and written to the arrays as the projections leave them:
  no array is brought into another order. A gradient would be slow.

  Args:
    query_BxTxD: the heads' queries side by side, D = heads * head width.
    key_BxLxD: keys.
    value_BxLxD: values.
    bias_HxTxL: float32, added to the scores of every row.
    mask: True where a query may look; of each row, or of all.

  Returns:
    The heads' mixtures side by side, in the dtype of the values.
  """
  (B, T, D), (H, _, L) = query_BxTxD.shape, bias_HxTxL.shape
  width = D // H
  mask_BxTxL = jnp.broadcast_to(mask, (B, 1, T, L))[:, 0]

  def block(index: Array, mixed_BxTxD: Array) -> Array:
    b, h = lax.div(index, H), lax.rem(index, H)

    def head(x: Array) -> Array:
      size = (1, x.shape[1], width)
      return lax.dynamic_slice(x, (b, 0, h * width), size)[0]

    mixed_TxK = _block(
      head(query_BxTxD),
      head(key_BxLxD).T,
      head(value_BxLxD).T,
      bias_HxTxL[h],
      mask_BxTxL[b],
    )
    return lax.dynamic_update_slice(
      mixed_BxTxD, mixed_TxK[None], (b, 0, h * width)
    )

  start = jnp.zeros((B, T, D), value_BxLxD.dtype)
  return lax.fori_loop(0, B * H, block, start)


def recomputed_mixture(
  query_BxTxD: Float[Array, 'B T D'],
  key_BxLxD: Float[Array, 'B L D'],
  value_BxLxD: Float[Array, 'B L D'],
  bias_HxTxL: Float[Array, 'H T L'],
  mask: Bool[Array, 'M 1 t L'],
  drop_BxHx1xL: Float[Array, 'B H 1 L'] | None = None,
) -> Float[Array, 'B T D']:
  """The same as `mixture`, with a gradient that is as fast.

  Args:
    query_BxTxD: as for `mixture`, as are the next four.
    key_BxLxD: keys.
    value_BxLxD: values.
    bias_HxTxL: added to the scores.
    mask: True where a query may look.
    drop_BxHx1xL: factors of the weights (dropout, one for all queries of a
      key), or None.

  Returns:
    The heads' mixtures side by side, in the dtype of the values.
  """
  (B, T, D), (H, _, L) = query_BxTxD.shape, bias_HxTxL.shape
  mask_BxTxL = jnp.broadcast_to(mask, (B, 1, T, L))[:, 0]

  def heads(x: Array, order: tuple[int, ...]) -> Array:
    return x.reshape(B, -1, H, D // H).transpose(order)

  query_HxBxTxK = heads(query_BxTxD, (2, 0, 1, 3))
  # Keys and values on their sides: their gradients come out of products with
  # the narrow matrix to the left, for XLA on a CPU twice as fast.
  key_HxBxKxL = heads(key_BxLxD, (2, 0, 3, 1))
  value_HxBxKxL = heads(value_BxLxD, (2, 0, 3, 1))
  if drop_BxHx1xL is not None:  # a key's factor is as well its value's
    value_HxBxKxL *= drop_BxHx1xL.swapaxes(0, 1).astype(value_HxBxKxL.dtype)

  # Rows inside heads: a head's bias gets its gradient from all rows at once.
  def head(inputs: tuple[Array, Array, Array, Array]) -> Array:
    query_BxTxK, key_BxKxL, value_BxKxL, bias_TxL = inputs

    @jax.checkpoint
    def row(inputs: tuple[Array, Array, Array, Array]) -> Array:
      query, key, value, mask = inputs
      return _block(query, key, value, bias_TxL, mask)

    return lax.map(row, (query_BxTxK, key_BxKxL, value_BxKxL, mask_BxTxL))

  mixed_HxBxTxK = lax.map(
    head, (query_HxBxTxK, key_HxBxKxL, value_HxBxKxL, bias_HxTxL)
  )
  return mixed_HxBxTxK.transpose(1, 2, 0, 3).reshape(B, T, D)


def _block(
  query_TxK: Array,
  key_KxL: Array,
  value_KxL: Array,
  bias_TxL: Array,
  mask_TxL: Array,
) -> Array:
  """The mixtures [T, K] of one row and head."""
  score = jnp.dot(query_TxK, key_KxL, preferred_element_type=jnp.float32)
  score = jnp.where(mask_TxL, score + bias_TxL, MASKED)
  peak = lax.stop_gradient(jnp.max(score, -1, keepdims=True))
  weight = jnp.exp(score - peak)
  mixed = jnp.dot(weight.astype(value_KxL.dtype), value_KxL.T)
  return (mixed / jnp.sum(weight, -1, keepdims=True)).astype(mixed.dtype)
