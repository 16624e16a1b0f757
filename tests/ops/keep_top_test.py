import fractions
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.ops.keep_top import keep_top, share_count

keep = jax.jit(keep_top)
SHARES = (0.6, 0.1, 0.7, 1 / 3, 1.0, 0.9999)


def test_by_hand():
  values = np.array([[3.0, 1.0, 3.0], [9.0, -2.0, 3.0]])
  valid = np.array([[True, True, True], [False, True, True]])
  # Two of the three equal to 3: the first two in order.
  assert keep(values, valid, np.int32(2)).tolist() == [
    [True, False, True],
    [False, False, False],
  ]
  # 0.6 * 5 in float32, rounded up, would be 4.
  assert int(share_count(0.6, jnp.int32(5))) == 3
  assert int(share_count(1e-9, jnp.int32(5))) == 1


def test_counts_are_exact_for_small_and_for_large_batches():
  counts = [0, 1, 2, 3, 5, 7, 10, 30, 1000, 99_999, 2_000_001, 2**30]
  found = jax.jit(
    lambda n: jnp.stack([share_count(share, n) for share in SHARES])
  )
  for count in counts:
    expected = [
      max(math.ceil(fractions.Fraction(share).limit_denominator(10**4) * count),
          min(count, 1))
      for share in SHARES
    ]  # fmt: skip
    assert found(np.int32(count)).tolist() == expected


def test_against_a_stable_sort():
  rng = np.random.default_rng(0)
  for trial in range(20):
    values = rng.integers(-3, 3, 24) * 1.5  # many ties
    valid = rng.uniform(size=24) < rng.uniform()
    count = rng.integers(0, valid.sum() + 1)
    order = np.argsort(-values[valid], kind='stable')[:count]
    expected = np.zeros(24, bool)
    expected[np.flatnonzero(valid)[order]] = True
    kept = keep(
      np.asarray(values, np.float32), np.asarray(valid), np.int32(count)
    )
    np.testing.assert_array_equal(kept, expected, err_msg=f'trial {trial}')


def test_the_worst_valid_entry_comes_before_what_is_not_valid():
  values = np.array([np.nan, 1e30, -np.inf, np.inf, 0.0])
  valid = np.array([True, False, True, True, True])
  for count, kept in ((4, [0, 2, 3, 4]), (2, [3, 4]), (3, [0, 3, 4]), (0, [])):
    found = keep(values, valid, np.int32(count))
    assert np.flatnonzero(found).tolist() == kept


def test_nothing_valid_keeps_nothing():
  nothing = np.zeros(5, bool)
  assert not keep(np.full(5, np.nan), nothing, np.int32(0)).any()


@pytest.mark.parametrize('share', [0.0, -0.1, 1.1, float('nan')])
def test_shares_out_of_range_are_refused(share):
  with pytest.raises(ValueError, match='expected above 0 and at most 1'):
    share_count(share, jnp.int32(3))
