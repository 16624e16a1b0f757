"""What a small step on one domain's data gains elsewhere, to first order.

The gain is the inner product of the domain's gradient with the summed
gradients of all domains, or with that of trusted anchors. DoGE: Domain
Reweighting with Generalization Estimation (arXiv 2310.15393).

The authors' trainer does more than that formula ('paper'). With 'code', as
there: gradients of norm above 1 are scaled to 1, a domain's product with itself
is left out, gains are divided by the mean norm of the domains' gradients and
clipped to [0, 5].

Ours: a batch need not hold all domains. The sum runs over those it holds and
is scaled up to all.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

Formula = Literal['code', 'paper']
# max_grad_norm, dw_max (dw_min is 0) and the floor of the mean norm in the
# authors' trainer and configurations.
MAX_NORM, MAX_GAIN, EPSILON = 1.0, 5.0, 1e-6


def to_domains(
  gram_MxM: Float[Array, 'M M'], present_M: Bool[Array, ' M'], formula: Formula
) -> tuple[Float[Array, ' M'], Bool[Array, ' M']]:
  """(gain of each domain for all domains, where it is known).

  Args:
    gram_MxM: [M, M] products of the domains' mean gradients.
    present_M: [M] domains with examples in the batch; others are not read.
    formula: 'code' or 'paper'.

  >>> gram = jnp.array([[4.0, 1.0], [1.0, 9.0]])
  >>> to_domains(gram, jnp.array([True, True]), 'paper')[0].tolist()
  [5.0, 10.0]
  """
  num_domains = len(present_M)
  pairs_MxM, targets = present_M[:, None] & present_M, num_domains
  if formula == 'code':
    pairs_MxM = pairs_MxM & ~jnp.eye(num_domains, dtype=bool)
    targets = num_domains - 1
    shrink_M = _shrink(_norms(gram_MxM))
    gram_MxM = gram_MxM * shrink_M[:, None] * shrink_M
  total_M = jnp.sum(jnp.where(pairs_MxM, gram_MxM, 0.0), axis=1)
  count_M = jnp.sum(pairs_MxM, axis=1)
  gain_M = total_M * targets / jnp.maximum(count_M, 1)
  if formula == 'code':
    gain_M = _scaled(gain_M, gram_MxM, present_M)
  return gain_M, count_M > 0


def to_anchors(
  product_M: Float[Array, ' M'],
  anchor_norm: Float[Array, ''],
  gram_MxM: Float[Array, 'M M'],
  present_M: Bool[Array, ' M'],
  formula: Formula,
) -> Float[Array, ' M']:
  """Gain of each domain for the anchors.

  Args:
    product_M: [M] products of the domains' mean gradients with the anchors'.
    anchor_norm: [] norm of the anchors' gradient.
    gram_MxM: [M, M] products of the domains' mean gradients.
    present_M: [M] domains with examples in the batch.
    formula: 'code' or 'paper'.
  """
  if formula == 'paper':
    return product_M
  shrink_M = _shrink(_norms(gram_MxM))
  gram_MxM = gram_MxM * shrink_M[:, None] * shrink_M
  return _scaled(
    product_M * shrink_M * _shrink(anchor_norm), gram_MxM, present_M
  )


def _scaled(
  gain_M: jax.Array, gram_MxM: jax.Array, present_M: jax.Array
) -> jax.Array:
  """Gains in units of the mean norm of the domains' gradients, clipped."""
  total = jnp.sum(jnp.where(present_M, _norms(gram_MxM), 0.0))
  mean_norm = total / jnp.maximum(jnp.sum(present_M), 1)
  return jnp.clip(gain_M / (mean_norm + EPSILON), 0.0, MAX_GAIN)


def _norms(gram_MxM: jax.Array) -> jax.Array:
  return jnp.sqrt(jnp.maximum(jnp.diagonal(gram_MxM), 0.0))


def _shrink(norm: jax.Array) -> jax.Array:
  """Factor that brings a gradient of this norm down to MAX_NORM."""
  return jnp.minimum(1.0, MAX_NORM / jnp.maximum(norm, EPSILON))
