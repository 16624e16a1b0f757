"""Bandwidths chosen by what they do: the mean kernel value of random pairs.

A density says little when every pair of documents is near (kernel 1) or far
(kernel 0). The figures of "How to Train Data-Efficient LLMs" (arXiv
2402.09668, Figure 9: scores of 1.5e8 to 1.75e8 of 364 million) imply a mean
of 0.41 to 0.48; the paper prints no bandwidth.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

Kernel = Callable[[Array, Array], Array]  # (distance, bandwidth) -> [0, 1]

NUM_PAIRS = 10_000  # the mean's standard error is then below 0.005
_LOG_RANGE = 7.0  # bandwidths from exp(-7) to exp(7) times the largest distance
_NUM_STEPS = 50  # halvings of 14: beyond float32
_STEPS_PER_E = 1_000  # the result is rounded to 0.1 %


def pair_distances(
  points_NxD: Float[Array, 'N D'], mask_N: Bool[Array, ' N']
) -> tuple[Float[Array, ' P'], Bool[Array, ' P']]:
  """Euclidean distances of about 10,000 pairs of different rows.

  Row i is paired with row i + s for shifts s spread over 1 .. N / 2; rows in
  random order therefore give random pairs.

  Args:
    points_NxD: [N, D] float32, in random order.
    mask_N: [N] bool, False for rows to leave out.

  Returns:
    [P] float32 distances, and [P] bool, False where a row is left out; P = 0
    for a single row.
  """
  num_rows = len(points_NxD)
  num_shifts = min(num_rows // 2, -(-NUM_PAIRS // num_rows))
  shifts = 1 + jnp.arange(num_shifts) * (num_rows // 2) // max(num_shifts, 1)

  def one_shift(shift):
    other_NxD = jnp.roll(points_NxD, shift, axis=0)
    distance = jnp.sqrt(jnp.sum((points_NxD - other_NxD) ** 2, axis=1))
    return distance, mask_N & jnp.roll(mask_N, shift)

  distance, mask = jax.lax.map(one_shift, shifts)
  return distance.ravel(), mask.ravel()


def mean_kernel(
  kernel: Kernel,
  distance_P: Float[Array, ' P'],
  mask_P: Bool[Array, ' P'],
  bandwidth: Float[Array, ''],
) -> Float[Array, '']:
  """Mean kernel value of the pairs; 1 when there is no pair."""
  value_P = jnp.where(mask_P, kernel(distance_P, bandwidth), 0.0)
  num_pairs = jnp.sum(mask_P)
  mean = jnp.sum(value_P) / jnp.maximum(num_pairs, 1)
  return jnp.where(num_pairs > 0, mean, 1.0)


def solve_bandwidth(
  kernel: Kernel,
  distance_P: Float[Array, ' P'],
  mask_P: Bool[Array, ' P'],
  target: float | Float[Array, ''],
) -> Float[Array, '']:
  """The bandwidth at which the pairs' mean kernel value is the target.

  By bisection of the logarithm; the kernel must rise with the bandwidth. The
  result is rounded to 0.1 %, so that float rounding of the points does not
  move the cells of a hash.

  Args:
    kernel: (distance [P], bandwidth []) -> [P] in [0, 1].
    distance_P: [P] float32 >= 0.
    mask_P: [P] bool, pairs that count.
    target: in (0, 1). Where more than this share of pairs are duplicates no
      bandwidth reaches it, and the narrowest is returned.

  Returns:
    [] float32 > 0; 1 where all points are equal.
  """
  scale = jnp.max(jnp.where(mask_P, distance_P, 0.0), initial=0.0)

  def halve(_, ends):
    low, high = ends
    middle = (low + high) / 2
    width = scale * jnp.exp(middle)
    above = mean_kernel(kernel, distance_P, mask_P, width) > target
    return jnp.where(above, low, middle), jnp.where(above, middle, high)

  ends = (jnp.float32(-_LOG_RANGE), jnp.float32(_LOG_RANGE))
  low, high = jax.lax.fori_loop(0, _NUM_STEPS, halve, ends)
  log_width = jnp.log(jnp.where(scale > 0, scale, 1.0)) + (low + high) / 2
  rounded = jnp.round(log_width * _STEPS_PER_E) / _STEPS_PER_E
  return jnp.where(scale > 0, jnp.exp(rounded), 1.0)
