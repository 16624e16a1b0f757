"""How likely given tokens are, and whether greedy decoding would pick them."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
import numpy as np


def token_log_prob_and_greedy(
  states_BxTxD: Float[Array, 'B T D'],
  head_DxV: Float[Array, 'D V'],
  targets_BxT: Int[Array | np.ndarray, 'B T'],
  *,
  chunk_tokens: int | None = None,
) -> tuple[Float[Array, 'B T'], Bool[Array, 'B T']]:
  """Natural-log probability of each target, and whether it is the likeliest.

  log_prob = z_target - log sum_v exp(z_v),  greedy = (argmax_v z_v = target),
  z = states @ head; of equal logits the first is the likeliest.

  Args:
    states_BxTxD: [B, T, D] float; the products are taken in this dtype and
      accumulated in float32.
    head_DxV: [D, V] float output matrix.
    targets_BxT: [B, T] int, 0 <= target < V.
    chunk_tokens: about how many tokens have logits at a time; None = all at
      once. Chunks are cut along T and keep all B rows, so that a batch sharded
      over rows stays sharded.

  Returns:
    [B, T] float32 and [B, T] bool.

  >>> states, head = jnp.array([[[1.0]]]), jnp.array([[0.0, 1.0]])
  >>> log_prob, greedy = token_log_prob_and_greedy(
  ...     states, head, jnp.array([[1]]))
  >>> round(float(log_prob[0, 0]), 4), bool(greedy[0, 0])
  (-0.3133, True)
  """
  num_rows, length, _ = states_BxTxD.shape
  if chunk_tokens is not None and chunk_tokens < 1:
    raise ValueError(f'chunk_tokens is {chunk_tokens}, expected at least 1')
  head = head_DxV.astype(states_BxTxD.dtype)

  def at_one_place(place: tuple[Array, Array]) -> tuple[Array, Array]:
    states_BxD, targets_B = place
    logits_BxV = jnp.einsum(
      'bd,dv->bv', states_BxD, head, preferred_element_type=jnp.float32
    )
    # A compare and a sum, not a gather: V may be sharded (see `ops.xent`).
    is_target_BxV = jnp.arange(head.shape[1]) == targets_B[:, None]
    target_B = jnp.sum(jnp.where(is_target_BxV, logits_BxV, 0.0), axis=-1)
    greedy_B = jnp.argmax(logits_BxV, axis=-1) == targets_B
    return target_B - jax.nn.logsumexp(logits_BxV, axis=-1), greedy_B

  places = length
  if chunk_tokens is not None:
    places = max(1, min(length, chunk_tokens // num_rows))
  log_prob_TxB, greedy_TxB = jax.lax.map(
    at_one_place,
    (jnp.swapaxes(states_BxTxD, 0, 1), jnp.asarray(targets_BxT).T),
    batch_size=places,
  )
  return log_prob_TxB.T, greedy_TxB.T
