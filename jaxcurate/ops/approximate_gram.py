"""Cheaper Gram matrices of linear layers, by name: never taken silently.

For G = sum_t x_t d_t^T of each example:

  rank one     <g_i, P g_j> with P = p_r p_c^T in place of a preconditioner
               that is none, such as Adam's: both factors are scaled, and no
               gradient need be held. P comes from the row and column means of
               v = P^-2, as Adafactor's does (arXiv 1804.04235, section 3):
               exact for its factored second moments.
  projection   A^T G B in place of G, with A and B of random signs, scaled so
               that inner products are right in expectation. The error falls
               with the root of each side of A^T G B, that is with the fourth
               root of its size; time and memory do not grow with the layer.

The two-sided form is that of GhostSuite, as is the ratio of the two sides.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class Approximation(NamedTuple):
  """How a Gram matrix may differ from the exact one.

  Attributes:
    projection: numbers that stand for an example's gradient of one matrix, or
      None for the gradient itself.
    rank_one: take an outer product for the preconditioner of a matrix.
  """

  projection: int | None = None
  rank_one: bool = False


EXACT = Approximation()


def rank_one(
  scale_IxO: Float[Array, 'I O'],
) -> tuple[Float[Array, ' I'], Float[Array, ' O']]:
  """(p_r, p_c): scale = p_r p_c^T where scale^-2 is an outer product.

  v = scale^-2,  p_r = (R / mean R)^-1/2,  p_c = C^-1/2, with R and C the means
  of v's rows and columns. Elements of scale 0 (no gradient was seen) are left
  out of the means.

  >>> row, column = rank_one(jnp.array([[2.0, 1.0], [1.0, 0.5]]))
  >>> jnp.outer(row, column).round(5).tolist()
  [[2.0, 1.0], [1.0, 0.5]]
  """
  seen = scale_IxO > 0
  v = jnp.where(seen, jnp.where(seen, scale_IxO, 1.0) ** -2, 0.0)

  def mean(values: Array, own: Array, axis: int | None) -> Array:
    return jnp.sum(values, axis) / jnp.maximum(jnp.sum(own, axis), 1)

  rows, columns = mean(v, seen, 1), mean(v, seen, 0)
  relative = rows / jnp.maximum(mean(rows, rows > 0, None), 1e-30)
  return _inverse_root(relative), _inverse_root(columns)


def _inverse_root(values: Array) -> Array:
  real = values > 0
  return jnp.where(real, jax.lax.rsqrt(jnp.where(real, values, 1.0)), 0.0)


def sizes(projection: int, rows: int, columns: int) -> tuple[int, int]:
  """(k_in, k_out) with a product of about `projection`, at most the matrix.

  k_in / k_out = sqrt(columns / rows), as far as both fit.

  >>> sizes(256, 64, 64), sizes(256, 256, 16), sizes(10**9, 8, 4)
  ((16, 16), (16, 16), (8, 4))
  """
  inner = round(math.sqrt(projection * math.sqrt(columns / rows)))
  inner = min(rows, max(1, inner))
  outer = min(columns, max(1, round(projection / inner)))
  return min(rows, max(inner, round(projection / outer))), outer


def project(
  x: Array, d: Array, projection: int, seed: Array
) -> tuple[Float[Array, '... P'], Float[Array, '... Q']]:
  """Both factors, their last axes multiplied with random signs.

  Args:
    x: [..., I].
    d: [..., O].
    projection: see `sizes`; an axis that is not shortened stays as it is.
    seed: [] int32, of this matrix.
  """
  keys = jax.random.split(jax.random.key(seed))
  sides = (x, d)
  lengths = sizes(projection, x.shape[-1], d.shape[-1])

  def shorter(side: Array, key: Array, size: int) -> Array:
    width = side.shape[-1]
    if size == width:
      return side
    signs = jax.random.rademacher(key, (width, size), side.dtype)
    short = jnp.matmul(side, signs, preferred_element_type=jnp.float32)
    return short / math.sqrt(size)

  near_x, near_d = (
    shorter(side, keys[i], lengths[i]) for i, side in enumerate(sides)
  )
  return near_x, near_d
