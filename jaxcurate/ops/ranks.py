"""Rank agreement of two columns."""

from jaxtyping import Float
import numpy as np
import scipy  # its parts load at their first use: stats takes half a second


def spearman(
  first: Float[np.ndarray, ' N'], second: Float[np.ndarray, ' N']
) -> float:
  """Correlation of the ranks, ties at their mean rank.

  Args:
    first: [N] finite.
    second: [N] finite.

  Returns:
    In [-1, 1]; where a column is constant there is no order to agree on: 1 if
    both are, else 0.

  Raises:
    ValueError: a value is not finite.

  >>> spearman(np.array([1.0, 2.0, 9.0]), np.array([0.1, 0.2, 0.3]))
  1.0
  """
  if not (np.isfinite(first).all() and np.isfinite(second).all()):
    raise ValueError('ranks need finite values; leave out what has no score')
  ranks = np.stack([scipy.stats.rankdata(first), scipy.stats.rankdata(second)])
  spread = ranks.std(axis=1) if len(first) else np.zeros(2)
  if not spread.all():
    return float(spread[0] == spread[1])
  return float(np.clip(np.corrcoef(ranks)[0, 1], -1.0, 1.0))
