"""Inner products of examples' gradients, a slice of a parameter at a time."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

# Floats of examples' gradients of one parameter that are held at a time: where
# factors are kept, and (slower by a tenth on a CPU) where memory is scarce.
SLICE = 1 << 25
SMALL_SLICE = 1 << 22
# Columns of flat gradients at a time on a CPU: in its cache, 2.7 times as fast.
_CACHED = 1 << 13
# Accelerators otherwise round float32 operands to bfloat16.
EXACT = jax.lax.Precision.HIGHEST


class Products(NamedTuple):
  """Inner products of E examples' gradients, summed over parameters.

  Attributes:
    gram: [E, E] float32, <g_i, scale * g_j>.
    dots: [K, E] float32, with K directions.
  """

  gram: jax.Array
  dots: jax.Array


def over_slices(
  piece: Callable[[Array], tuple[Array, Callable[[Array], Array]]],
  width: int,
  total: int,
  scale: Array | None,
  directions: Sequence[Array],
) -> Products:
  """Adds up the products of slices of a parameter.

  Args:
    piece: start -> (gradients [E, F] of that slice, a function that cuts the
      same slice out of the parameter and flattens it to [F]).
    width: of a slice; divides `total`.
    total: length of the axis that is cut.
    scale: shaped like the parameter, or None for ones.
    directions: shaped like the parameter.
  """

  def of(start: Array) -> Products:
    gradients, cut = piece(start)
    return flat_products(
      gradients,
      None if scale is None else cut(scale),
      [cut(q) for q in directions],
    )

  if width == total:
    return of(jnp.int32(0))
  starts = jnp.arange(0, total, width, dtype=jnp.int32)
  first = of(starts[0])
  return jax.lax.scan(lambda t, s: (add(t, of(s)), None), first, starts[1:])[0]


def flat_products(
  gradients_ExF: Array, scale_F: Array | None, directions: Sequence[Array]
) -> Products:
  """`Products` of gradients that are there."""
  num_examples, size = gradients_ExF.shape
  ways_KxF = jnp.stack(directions) if directions else jnp.zeros((0, size))

  def of(gradients: Array, scale: Array | None, ways: Array) -> Products:
    scaled = gradients if scale is None else gradients * scale
    return Products(matmul(scaled, gradients.T), matmul(ways, gradients.T))

  width = _divisor(size, _CACHED) if jax.default_backend() == 'cpu' else size
  if width == size:
    return of(gradients_ExF, scale_F, ways_KxF)

  def body(total: Products, index: Array) -> tuple[Products, None]:
    def cut(values: Array) -> Array:
      parts = values.reshape(*values.shape[:-1], size // width, width)
      return jax.lax.dynamic_index_in_dim(parts, index, -2, keepdims=False)

    scale = None if scale_F is None else cut(scale_F)
    return add(total, of(cut(gradients_ExF), scale, cut(ways_KxF))), None

  zero = Products(
    jnp.zeros((num_examples, num_examples)),
    jnp.zeros((len(directions), num_examples)),
  )
  return jax.lax.scan(body, zero, jnp.arange(size // width))[0]


def add(one: Products, other: Products) -> Products:
  """Their sum."""
  return Products(one.gram + other.gram, one.dots + other.dots)


def nothing(members: Array, num_directions: int) -> Products:
  """The products of no parameter.

  Args:
    members: [B, T, S].
    num_directions: K.
  """
  num_examples = members.shape[0] * members.shape[2]
  return Products(
    jnp.zeros((num_examples, num_examples)),
    jnp.zeros((num_directions, num_examples)),
  )


def slice_width(per_column: int, columns: int, most: int = SLICE) -> int:
  """The largest divisor of `columns` whose slice has at most `most` floats.

  >>> slice_width(1 << 20, 512), slice_width(10, 512)
  (32, 512)
  """
  return _divisor(columns, max(1, most // per_column))


def _divisor(size: int, most: int) -> int:
  """The largest divisor of `size` that is at most `most`."""
  return next(w for w in range(min(most, size), 0, -1) if size % w == 0)


def matmul(a: Array, b: Array) -> Array:
  """The product in float32."""
  return jnp.matmul(a, b, precision=EXACT, preferred_element_type=jnp.float32)
