"""How much do two scorers, or two selections, agree?

Kendall's tau-b and Spearman's rho between score columns, as in Figure 7 of
"How to Train Data-Efficient LLMs" (arXiv 2402.09668), and the overlap of two
selections beside what chance alone gives. Ours: above 200,000 rows tau is
estimated on sampled pairs, with its standard error.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from jaxtyping import Float
import numpy as np
import scipy  # its parts load at their first use: stats takes half a second

MAX_EXACT_ROWS = 200_000  # scipy's merge sort takes about a quarter second
_NUM_PAIRS = 1_000_000  # standard error 0.001


class Agreement(NamedTuple):
  """Rank agreement of two columns.

  Attributes:
    tau: Kendall's tau-b in [-1, 1]; NaN where a column is constant or fewer
      than 2 rows are complete.
    standard_error: 1 / sqrt(pairs) where pairs were sampled, 0 where all were
      counted.
    spearman: Spearman's rho, NaN as tau.
    num_rows: rows in which both columns are finite.
  """

  tau: float
  standard_error: float
  spearman: float
  num_rows: int


class Overlap(NamedTuple):
  """Overlap of two sets of documents.

  Attributes:
    jaccard: shared / union, NaN for two empty sets.
    chance: the Jaccard index at the expected overlap of two independent
      random sets of these sizes.
    num_shared: documents in both.
  """

  jaccard: float
  chance: float
  num_shared: int


def rank_agreement(
  first: Float[np.ndarray, ' N'],
  second: Float[np.ndarray, ' N'],
  *,
  seed: int = 0,
  num_pairs: int = _NUM_PAIRS,
  max_exact_rows: int = MAX_EXACT_ROWS,
) -> Agreement:
  """Kendall's tau-b and Spearman's rho over the rows complete in both.

  tau-b = sum s_i s'_i / sqrt(sum s_i^2 sum s'_i^2), s the sign of the score
  difference of pair i.

  Args:
    first: [N] scores, NaN = no score.
    second: [N] scores of the same documents.
    seed: of the sampled pairs.
    num_pairs: how many pairs are drawn above `max_exact_rows`.
    max_exact_rows: largest number of rows for which all pairs are counted.

  Returns:
    The agreement.

  >>> rank_agreement(np.array([1.0, 2.0, 3.0]), np.array([1.0, 1.5, 4.0])).tau
  1.0
  """
  complete = np.isfinite(first) & np.isfinite(second)
  first, second = first[complete], second[complete]
  num_rows = len(first)
  if num_rows < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
    return Agreement(np.nan, 0.0, np.nan, num_rows)
  # SciPy's own annotations call both results plain tuples.
  rank: Any = scipy.stats.spearmanr(first, second)
  spearman = float(rank.statistic)
  if num_rows <= max_exact_rows:
    exact: Any = scipy.stats.kendalltau(first, second)
    tau = float(exact.statistic)
    return Agreement(tau, 0.0, spearman, num_rows)
  rng = np.random.default_rng(seed)
  left = rng.integers(0, num_rows, num_pairs)
  # Any row but `left` itself, uniformly.
  right = (left + rng.integers(1, num_rows, num_pairs)) % num_rows
  sign = np.sign(first[left] - first[right])
  other = np.sign(second[left] - second[right])
  scale = np.sqrt(np.sum(sign**2) * np.sum(other**2))
  tau = float(np.sum(sign * other) / scale) if scale > 0 else np.nan
  return Agreement(tau, num_pairs**-0.5, spearman, num_rows)


def tau_matrix(
  columns: Float[np.ndarray, 'Q N'],
) -> tuple[Float[np.ndarray, 'Q Q'], Float[np.ndarray, 'Q Q']]:
  """Kendall's tau-b of every pair of columns, and its standard errors.

  Args:
    columns: [Q, N] one row per scorer, NaN = no score.

  Returns:
    [Q, Q] symmetric, the diagonal 1 (NaN for a column with fewer than two
    different scores), and [Q, Q] standard errors (0 = all pairs counted).

  >>> tau_matrix(np.array([[1.0, 2.0], [2.0, 1.0]]))[0].tolist()
  [[1.0, -1.0], [-1.0, 1.0]]
  """
  num_columns = len(columns)
  tau = np.full((num_columns, num_columns), np.nan)
  error = np.zeros_like(tau)
  for i in range(num_columns):
    values = columns[i][np.isfinite(columns[i])]
    if len(values) and np.ptp(values) > 0:
      tau[i, i] = 1.0
    for j in range(i):
      agreement = rank_agreement(columns[i], columns[j])
      tau[i, j] = tau[j, i] = agreement.tau
      error[i, j] = error[j, i] = agreement.standard_error
  return tau, error


def overlap(
  first: Iterable[str], second: Iterable[str], num_candidates: int
) -> Overlap:
  """Jaccard index of two selections, and what chance gives.

  chance = e / (a + b - e) with e = a b / N, the mean of the hypergeometric
  distribution of the overlap.

  Args:
    first: ids kept by one selection.
    second: ids kept by the other.
    num_candidates: N documents both chose from.

  Returns:
    The overlap.

  Raises:
    ValueError: fewer candidates than documents kept.

  >>> overlap(['a', 'b'], ['b', 'c'], 4)
  Overlap(jaccard=0.3333333333333333, chance=0.3333333333333333, num_shared=1)
  """
  first, second = set(first), set(second)
  shared, union = len(first & second), len(first | second)
  if union > num_candidates:
    raise ValueError(f'{union} documents kept of {num_candidates} candidates')
  if not union:
    return Overlap(np.nan, np.nan, 0)
  expected = len(first) * len(second) / num_candidates
  chance = expected / (len(first) + len(second) - expected)
  return Overlap(shared / union, chance, shared)
