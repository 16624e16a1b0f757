"""Turns of unequal size in wanted shares, never more than one turn off.

Worst-case fair weighted fair queueing (Bennett and Zhang, "WF2Q", INFOCOM
1996): of those that an ideal fluid server would have begun to serve, the one
that it would have finished first. No randomness, and no look ahead.
"""

from jaxtyping import Float64, Int64
import numpy as np


def settle(
  credit_M: Float64[np.ndarray, ' M'], share_M: Float64[np.ndarray, ' M']
) -> Float64[np.ndarray, ' M']:
  """Credits under new shares: what cannot be paid any more is written off.

  Those with share 0 owe and are owed nothing; the others bear the difference
  by their shares, so that credits sum to 0.

  Args:
    credit_M: what each is owed, in units of size.
    share_M: >= 0, sum 1.

  >>> settle(np.array([3.0, -3.0, 0.0]), np.array([0.0, 0.5, 0.5])).tolist()
  [0.0, -1.5, 1.5]
  """
  live_M = np.where(share_M > 0, credit_M, 0.0)
  return live_M - share_M * live_M.sum()


def next_turn(
  credit_M: Float64[np.ndarray, ' M'],
  size_M: Int64[np.ndarray, ' M'],
  share_M: Float64[np.ndarray, ' M'],
) -> int:
  """Whose turn is next.

  Nobody with share 0; of those that are owed something or nothing, the one
  with the smallest (size - credit) / share. When a turn of size n is over,
  every credit grows by share * n and the credit of the one served falls by n.

  While the shares stay, everybody is less than his largest turn ahead of what
  the shares give him, and less than the largest of all behind. When they change
  the first still holds, and the second may fail by a little.

  Args:
    credit_M: as `settle` leaves them: they sum to 0.
    size_M: >= 1, size of the next turn of each; of share 0, anything.
    share_M: >= 0, sum 1.

  >>> next_turn(np.zeros(2), np.array([4, 4]), np.array([0.25, 0.75]))
  1
  """
  live = np.flatnonzero(share_M > 0)
  credit = credit_M[live]
  due = (size_M[live] - credit) / share_M[live]
  # The largest credit is at least 0, but for rounding.
  owed = credit >= min(0.0, credit.max())
  return int(live[np.argmin(np.where(owed, due, np.inf))])
