"""Signs from counters: known answers, a slow generator, statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.ops import random_signs

MASK = 2**32 - 1


def slow_threefry(key, counter):
  """Threefry-2x32-20 in Python integers, from the paper's own description."""
  rotations = (13, 15, 26, 6, 17, 29, 16, 24)
  schedule = [*key, key[0] ^ key[1] ^ 0x1BD11BDA]
  x, y = ((counter[i] + schedule[i]) & MASK for i in range(2))
  for step in range(20):
    turn = rotations[step % 8]
    x = (x + y) & MASK
    y = ((y << turn | y >> (32 - turn)) & MASK) ^ x
    if step % 4 == 3:
      injection = step // 4 + 1
      x = (x + schedule[injection % 3]) & MASK
      y = (y + schedule[(injection + 1) % 3] + injection) & MASK
  return x, y


def slow_sign(seed, stream, row, column):
  words = slow_threefry((seed, stream), (row // 64, column))
  return 1 - 2 * (words[row % 64 // 32] >> (row % 32) & 1)


def signs(seed, stream, first, groups, width, **settings):
  words = random_signs.random_words(
    seed, stream, first, num_groups=groups, width=width
  )
  return np.asarray(random_signs.signs_of(words, **settings))


@pytest.mark.parametrize(
  ('key', 'counter', 'expected'),
  [  # Random123's kat_vectors, threefry2x32 with 20 rounds
    ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    ((MASK, MASK), (MASK, MASK), (0x1CB996FC, 0xBB002BE7)),
    (
      (0x13198A2E, 0x03707344),
      (0x243F6A88, 0x85A308D3),
      (0xC4923A9C, 0x483DF7A0),
    ),
  ],
)
def test_known_answers(key, counter, expected):
  assert slow_threefry(key, counter) == expected
  pairs = (tuple(map(jnp.uint32, pair)) for pair in (key, counter))
  assert tuple(map(int, random_signs.threefry(*pairs))) == expected


def test_bits_are_those_of_jax_random():
  key = jax.random.wrap_key_data(jnp.array([5, 9], jnp.uint32))
  expected = np.asarray(jax.random.bits(key, (6,), jnp.uint32))
  zero, places = jnp.zeros(6, jnp.uint32), jnp.arange(6, dtype=jnp.uint32)
  x, y = random_signs.threefry((jnp.uint32(5), jnp.uint32(9)), (zero, places))
  np.testing.assert_array_equal(np.asarray(x ^ y), expected)


def test_every_sign_against_python_integers():
  found = signs(11, 3, 2, 2, 5)
  expected = [
    [slow_sign(11, 3, 128 + row, column) for column in range(5)]
    for row in range(128)
  ]
  assert found.dtype == np.float32
  np.testing.assert_array_equal(found, expected)


def test_a_tile_depends_on_its_place_alone():
  whole = signs(1, 2, 0, 6, 40)
  np.testing.assert_array_equal(signs(1, 2, 3, 2, 40), whole[192:320])
  np.testing.assert_array_equal(signs(1, 2, 0, 6, 7), whole[:, :7])
  traced = jax.jit(lambda first: random_signs.signs_of(
    random_signs.random_words(1, 2, first, num_groups=1, width=40)
  ))(jnp.int32(4))  # fmt: skip
  np.testing.assert_array_equal(traced, whole[256:320])


def test_other_seeds_and_streams_are_unrelated():
  tiles = [signs(seed, stream, 0, 4, 64) for seed, stream in
           [(0, 0), (0, 1), (1, 0), (1, 1)]]  # fmt: skip
  for i, one in enumerate(tiles):
    for other in tiles[:i]:
      assert abs((one * other).mean()) < 4 / np.sqrt(one.size)


def test_signs_are_fair_and_independent():
  tile = signs(0, 0, 0, 8, 512).astype(np.float64)
  assert set(np.unique(tile)) == {-1.0, 1.0}
  assert abs(tile.mean()) < 4 / np.sqrt(tile.size)
  # Products of two rows, of two columns: mean 0, sum over n of variance n.
  rows = (tile @ tile.T)[np.triu_indices(512, 1)]
  columns = (tile.T @ tile)[np.triu_indices(512, 1)]
  for products in (rows, columns):
    count = len(products)
    assert abs(products.mean()) < 4 * np.sqrt(512 / count)
    # A standard normal's square has variance 2.
    assert abs((products**2).mean() / 512 - 1) < 4 * np.sqrt(2 / count)
    assert np.abs(products).max() < 6 * np.sqrt(512)  # of 130,816: 1e-4


def test_bfloat16_holds_signs_exactly():
  words = random_signs.random_words(0, 0, 0, num_groups=1, width=9)
  narrow = random_signs.signs_of(words, dtype=jnp.bfloat16)
  assert narrow.dtype == jnp.bfloat16
  np.testing.assert_array_equal(
    np.asarray(narrow, np.float32), random_signs.signs_of(words)
  )
