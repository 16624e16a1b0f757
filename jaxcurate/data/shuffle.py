"""Random orders that need no memory: the i-th item of a keyed permutation.

A Feistel network on the smallest even number of bits that holds the size,
walked until it lands inside (Black and Rogaway, "Ciphers with arbitrary finite
domains", 2002). An epoch over 1e9 documents then costs nothing to begin and
any place in it can be entered directly.
"""

from jaxtyping import Int64, UInt64
import numpy as np

# Four rounds make a secure permutation of large domains (Luby and Rackoff,
# 1988); small ones need more, and rounds are cheap.
_ROUNDS = 8
# splitmix64's multipliers.
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def mix(*words: int | np.integer | np.ndarray) -> UInt64[np.ndarray, '...']:
  """Hashes words to 64 bits, elementwise where they are arrays.

  The finaliser of splitmix64 (Steele, Lea and Flood, 2014), chained.

  Args:
    words: integers, taken modulo 2**64, or uint64 arrays that broadcast.

  Returns:
    uint64, of the broadcast shape.

  >>> int(mix(1, 2)) == int(mix(1, 2)), int(mix(1, 2)) == int(mix(2, 1))
  (True, False)
  """
  hashed = np.zeros((), np.uint64)
  with np.errstate(over='ignore'):  # 64-bit arithmetic wraps, as is meant
    for word in words:
      if not isinstance(word, np.ndarray):
        word = np.array(int(word) % 2**64, np.uint64)
      hashed = (hashed ^ word) + np.uint64(0x9E3779B97F4A7C15)
      hashed = (hashed ^ (hashed >> np.uint64(30))) * _FIRST
      hashed = (hashed ^ (hashed >> np.uint64(27))) * _SECOND
      hashed = hashed ^ (hashed >> np.uint64(31))
  return np.asarray(hashed)


def permute(
  index: Int64[np.ndarray, ' n'], size: int, *key: int
) -> Int64[np.ndarray, ' n']:
  """Where a random permutation of range(size) sends each index.

  Args:
    index: [n] in [0, size).
    size: number of items, >= 1.
    key: another key is another permutation.

  Returns:
    [n] in [0, size); all of range(size) is sent to all of range(size).

  >>> sorted(permute(np.arange(5), 5, 7).tolist())
  [0, 1, 2, 3, 4]
  """
  if len(index) and not 0 <= index.min() <= index.max() < size:
    raise ValueError(
      f'indices span {index.min()} to {index.max()}, expected [0, {size})'
    )
  half = np.uint64(max((size - 1).bit_length() + 1, 2) // 2)
  low = (np.uint64(1) << half) - np.uint64(1)
  keys = [mix(*key, number) for number in range(_ROUNDS)]
  value = index.astype(np.uint64)
  outside = np.arange(len(value))
  while len(outside):
    walked = value[outside]
    left, right = walked >> half, walked & low
    for round_key in keys:
      left, right = right, left ^ (mix(right ^ round_key) & low)
    value[outside] = left << half | right
    outside = outside[value[outside] >= size]
  return value.astype(np.int64)
