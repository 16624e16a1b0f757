"""Means over the real examples of a batch, and rows of unit length."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

EPSILON = 1e-8  # under a norm: ADAPT (arXiv 2605.05227), section 5


def unit_rows(
  pooled_ExD: Float[Array, 'E D'], mask_E: Bool[Array, ' E']
) -> Float[Array, 'E D']:
  """Rows divided by their L2 norm; masked rows and zero rows give 0.

  >>> unit_rows(jnp.array([[3., 4.]]), jnp.array([True])).tolist()
  [[0.6000000238418579, 0.800000011920929]]
  """
  safe_ExD = jnp.where(mask_E[:, None], pooled_ExD, 0.0)
  square_E = jnp.sum(safe_ExD**2, axis=1, keepdims=True)
  return safe_ExD / jnp.maximum(jnp.sqrt(square_E), EPSILON)


def masked_mean(
  values_E: Float[Array, 'E *D'], mask_E: Bool[Array, ' E']
) -> Float[Array, '*D']:
  """Mean over the examples whose mask is True; 0 without any.

  >>> float(masked_mean(jnp.array([1., 5.]), jnp.array([True, False])))
  1.0
  """
  mask = mask_E.reshape(-1, *(1,) * (values_E.ndim - 1))
  total = jnp.sum(jnp.where(mask, values_E, 0.0), axis=0)
  return total / jnp.maximum(jnp.sum(mask_E), 1)


def mean_of_means(
  values_ExD: Float[Array, 'E D'],
  mask_E: Bool[Array, ' E'],
  group_E: Int[Array, ' E'],
) -> Float[Array, ' D']:
  """Mean over groups of each group's mean; 0 without any example.

  >>> values = jnp.array([[1.], [3.], [8.]])
  >>> mask, group = jnp.ones(3, bool), jnp.array([0, 0, 1])
  >>> mean_of_means(values, mask, group).tolist()  # of 2 and 8
  [5.0]
  """
  same_ExE = (group_E[:, None] == group_E) & mask_E
  size_E = jnp.maximum(jnp.sum(same_ExE, axis=1), 1)
  share_E = jnp.where(mask_E, 1 / size_E, 0.0)  # adds up to 1 in each group
  total_D = jnp.sum(
    jnp.where(mask_E[:, None], share_E[:, None] * values_ExD, 0.0), axis=0
  )
  return total_D / jnp.maximum(jnp.sum(share_E), 1.0)
