import numpy as np
import pytest

from jaxcurate.ops.fair_turns import next_turn, settle


def turns(shares, sizes, count):
  """Who is served; sizes [M, count] of their turns; credit after each."""
  credit = np.zeros(len(shares[0]))
  place, served, credits = np.zeros(len(credit), int), [], []
  for number in range(count):
    share = shares[min(number, len(shares) - 1)]
    credit = settle(credit, share)
    size = sizes[np.arange(len(credit)), place]
    turn = next_turn(credit, size, share)
    credit = credit + share * size[turn]
    credit[turn] -= size[turn]
    place[turn] += 1
    served.append(turn)
    credits.append(credit)
  return served, np.array(credits)


def test_by_hand():
  # Equal sizes, shares 1/2, 1/4, 1/4: due at 2, 4, 4 turns.
  ones = np.ones((3, 9), np.int64)
  served, credits = turns([np.array([0.5, 0.25, 0.25])], ones, 8)
  assert served == [0, 1, 0, 2, 0, 1, 0, 2]
  np.testing.assert_allclose(credits[0], [-0.5, 0.25, 0.25])
  np.testing.assert_allclose(credits[3], 0.0, atol=1e-12)
  assert (
    next_turn(np.array([-1.0, 1.0]), np.array([1, 9]), np.array([0.9, 0.1]))
    == 1
  )


def test_settle_by_hand():
  found = settle(np.array([2.0, 4.0, -6.0]), np.array([0.25, 0.75, 0.0]))
  np.testing.assert_allclose(found, [0.5, -0.5, 0.0])
  share = np.array([0.3, 0.7])
  np.testing.assert_array_equal(settle(np.zeros(2), share), np.zeros(2))


def slow(share, sizes, count):
  """The fluid server itself: begins and ends of every turn in its own time."""
  clock, place = 0.0, np.zeros(len(share), int)
  begun = np.zeros(len(share))
  served = []
  for _ in range(count):
    size = sizes[np.arange(len(share)), place]
    ends = begun + size / share
    ready = [d for d in range(len(share)) if begun[d] <= clock + 1e-9]
    turn = min(ready, key=lambda d: (round(ends[d], 9), d))
    served.append(turn)
    clock += size[turn]
    begun[turn] = ends[turn]
    place[turn] += 1
  return served


def test_against_the_fluid_server():
  rng = np.random.default_rng(0)
  for count in (2, 5):
    share = rng.dirichlet(np.ones(count))
    sizes = rng.integers(3, 20, (count, 300))
    assert turns([share], sizes, 250)[0] == slow(share, sizes, 250)


@pytest.mark.parametrize('num', [1, 2, 7, 26])
def test_constant_shares_are_kept_to_within_one_turn(num):
  rng = np.random.default_rng(num)
  share = rng.dirichlet(np.full(num, 0.3))
  sizes = rng.integers(100, 513, (num, 3000))
  _, credits = turns([share], sizes, 1500)
  assert np.abs(credits).max() < 512
  np.testing.assert_allclose(credits.sum(axis=1), 0.0, atol=1e-6)


def test_shares_that_change_at_every_turn():
  rng = np.random.default_rng(5)
  shares = [rng.dirichlet(np.full(6, 0.5)) for _ in range(1500)]
  sizes = rng.integers(100, 513, (6, 2000))
  _, credits = turns(shares, sizes, 1500)
  assert credits.min() > -512  # nobody is ever a turn ahead


def test_a_share_of_nothing_gets_nothing():
  share = np.array([0.0, 1.0, 0.0])
  served, credits = turns([np.full(3, 1 / 3), share], np.ones((3, 99), int), 30)
  assert set(served[1:]) == {1}
  np.testing.assert_array_equal(credits[-1], 0.0)
