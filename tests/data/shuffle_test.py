import numpy as np
import pytest

from jaxcurate.data import shuffle


def test_mix_is_splitmix64():
  # First output of splitmix64 from state 0, as in its reference code.
  assert int(shuffle.mix(0)) == 0xE220A8397B1DCDAF


def _slow_mix(*words):
  """The same in Python's integers."""
  hashed = 0
  for word in words:
    hashed = ((hashed ^ word) + 0x9E3779B97F4A7C15) % 2**64
    hashed = ((hashed ^ hashed >> 30) * 0xBF58476D1CE4E5B9) % 2**64
    hashed = ((hashed ^ hashed >> 27) * 0x94D049BB133111EB) % 2**64
    hashed ^= hashed >> 31
  return hashed


def test_mix_equals_the_slow_way_and_broadcasts():
  words = np.array([0, 1, 2**64 - 1], np.uint64)
  mixed = shuffle.mix(5, words, 7)
  assert mixed.tolist() == [_slow_mix(5, int(word), 7) for word in words]
  assert int(shuffle.mix(-1)) == _slow_mix(2**64 - 1)


@pytest.mark.parametrize('size', [1, 2, 3, 4, 5, 16, 17, 1000, 4097])
def test_every_item_comes_once(size):
  order = shuffle.permute(np.arange(size), size, 3, 1)
  np.testing.assert_array_equal(np.sort(order), np.arange(size))


def test_any_part_of_the_order_can_be_asked_for():
  whole = shuffle.permute(np.arange(1000), 1000, 1)
  np.testing.assert_array_equal(
    shuffle.permute(np.arange(300, 310), 1000, 1), whole[300:310]
  )
  huge = shuffle.permute(np.arange(10), 10**15, 1)
  assert len(set(huge.tolist())) == 10
  assert huge.max() < 10**15


@pytest.mark.parametrize('size', [4, 5])
def test_places_and_pairs_are_uniform(size):
  trials = 600
  orders = np.array(
    [shuffle.permute(np.arange(size), size, key) for key in range(trials)]
  )
  share = 1 / size
  bound = 4 * np.sqrt(share * (1 - share) / trials)
  for place in range(size):
    shares = np.bincount(orders[:, place], minlength=size) / trials
    np.testing.assert_allclose(shares, share, atol=bound)
  pairs = np.bincount(orders[:, 0] * size + orders[:, 1], minlength=size**2)
  share = 1 / (size * (size - 1))
  bound = 4 * np.sqrt(share * (1 - share) / trials)
  np.testing.assert_allclose(pairs[pairs > 0] / trials, share, atol=bound)
  assert (pairs > 0).sum() == size * (size - 1)


def test_keys_differ():
  first, second = (
    shuffle.permute(np.arange(1000), 1000, *key) for key in [(1, 2), (2, 1)]
  )
  assert (first == second).mean() < 0.01
  # Neighbours do not stay neighbours.
  assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 4 / np.sqrt(1000)


def test_degenerate_and_wrong_input():
  assert shuffle.permute(np.zeros(0, np.int64), 5, 1).tolist() == []
  with pytest.raises(ValueError, match=r'0 to 5, expected \[0, 5\)'):
    shuffle.permute(np.arange(6), 5, 1)
