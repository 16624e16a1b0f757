"""Sums of Gaussian kernels over reference points, as tiled matrix products.

Memory is one tile, whatever the number of points: squared distances come from
one matrix product per tile, and only the exponential and the sum touch the
tile again.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

# Rows of a tile: [4096, 2048] float32 is 32 MiB, and large enough that every
# backend's matrix product is at its best.
_QUERY_TILE = 4096
_REFERENCE_TILE = 2048


def gaussian_kernel(
  distance: Float[Array, '*S'], bandwidth: float | Float[Array, '']
) -> Float[Array, '*S']:
  """exp(-distance**2 / (2 h**2)).

  Args:
    distance: float32 >= 0, any shape.
    bandwidth: h > 0, the standard deviation.

  >>> kernel = gaussian_kernel(jnp.array([0.0, 1.0]), bandwidth=1.0)
  >>> [round(value, 4) for value in kernel.tolist()]
  [1.0, 0.6065]
  """
  return jnp.exp(-((distance / bandwidth) ** 2) / 2)


def gaussian_sums(
  query_BxD: Float[Array, 'B D'],
  reference_MxD: Float[Array, 'M D'],
  mask_M: Bool[Array, ' M'],
  bandwidth: float | Float[Array, ''],
  *,
  own_B: Int[Array, ' B'] | None = None,
) -> Float[Array, ' B']:
  """sum_j exp(-||q_b - x_j||**2 / (2 h**2)) over the references.

  Points are centred on the references' mean first: distances do not change,
  and float32 keeps its digits where all points lie far from the origin.

  Args:
    query_BxD: [B, D] float32, finite.
    reference_MxD: [M, D] float32, finite.
    mask_M: [M] bool, references that count.
    bandwidth: h > 0.
    own_B: [B] int32, the reference that is the query itself and is left out,
      -1 for none.

  Returns:
    [B] float32 in [0, M].
  """
  mean_D = jnp.sum(jnp.where(mask_M[:, None], reference_MxD, 0.0), axis=0)
  mean_D = mean_D / jnp.maximum(jnp.sum(mask_M), 1)
  scale = 1 / (math.sqrt(2) * bandwidth)
  query_BxD = (query_BxD - mean_D) * scale
  reference_MxD = jnp.where(
    mask_M[:, None], (reference_MxD - mean_D) * scale, 0.0
  )
  # A norm of infinity makes the kernel exactly 0.
  norm_M = jnp.sum(reference_MxD**2, axis=1)
  norm_M = jnp.where(mask_M, norm_M, jnp.inf)
  exclude = own_B is not None
  own_B = jnp.full(len(query_BxD), -1) if own_B is None else own_B

  references = _tiles(reference_MxD, _REFERENCE_TILE)
  norms = _tiles(norm_M, _REFERENCE_TILE, fill=jnp.inf)
  starts = jnp.arange(len(references)) * references.shape[1]

  def query_tile(args):
    query, own = args
    query_norm = jnp.sum(query**2, axis=1)

    def reference_tile(total, args):
      reference, norm, start = args
      product = jnp.dot(query, reference.T, precision=jax.lax.Precision.HIGHEST)
      exponent = 2 * product - query_norm[:, None] - norm
      kernel = jnp.exp(jnp.minimum(exponent, 0.0))
      if exclude:
        is_own = start + jnp.arange(len(norm)) == own[:, None]
        kernel = jnp.where(is_own, 0.0, kernel)
      return total + jnp.sum(kernel, axis=1), None

    total = jnp.zeros(len(query), jnp.float32)
    return jax.lax.scan(reference_tile, total, (references, norms, starts))[0]

  queries = (_tiles(query_BxD, _QUERY_TILE), _tiles(own_B, _QUERY_TILE))
  return jax.lax.map(query_tile, queries).ravel()[: len(query_BxD)]


def _tiles(rows: Array, limit: int, fill: float = 0.0) -> Array:
  """Splits the first axis into equal tiles of at most `limit`, padded."""
  num_tiles = max(1, -(-len(rows) // limit))
  size = -(-len(rows) // num_tiles)
  missing = num_tiles * size - len(rows)
  padding = [(0, missing)] + [(0, 0)] * (rows.ndim - 1)
  padded = jnp.pad(rows, padding, constant_values=fill)
  return padded.reshape(num_tiles, size, *rows.shape[1:])
