"""What a judge's ratings are trained to match: three losses, all convex.

'binary'         probabilities or labels t in [0, 1] of log-odds z:
                 log(1 + e^z) - t z
'squared'        numbers t: (z - t)^2 / 2
'bradley_terry'  probability t that text a is better than text b, with
                 z = z_a - z_b: the binary loss (QuRating, arXiv 2402.09739,
                 section 3)

Soft labels are those of knowledge distillation (arXiv 1503.02531). A target of
NaN is a judgement that was not made: it adds nothing.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

LOSSES = ('binary', 'squared', 'bradley_terry')


def check(name: str) -> None:
  """Raises ValueError for the name of no loss."""
  if name not in LOSSES:
    raise ValueError(f'loss is {name!r}, expected one of {LOSSES}')


def losses(
  name: str, rating_NxC: Float[Array, 'N C'], target_NxC: Float[Array, 'N C']
) -> Float[Array, 'N C']:
  """Loss of every judgement.

  Args:
    name: of `LOSSES`.
    rating_NxC: [N, C] float, of texts, or differences of two texts' ratings
      for 'bradley_terry'.
    target_NxC: [N, C] float, NaN where there is none.

  Returns:
    [N, C] float32, in nats but for 'squared'; 0 where there is no target.

  >>> found = losses('binary', jnp.zeros((1, 2)), jnp.array([[0.3, jnp.nan]]))
  >>> jax.device_get(found).round(4)
  array([[0.6931, 0.    ]], dtype=float32)
  """
  check(name)
  rating = rating_NxC.astype(jnp.float32)
  known = ~jnp.isnan(target_NxC)
  target = jnp.where(known, target_NxC, 0.0).astype(jnp.float32)
  if name == 'squared':
    found = 0.5 * (rating - target) ** 2
  else:
    found = jax.nn.softplus(rating) - target * rating
  return jnp.where(known, found, 0.0)


def mean(
  name: str, rating_NxC: Float[Array, 'N C'], target_NxC: Float[Array, 'N C']
) -> Float[Array, '']:
  """Mean of `losses` over the judgements that were made; 0 of none."""
  count = jnp.sum(~jnp.isnan(target_NxC), dtype=jnp.float32)
  return jnp.sum(losses(name, rating_NxC, target_NxC)) / jnp.maximum(count, 1.0)
