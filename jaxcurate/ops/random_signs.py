"""Random signs that are a function of where they stand in a huge matrix.

Entry (p, k) is bit p % 64 of the 64 bits that Threefry-2x32 with 20 rounds
makes of the counter (p // 64, k) (Salmon et al., "Parallel random numbers: as
easy as 1, 2, 3", SC11). Any tile can be made anywhere, and is the same on
every device. It is written out here because `jax.random.rademacher` spends a
whole draw on each sign and runs its rounds as a loop over memory: 5e7 signs/s
on two CPU cores, where these come at more than 1e10.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt32
import numpy as np

GROUP = 64  # rows that one counter serves

_PARITY = 0x1BD11BDA  # of the key schedule; SC11 after Skein 1.3
_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))  # SC11, for words of 32 bits
_SIGN_BIT, _ONE = 0x80000000, 0x3F800000  # of float32, and 1.0


def threefry(key: tuple[Any, Any], counter: tuple[Any, Any]) -> tuple[Any, Any]:
  """Threefry-2x32-20 of every counter; `jax.random`'s own generator.

  Args:
    key: two uint32, JAX or NumPy, of any shapes that broadcast.
    counter: the same.

  Returns:
    Two uint32 arrays of random bits.

  >>> zero = jnp.zeros((), jnp.uint32)  # a known answer of Random123
  >>> [hex(word) for word in threefry((zero, zero), (zero, zero))]
  ['0x6b200159', '0x99ba4efe']
  """
  (first_key, second_key), (x, y) = key, counter
  keys = (first_key, second_key, first_key ^ second_key ^ np.uint32(_PARITY))
  x, y = x + keys[0], y + keys[1]
  for injection in range(5):
    for rotation in _ROTATIONS[injection % 2]:
      x = x + y
      y = (y << np.uint32(rotation)) | (y >> np.uint32(32 - rotation))
      y = y ^ x
    x = x + keys[(injection + 1) % 3]
    y = y + keys[(injection + 2) % 3] + np.uint32(injection + 1)
  return x, y


def random_words(
  seed: int | UInt32[Array, ''],
  stream: int,
  first_group: int | Array,
  *,
  num_groups: int,
  width: int,
) -> tuple[UInt32[Array, 'G K'], UInt32[Array, 'G K']]:
  """The bits of G groups of 64 rows: of their first 32 rows, of their last.

  Args:
    seed: in [0, 2^32).
    stream: which matrix of that seed, in [0, 2^32).
    first_group: number of the first group, in [0, 2^32 - num_groups).
    num_groups: G.
    width: K columns. Columns do not depend on it: a narrower matrix is the
      left part of a wider one.
  """
  shape = (num_groups, width)
  group_GxK = jnp.asarray(first_group, jnp.uint32) + jax.lax.broadcasted_iota(
    jnp.uint32, shape, 0
  )
  column_GxK = jax.lax.broadcasted_iota(jnp.uint32, shape, 1)
  key = (jnp.asarray(seed, jnp.uint32), jnp.asarray(stream, jnp.uint32))
  return threefry(key, (group_GxK, column_GxK))


def signs_of(
  words: tuple[UInt32[Array, 'G K'], UInt32[Array, 'G K']],
  dtype: Any = jnp.float32,
) -> Float[Array, 'P K']:
  """A sign per bit: rows of -1 and 1, [64 * G, K]."""
  shift_32x1 = jnp.arange(31, -1, -1, dtype=jnp.uint32).reshape(-1, 1)

  def expand(word_GxK: Array) -> Array:
    # The bit becomes the sign of 1.0: no comparison, no conversion.
    bits = (word_GxK[:, None, :] << shift_32x1) & np.uint32(_SIGN_BIT)
    return jax.lax.bitcast_convert_type(bits | np.uint32(_ONE), jnp.float32)

  signs_Gx64xK = jnp.concatenate([expand(word) for word in words], axis=1)
  return signs_Gx64xK.reshape(-1, signs_Gx64xK.shape[-1]).astype(dtype)
