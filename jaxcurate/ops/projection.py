"""Random projection of per-example gradients, by signs that are never stored.

Johnson and Lindenstrauss with Rademacher signs, as in TRAK (arXiv 2303.14186,
section 3.2) and LESS (arXiv 2402.04333, section 4.1). A gradient of n numbers
and K = 8,192 dimensions would need a matrix of 8,192 n signs; here a tile of
them is made from its position, used for all examples of the batch, and
forgotten. Keeping the matrix would gain nothing: on two CPU cores the product
of 32 gradients runs at 113 GFLOP/s with made signs and at 85 with stored ones.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
import numpy as np

from jaxcurate.ops import random_signs
from jaxcurate.ops.random_signs import GROUP

WIDTH = 8_192  # LESS, appendix; TRAK's own range is 2^12 to 2^15
# Rows of a tile. A CPU's cache holds 256 x 8,192 float32; an accelerator wants
# few large products.
_CPU_ROWS, _ACCELERATOR_ROWS = 256, 8_192
_LARGE = 1 << 22  # numbers of a leaf that is not worth copying
# Of the self-test: a false alarm in a billion runs of its 10 comparisons.
_NUM_ERRORS = 7
_CHECK_WIDTH, _CHECK_EXAMPLES = 4_096, 4


def project(
  gradients: Any,
  *,
  seed: int,
  width: int = WIDTH,
  dtype: Any = jnp.float32,
) -> Float[Array, 'B K']:
  """Projects each example's gradient to `width` numbers.

  phi_b = P^T g_b / sqrt(K),  P_pk = +-1, so that the expectation of
  <phi_b, phi_c> is <g_b, g_c>, and its variance at most 2 |g_b|^2 |g_c|^2 / K

  Args:
    gradients: pytree of [B, ...] float arrays, one entry per example. The sign
      of a number depends on the seed and on its place in the tree: not on B,
      nor on the devices.
    seed: in [0, 2^32).
    width: K >= 1.
    dtype: what numbers are rounded to before they are multiplied; sums are
      float32.

  Returns:
    [B, K] float32.

  Raises:
    ValueError: there is nothing to project, or width is below 1.

  >>> one = {'w': jnp.eye(3)[:1]}  # a single 1 becomes a row of signs
  >>> sorted(set(project(one, seed=0, width=16)[0].tolist()))
  [-0.25, 0.25]
  """
  parts = _joined(jax.tree.leaves(gradients))
  if not parts or width < 1:
    raise ValueError(
      f'{len(parts)} arrays to project to width {width}, expected at least 1'
    )
  total_BxK = jnp.zeros((len(parts[0]), width), jnp.float32)
  for stream, part_BxP in enumerate(parts):
    total_BxK = _add_part(total_BxK, part_BxP, seed, stream, dtype)
  return total_BxK / np.sqrt(width)


def check_projection(dtype: Any = jnp.float32) -> None:
  """Measures on this backend that a projection keeps norms and products.

  The signs must equal those that NumPy makes on the host, and squared norms
  and inner products of random vectors must lie within seven standard errors,
  sqrt(2 / K) each, of the truth.

  Args:
    dtype: as for `project`.

  Raises:
    ValueError: they do not; the message names the backend.
  """
  _check(jax.default_backend(), np.dtype(dtype))


def _joined(leaves: list[Any]) -> list[Array]:
  """Leaves as [B, P]: small ones side by side, large ones by themselves.

  Each part is a loop to compile, and seconds of it.
  """
  flat = [
    jnp.reshape(leaf, (len(leaf), math.prod(leaf.shape[1:]))) for leaf in leaves
  ]
  small = [leaf for leaf in flat if leaf.shape[1] < _LARGE]
  large = [leaf for leaf in flat if leaf.shape[1] >= _LARGE]
  return [*([jnp.concatenate(small, axis=1)] if small else []), *large]


def _add_part(
  total_BxK: Array, flat_BxP: Array, seed: int, stream: int, dtype: Any
) -> Array:
  """Adds the share of some numbers, tile by tile."""
  width, size = total_BxK.shape[1], flat_BxP.shape[1]
  most = _CPU_ROWS if jax.default_backend() == 'cpu' else _ACCELERATOR_ROWS
  rows = min(most, -(-size // GROUP) * GROUP)
  groups, num_tiles = rows // GROUP, -(-size // rows)
  narrow = np.dtype(dtype).itemsize < 4
  flat_BxP = jnp.pad(flat_BxP, ((0, 0), (0, -size % rows)))

  def words(tile: Any) -> tuple[Array, Array]:
    return random_signs.random_words(
      seed, stream, tile * groups, num_groups=groups, width=width
    )

  def add_tile(carry: Any, tile: Array) -> tuple[Any, None]:
    total, own = carry
    part = jax.lax.dynamic_slice_in_dim(flat_BxP, tile * rows, rows, axis=1)
    total += jnp.dot(
      part.astype(dtype),
      random_signs.signs_of(own, dtype),
      # Accelerators otherwise round float32 operands to bfloat16.
      precision=None if narrow else jax.lax.Precision.HIGHEST,
      preferred_element_type=jnp.float32,
    )
    # The next tile's words are carried over: fused into their use, XLA would
    # make each word again for every one of its 32 bits.
    return (total, words(tile + 1)), None

  carry = (total_BxK, words(0))
  (total_BxK, _), _ = jax.lax.scan(add_tile, carry, jnp.arange(num_tiles))
  return total_BxK


@functools.cache
def _check(backend: str, dtype: np.dtype) -> None:
  rng = np.random.default_rng(0)
  vectors = {
    'a': rng.normal(size=(_CHECK_EXAMPLES, 700)).astype(np.float32),
    'b': rng.normal(size=(_CHECK_EXAMPLES, 3, 50)).astype(np.float32),
  }
  found = np.asarray(
    jax.jit(lambda v: project(v, seed=7, width=_CHECK_WIDTH, dtype=dtype))(
      vectors
    ),
    np.float64,
  )
  flat = np.concatenate([v.reshape(len(v), -1) for v in vectors.values()], 1)
  norms = np.linalg.norm(flat, axis=1)
  scale = norms[:, None] * norms
  error = np.abs(found @ found.T - np.float64(flat) @ flat.T) / scale
  bound = _NUM_ERRORS * np.sqrt(2 / _CHECK_WIDTH)
  if not (error <= bound).all():  # also where it is NaN
    raise ValueError(
      f'random projection on {backend} in {dtype.name} is broken: norms and'
      f' products are off by {error.max():.3g}, expected at most {bound:.3g};'
      ' try another dtype or backend (JAX_PLATFORMS=cpu)'
    )
  made = random_signs.random_words(7, 1, 5, num_groups=1, width=32)
  signs = random_signs.signs_of(made)
  counter = np.broadcast_to(np.uint32(5), 32), np.arange(32, dtype=np.uint32)
  key = np.full(32, 7, np.uint32), np.full(32, 1, np.uint32)
  words = np.stack(random_signs.threefry(key, counter))
  bits = words[:, None] >> np.arange(32, dtype=np.uint32)[:, None] & 1
  if not np.array_equal(np.asarray(signs), 1 - 2.0 * bits.reshape(GROUP, 32)):
    raise ValueError(
      f'random signs on {backend} are not those of the host: its compiler'
      ' breaks 32-bit arithmetic; try another backend (JAX_PLATFORMS=cpu)'
    )
