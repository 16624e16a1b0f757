"""0/1 weights for what exceeds a reference model's loss by most.

The kernel that RHO-loss (arXiv 2206.07137), over examples, and Rho-1 (arXiv
2404.07965), over tokens, share.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxcurate.ops.keep_top import keep_top, share_count


def keep_excess(
  loss: Float[Array, '*N'],
  reference_loss: Float[Array, '*N'],
  real: Bool[Array, '*N'],
  share: float,
) -> tuple[Float[Array, '*N'], dict[str, jax.Array]]:
  """w = n / k for the k = ceil(share * n) largest excess losses, else 0.

  The excess is loss - reference loss, n counts the real entries; their mean
  weight is 1. Entries whose reference loss is not finite rank last.

  Args:
    loss: any shape, natural log; finite where `real`.
    reference_loss: the same of the reference model.
    real: which entries take part; the others weigh 0 and may hold anything.
    share: in (0, 1].

  Returns:
    The weights, float32, and for the log: 'kept' (k), 'excess_loss' (mean over
    real entries of finite reference loss) and 'excess_loss_kept' (mean over the
    kept ones of them).

  >>> loss, reference = jnp.array([3.0, 5.0]), jnp.array([1.0, 4.5])
  >>> keep_excess(loss, reference, jnp.array([True, True]), 0.5)[0].tolist()
  [2.0, 0.0]
  """
  known = real & jnp.isfinite(reference_loss)
  excess = jnp.where(known, loss - reference_loss, -jnp.inf)
  count = jnp.sum(real)
  kept = share_count(share, count)
  keep = keep_top(excess, real, kept)
  weights = jnp.where(keep, count / jnp.maximum(kept, 1), 0.0)
  info = {
    'kept': kept,
    'excess_loss': _mean(excess, known),
    'excess_loss_kept': _mean(excess, known & keep),
  }
  return weights, info


def _mean(values: jax.Array, where: jax.Array) -> jax.Array:
  total = jnp.sum(jnp.where(where, values, 0.0))
  return total / jnp.maximum(jnp.sum(where), 1)
