"""RACE: the density of a corpus in a table of hash counts.

R rows of p-stable locality-sensitive hashes (Datar et al., SoCG 2004) each
send a point to one of K buckets; near points share buckets. The table of
counts is a plain sum, so shards merge by addition, and the mean count at a
query estimates the sum of a kernel over the corpus. Source: How to Train
Data-Efficient LLMs (arXiv 2402.09668, Algorithm 2, appendix A).

Ours: several concatenated hashes per row (a narrower kernel, nearer to the
Gaussian), a mixing hash into the buckets instead of a remainder (cells are
negative half of the time), and the bias of sharing buckets by accident
removed. The estimate is limited by its variance over rows: see
`scorers.density`. Float rounding moves about one code in a million to the
next cell, which changes one row in R of that document's count.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32, Int, UInt32
import numpy as np

_ROW_BLOCK = 128  # rows hashed at a time: codes of 4,096 points stay small
_MAX_CELL = 2.0**30  # cells beyond this share a bucket instead of overflowing

Sketch = UInt32[Array, 'R K'] | Float32[Array, 'R K']


class Hashes(NamedTuple):
  """R rows of P concatenated hashes, a pytree.

  Attributes:
    direction_DxRP: [D, R * P] float32 standard normal.
    offset_RP: [R * P] float32 uniform in [0, 1), in cells.
    salt_R: [R] uint32, makes the bucket hash of each row its own.
    bandwidth: [] float32 > 0, width of a cell.
  """

  direction_DxRP: Float[Array, 'D RP']
  offset_RP: Float[Array, ' RP']
  salt_R: UInt32[Array, ' R']
  bandwidth: Float[Array, '']


def make_hashes(
  key: Array,
  *,
  width: int,
  num_rows: int,
  hashes_per_row: int,
  bandwidth: float | Float[Array, ''],
) -> Hashes:
  """Draws the hash functions.

  Args:
    key: of `jax.random`.
    width: D of the points.
    num_rows: R >= 1.
    hashes_per_row: P >= 1 concatenated hashes per row.
    bandwidth: > 0, width of a cell in the unit of the points.

  Returns:
    The hashes.
  """
  key_direction, key_offset, key_salt = jax.random.split(key, 3)
  num_hashes = num_rows * hashes_per_row
  return Hashes(
    direction_DxRP=jax.random.normal(key_direction, (width, num_hashes)),
    offset_RP=jax.random.uniform(key_offset, (num_hashes,)),
    salt_R=jax.random.bits(key_salt, (num_rows,), jnp.uint32),
    bandwidth=jnp.asarray(bandwidth, jnp.float32),
  )


def empty_sketch(num_rows: int, num_buckets: int) -> UInt32[Array, 'R K']:
  """A table of zeros.

  Raises:
    ValueError: the table cannot be indexed with 32 bits.
  """
  if num_rows * num_buckets >= 2**31:
    raise ValueError(
      f'a sketch of {num_rows:,} rows and {num_buckets:,} buckets has '
      f'{num_rows * num_buckets:,} counts, expected fewer than 2**31'
    )
  return jnp.zeros((num_rows, num_buckets), jnp.uint32)


def add(
  sketch_RxK: Sketch,
  hashes: Hashes,
  points_BxD: Float[Array, 'B D'],
  mask_B: Bool[Array, ' B'],
) -> Sketch:
  """Counts points: sketch[r, h_r(x_b)] += 1 for every row r.

  Args:
    sketch_RxK: [R, K] counts: uint32, a bucket holds up to 2**32 - 1, or
      float32, where counts fade.
    hashes: R rows.
    points_BxD: [B, D] float32, finite.
    mask_B: [B] bool, False leaves a point out.

  Returns:
    [R, K] of the same type.
  """
  count_Bx1 = mask_B.astype(sketch_RxK.dtype)[:, None]

  def add_block(flat, block):
    index_Bxr = _flat_indices(block, hashes.bandwidth, points_BxD, num_buckets)
    # Padding rows point beyond the end.
    return flat.at[index_Bxr].add(count_Bx1, mode='drop'), None

  num_buckets = sketch_RxK.shape[1]
  flat, _ = jax.lax.scan(add_block, sketch_RxK.ravel(), _blocks(hashes))
  return flat.reshape(sketch_RxK.shape)


def mean_counts(
  sketch_RxK: Sketch,
  hashes: Hashes,
  points_BxD: Float[Array, 'B D'],
) -> tuple[Float[Array, ' B'], Float[Array, ' B']]:
  """Mean over rows of sketch[r, h_r(y_b)], and its standard error.

  Args:
    sketch_RxK: [R, K] counts.
    hashes: R rows.
    points_BxD: [B, D] float32 queries, finite.

  Returns:
    [B] float32 mean, and [B] float32 standard error of that mean over the
    draw of the rows.
  """
  num_rows, num_buckets = sketch_RxK.shape
  flat = sketch_RxK.ravel()

  def read_block(_, block):
    index_Bxr = _flat_indices(block, hashes.bandwidth, points_BxD, num_buckets)
    # Padding rows point beyond the end and are cut below.
    return None, flat.at[index_Bxr].get(mode='fill', fill_value=0)

  _, count_NxBxr = jax.lax.scan(read_block, None, _blocks(hashes))
  count_BxNxr = jnp.swapaxes(count_NxBxr, 0, 1).astype(jnp.float32)
  count_BxR = count_BxNxr.reshape(len(points_BxD), -1)[:, :num_rows]
  error_B = jnp.std(count_BxR, axis=1) / math.sqrt(num_rows)
  return jnp.mean(count_BxR, axis=1), error_B


def signatures(
  hashes: Hashes, points_BxD: Float[Array, 'B D'], num_rows: int
) -> UInt32[Array, ' B']:
  """A number for each point that depends on where it lies, not on its place.

  Points that share the cells of all of the first rows have one signature; two
  others share one by accident once in 4e9 pairs.

  Args:
    hashes: at least one row.
    points_BxD: [B, D] float32, finite.
    num_rows: how many rows say where a point lies; each adds a millionth to the
      share of points whose signature rounding changes.

  Returns:
    [B] uint32.
  """
  num_rows = min(num_rows, len(hashes.salt_R))
  per_row = len(hashes.offset_RP) // len(hashes.salt_R)
  cell_BxRP = _cells(
    points_BxD,
    hashes.direction_DxRP[:, : num_rows * per_row],
    hashes.offset_RP[: num_rows * per_row],
    hashes.bandwidth,
  )
  return _mixed(cell_BxRP[:, None, :], hashes.salt_R[:1])[:, 0]


def unbias(share_B: Float[Array, ' B'], num_buckets: int) -> Float[Array, ' B']:
  """Removes accidental sharing of buckets from a mean share of the points.

  Two points share a bucket with probability k + (1 - k) / K, k their kernel,
  so k = (share - 1 / K) / (1 - 1 / K) on average; it can be negative.

  >>> unbias(jnp.array([0.25, 1.0]), num_buckets=4).tolist()
  [0.0, 1.0]
  """
  return (share_B - 1 / num_buckets) / (1 - 1 / num_buckets)


def collision_kernel(
  distance: Float[Array, '*S'],
  bandwidth: float | Float[Array, ''],
  hashes_per_row: int,
) -> Float[Array, '*S']:
  """Probability that points at a distance c share a cell of width r, P times.

  k(c) = 1 - 2 Phi(-t) - sqrt(2 / pi) / t (1 - exp(-t**2 / 2)), t = r / c,
  to the power P; k(0) = 1.    [Datar et al. 2004, section 3.2]

  Args:
    distance: float32 >= 0, any shape.
    bandwidth: r > 0.
    hashes_per_row: P >= 1.

  Returns:
    Values in [0, 1], falling with the distance.

  >>> kernel = collision_kernel(jnp.array([0.0, 1.0]), 1.0, hashes_per_row=1)
  >>> [round(value, 4) for value in kernel.tolist()]
  [1.0, 0.3687]
  """
  apart = distance > 0
  t = bandwidth / jnp.where(apart, distance, 1.0)
  inside = jax.lax.erf(t / math.sqrt(2))
  border = math.sqrt(2 / math.pi) / t * -jnp.expm1(-(t**2) / 2)
  kernel = jnp.where(apart, inside - border, 1.0)
  return jnp.clip(kernel, 0.0, 1.0) ** hashes_per_row


def _blocks(hashes: Hashes) -> tuple[Array, Array, Array, Array]:
  """Directions, offsets, salts and row numbers, in equal blocks of rows."""
  num_rows = len(hashes.salt_R)
  per_row = len(hashes.offset_RP) // num_rows
  num_blocks = -(-num_rows // _ROW_BLOCK)
  size = -(-num_rows // num_blocks)
  missing = num_blocks * size - num_rows
  direction = jnp.pad(hashes.direction_DxRP, [(0, 0), (0, missing * per_row)])
  return (
    direction.reshape(len(direction), num_blocks, -1).swapaxes(0, 1),
    jnp.pad(hashes.offset_RP, (0, missing * per_row)).reshape(num_blocks, -1),
    jnp.pad(hashes.salt_R, (0, missing)).reshape(num_blocks, -1),
    jnp.arange(num_blocks * size, dtype=jnp.int32).reshape(num_blocks, -1),
  )


def _flat_indices(
  block: tuple[Array, Array, Array, Array],
  bandwidth: Float[Array, ''],
  points_BxD: Float[Array, 'B D'],
  num_buckets: int,
) -> Int[Array, 'B r']:
  """Positions of the points in the flattened sketch, for one block of rows."""
  direction, offset, salt_r, row_r = block
  cell = _cells(points_BxD, direction, offset, bandwidth)
  cell_BxrxP = cell.reshape(len(points_BxD), len(row_r), -1)
  return hash_cells(cell_BxrxP, salt_r, num_buckets) + num_buckets * row_r


def _cells(
  points_BxD: Array, direction: Array, offset: Array, bandwidth: Array
) -> Int[Array, 'B rP']:
  """The cell of each point under each hash."""
  projected = jnp.dot(
    points_BxD, direction, precision=jax.lax.Precision.HIGHEST
  )
  cell = jnp.floor(projected / bandwidth + offset)
  return jnp.clip(cell, -_MAX_CELL, _MAX_CELL).astype(jnp.int32)


def hash_cells(
  cell_BxrxP: Int[Array, 'B r P'],
  salt_r: UInt32[Array, ' r'],
  num_buckets: int,
) -> Int[Array, 'B r']:
  """Mixes P signed cells into one of K buckets (MurmurHash3's finaliser)."""
  mixed = _mixed(cell_BxrxP, salt_r)
  return (mixed % np.uint32(num_buckets)).astype(jnp.int32)


def _mixed(
  cell_BxrxP: Int[Array, 'B r P'], salt_r: UInt32[Array, ' r']
) -> UInt32[Array, 'B r']:
  mixed = jnp.broadcast_to(salt_r, cell_BxrxP.shape[:2])
  for p in range(cell_BxrxP.shape[2]):
    mixed ^= jax.lax.bitcast_convert_type(cell_BxrxP[..., p], jnp.uint32)
    mixed = (mixed ^ (mixed >> 16)) * np.uint32(0x85EBCA6B)
    mixed = (mixed ^ (mixed >> 13)) * np.uint32(0xC2B2AE35)
    mixed ^= mixed >> 16
  return mixed
