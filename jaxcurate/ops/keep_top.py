"""Keeps the exact top share of the valid entries of an array, on device.

One sort of the values gives the threshold; entries equal to it are kept in
their order until the count is met. Nothing is gathered or scattered.
"""

from collections.abc import Callable
import fractions
import math

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

# Products with numerators up to this stay far inside int32.
MAX_DENOMINATOR = 10_000


def check_share(share: float) -> None:
  """Raises ValueError where a share is not in (0, 1]."""
  if not 0 < share <= 1:
    raise ValueError(f'share is {share}, expected above 0 and at most 1')


def share_count(share: float, count: Int[Array, '']) -> Int[Array, '']:
  """ceil(share * count), in integers, at least 1 of a count above 0.

  A product in float32 would round 0.6 * 5 up to 4 or lose whole entries of
  large counts. The share is taken as the nearest fraction with a denominator
  of at most 10,000.

  Args:
    share: in (0, 1].
    count: [] int32 >= 0.

  Raises:
    ValueError: the share is out of its range.

  >>> [int(share_count(0.6, jnp.int32(n))) for n in (0, 1, 4, 5)]
  [0, 1, 3, 3]
  """
  check_share(share)
  exact = fractions.Fraction(share).limit_denominator(MAX_DENOMINATOR)
  whole, rest = jnp.divmod(count, exact.denominator)
  part = -(-rest * exact.numerator // exact.denominator)
  return jnp.maximum(whole * exact.numerator + part, jnp.minimum(count, 1))


def most_kept(share: float) -> Callable[[int], int]:
  """E -> the largest `share_count` of at most E examples.

  >>> most_kept(0.5)(5)
  3
  """
  check_share(share)
  exact = fractions.Fraction(share).limit_denominator(MAX_DENOMINATOR)
  return lambda count: max(1, math.ceil(exact * count))


def keep_top(
  values: Float[Array, '*N'], valid: Bool[Array, '*N'], count: Int[Array, '']
) -> Bool[Array, '*N']:
  """The `count` largest valid entries; of equal ones the first.

  Args:
    values: any shape; NaN ranks with the smallest. Where `valid` is False it
      may be anything.
    valid: which entries take part.
    count: [] int32, 0 to the number of valid entries.

  Returns:
    True for what is kept: exactly `count` entries.

  >>> values = jnp.array([3.0, 1.0, 3.0, 9.0])
  >>> valid = jnp.array([True, True, True, False])
  >>> keep_top(values, valid, jnp.int32(1)).tolist()
  [True, False, False, False]
  """
  lowest = jnp.finfo(jnp.float32).min
  # Finite, so that the worst valid entry still comes before the invalid ones.
  ranked = jnp.nan_to_num(values.astype(jnp.float32), nan=lowest)
  flat = jnp.where(valid, ranked, -jnp.inf).reshape(-1)
  threshold = -jnp.sort(-flat)[jnp.maximum(count - 1, 0)]
  above, equal = flat > threshold, flat == threshold
  room = count - jnp.sum(above)
  kept = above | (equal & (jnp.cumsum(equal) <= room))
  return kept.reshape(values.shape) & valid
