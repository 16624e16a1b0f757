"""Log-probabilities of target tokens without holding all the logits.

The logits of a batch are its largest array by far ([B, T, V] float32). Cutting
the tokens into chunks and recomputing each chunk's logits on the way back keeps
one chunk of them at a time, for one more product with the output matrix.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np


def token_log_prob(
  states_BxTxD: Float[Array, 'B T D'],
  head_DxV: Float[Array, 'D V'],
  targets_BxT: Int[Array | np.ndarray, 'B T'],
  *,
  chunk_tokens: int | None = None,
) -> tuple[Float[Array, 'B T'], Float[Array, 'B T']]:
  """Natural-log probability of each target, and the log normaliser.

  log_prob = z_target - log_normaliser,  log_normaliser = log sum_v exp(z_v),
  z = states @ head

  Args:
    states_BxTxD: [B, T, D] float; the products are taken in this dtype and
      accumulated in float32.
    head_DxV: [D, V] float output matrix.
    targets_BxT: [B, T] int, 0 <= target < V.
    chunk_tokens: about how many tokens have logits at a time, in the forward
      and in the backward pass; None = all at once. Chunks are cut along T
      and keep all B rows, so that a batch sharded over rows stays sharded.

  Returns:
    Per token, log P(target) and the log normaliser, [B, T] float32 each.

  >>> states, head = jnp.array([[[1.0]]]), jnp.array([[0.0, 0.0]])
  >>> log_prob, _ = token_log_prob(states, head, jnp.array([[1]]))
  >>> round(float(log_prob[0, 0]), 6)
  -0.693147
  """
  num_rows, length, _ = states_BxTxD.shape
  if chunk_tokens is not None and chunk_tokens < 1:
    raise ValueError(f'chunk_tokens is {chunk_tokens}, expected at least 1')
  if chunk_tokens is None or num_rows * length <= chunk_tokens:
    return _log_prob(head_DxV, (states_BxTxD, targets_BxT))
  num_chunks = -(-length // max(1, chunk_tokens // num_rows))
  chunk = -(-length // num_chunks)  # as equal as they can be: least padding
  num_chunks = -(-length // chunk)
  padding = num_chunks * chunk - length

  def split(values: Array | np.ndarray) -> Array:
    padded = jnp.pad(
      values, ((0, 0), (0, padding)) + ((0, 0),) * (values.ndim - 2)
    )
    parts = padded.reshape(num_rows, num_chunks, chunk, *values.shape[2:])
    return jnp.moveaxis(parts, 1, 0)

  def join(parts: Array) -> Array:
    whole = jnp.moveaxis(parts, 0, 1).reshape(num_rows, num_chunks * chunk)
    return whole[:, :length]

  log_prob, log_normaliser = jax.lax.map(
    jax.checkpoint(functools.partial(_log_prob, head_DxV)),
    (split(states_BxTxD), split(targets_BxT)),
  )
  return join(log_prob), join(log_normaliser)


def _log_prob(
  head_DxV: Array, chunk: tuple[Array, Array | np.ndarray]
) -> tuple[Array, Array]:
  states_BxTxD, targets_BxT = chunk
  B, T, D = states_BxTxD.shape
  # Two matrices, for the sake of the head's gradient (see `layers.Dense`).
  logits_BxTxV = jnp.dot(
    states_BxTxD.reshape(-1, D),
    head_DxV.astype(states_BxTxD.dtype),
    preferred_element_type=jnp.float32,
  ).reshape(B, T, -1)
  log_normaliser_BxT = jax.nn.logsumexp(logits_BxTxV, axis=-1)
  # A compare and a sum, not a gather: with V sharded, a gather would first
  # collect the logits from all devices.
  is_target_BxTxV = jnp.arange(head_DxV.shape[1]) == targets_BxT[:, :, None]
  target_BxT = jnp.sum(jnp.where(is_target_BxTxV, logits_BxTxV, 0.0), axis=-1)
  return target_BxT - log_normaliser_BxT, log_normaliser_BxT
