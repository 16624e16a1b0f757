"""Where a document stands among those of its domain, by merged quality.

QuaDMix (arXiv 2504.16511, section 3.1) in its own direction: a smaller quality
is better and ranks lie in (0, 1]. Its normaliser of criteria is not printed;
ours is the share of documents that are better, which is the same for every
increasing map of a score.
"""

from typing import NamedTuple

from jaxtyping import Float, Float64, Int, UInt64
import numpy as np
import scipy  # its parts load at their first use: stats takes half a second

NUM_BINS = 4096


def percentiles(
  score: Float[np.ndarray, 'N criteria'],
) -> Float64[np.ndarray, 'N criteria']:
  """Share of documents with a higher score, equal ones halved.

  Args:
    score: [N, criteria], higher = better; finite.

  Returns:
    [N, criteria] in (0, 1), smaller = better: (rank - 1/2) / N. A constant
    criterion is 1/2 everywhere and says nothing.

  Raises:
    ValueError: a score is not finite.

  >>> percentiles(np.array([[3.0, 1.0], [2.0, 1.0]])).tolist()
  [[0.25, 0.5], [0.75, 0.5]]
  """
  if not np.isfinite(score).all():
    row, column = np.argwhere(~np.isfinite(score))[0]
    raise ValueError(
      f'criterion {column} of document {row} is {score[row, column]}; leave'
      ' documents out that lack a criterion'
    )
  return (scipy.stats.rankdata(-score, axis=0) - 0.5) / max(len(score), 1)


def merge(
  percentile: Float[np.ndarray, 'N criteria'],
  domain: Int[np.ndarray, ' N'],
  weights: Float[np.ndarray, 'domains criteria'],
) -> Float64[np.ndarray, ' N']:
  """One quality per document: its criteria by the weights of its domain.

  Args:
    percentile: [N, criteria], smaller = better.
    domain: [N] in [0, domains).
    weights: [domains, criteria] >= 0.

  >>> weights = np.array([[1.0, 0.0], [0.5, 0.5]])
  >>> merge(np.array([[0.2, 0.6]]), np.array([1]), weights)
  array([0.4])
  """
  # Criterion after criterion: [N, criteria] of gathered weights is slower.
  merged = np.zeros(len(percentile))
  for criterion, own in enumerate(np.asarray(weights, np.float64).T):
    merged += own[domain] * percentile[:, criterion]
  return merged


def token_ranks(
  quality: Float[np.ndarray, ' N'],
  num_tokens: Int[np.ndarray, ' N'],
  domain: Int[np.ndarray, ' N'],
  id_hash: UInt64[np.ndarray, ' N'],
) -> Float64[np.ndarray, ' N']:
  """Share of the domain's tokens in documents that are no worse (exact).

  Args:
    quality: [N], smaller = better; equal ones are ordered by hashed id, or a
      tie at the best quality would take all of them past the cut.
    num_tokens: [N] >= 0.
    domain: [N] >= 0.
    id_hash: [N].

  Returns:
    [N] in (0, 1], the document's own tokens included; 1 for the worst of each
    domain and where a domain has no tokens.

  >>> token_ranks(np.array([.3, .1, .2]), np.array([5, 2, 3]),
  ...             np.array([0, 0, 1]), np.array([0, 1, 2], np.uint64)).tolist()
  [1.0, 0.2857142857142857, 1.0]
  """
  order = np.lexsort((id_hash, quality, domain))
  running = np.cumsum(num_tokens[order], dtype=np.int64)
  sorted_domain = domain[order]
  first = np.flatnonzero(np.diff(sorted_domain, prepend=-1))
  sizes = np.diff(first, append=len(order))
  before = np.repeat(np.append(0, running)[first], sizes)
  total = np.repeat(running[first + sizes - 1], sizes) - before
  rank = np.empty(len(order))
  rank[order] = (running - before) / np.maximum(total, 1)
  rank[order[total == 0]] = 1.0
  return rank


class RankHistogram(NamedTuple):
  """`token_ranks` from a histogram per domain: no sort, for many trials.

  Attributes:
    cell: [N] int64, of each document: domain * bins + bin.
    rank: [domains, bins] float64 in (0, 1], the middle of each bin.
    error: the most by which a rank is off: half of the fullest bin's share.
  """

  cell: np.ndarray
  rank: np.ndarray
  error: float


def histogram_ranks(
  quality: Float[np.ndarray, ' N'],
  num_tokens: Float[np.ndarray, ' N'],
  domain: Int[np.ndarray, ' N'],
  num_domains: int,
  *,
  num_bins: int = NUM_BINS,
) -> RankHistogram:
  """Ranks by bins of quality, of equal width.

  Args:
    quality: [N] in [0, 1], smaller = better.
    num_tokens: [N] >= 0, as floats, which add up faster.
    domain: [N] in [0, num_domains).
    num_domains: their number.
    num_bins: per domain.

  >>> found = histogram_ranks(
  ...     np.array([0.9, 0.1]), np.array([3.0, 1.0]), np.array([0, 0]), 1)
  >>> found.rank.reshape(-1)[found.cell].tolist(), found.error
  ([0.625, 0.125], 0.375)
  """
  cell = (quality * num_bins).astype(np.int64)
  np.minimum(cell, num_bins - 1, out=cell)
  cell += domain.astype(np.int64) * num_bins
  tokens = np.bincount(cell, num_tokens, num_domains * num_bins)
  tokens = tokens.reshape(num_domains, num_bins)
  share = tokens / np.maximum(tokens.sum(axis=1, keepdims=True), 1)
  middle = np.cumsum(share, axis=1) - share / 2
  return RankHistogram(cell, middle, float(share.max(initial=0.0)) / 2)


def knots(
  values: Float[np.ndarray, ' N'],
  weights: Float[np.ndarray, ' N'],
  *,
  num_knots: int = NUM_BINS,
) -> Float64[np.ndarray, ' K']:
  """Values at evenly spaced shares of the weight, for `share_below`.

  Args:
    values: [N], N >= 1.
    weights: [N] >= 0; where all are 0 values count alike.
    num_knots: K.

  >>> knots(np.array([3.0, 1.0]), np.array([1.0, 3.0]), num_knots=4).tolist()
  [1.0, 1.0, 1.0, 3.0]
  """
  order = np.argsort(values, kind='stable')
  weight = weights[order] if weights.sum() > 0 else np.ones(len(order))
  running = np.cumsum(weight, dtype=np.float64)
  wanted = (np.arange(num_knots) + 0.5) / num_knots * running[-1]
  return values[order[np.searchsorted(running, wanted)]].astype(np.float64)


def share_below(
  values: Float[np.ndarray, ' N'], knots_K: Float[np.ndarray, ' K']
) -> Float64[np.ndarray, ' N']:
  """Share of the knots that are below each value, equal ones halved.

  >>> share_below(np.array([0.0, 1.0, 2.0]), np.array([1.0, 1.0, 1.0, 3.0]))
  array([0.   , 0.375, 0.75 ])
  """
  below = np.searchsorted(knots_K, values, side='left')
  up_to = np.searchsorted(knots_K, values, side='right')
  return (below + up_to) / (2 * len(knots_K))
