"""Weighted sampling without replacement by Gumbel keys that belong to ids.

Every document draws one exponential E from (seed, id) and gets the key
log w - log E; the documents with the largest keys are a sample without
replacement with probabilities proportional to w (Gumbel top-k). Since the key
depends on the id alone, shard layout, row order and host count change nothing,
and the best keys of a union are the best of the best keys of its parts.

Inclusion probabilities condition on the other documents' keys (rank
conditioning: Duffield, Lund and Thorup, "Priority sampling", J. ACM 54(6),
2007): k * p is wrong by many standard errors. Everything is float64 on the
host: float32 Gumbels have 8 million distinct values, ties at every threshold.

The counter-based generator is Philox4x32-10 (Salmon et al., "Parallel random
numbers: as easy as 1, 2, 3", SC11), written out here because NumPy's own
generators give a stream of numbers and not the number of a counter.
"""

from typing import NamedTuple

from jaxtyping import Float64, Int64, UInt64
import numpy as np

_BLOCK = 1 << 16  # ids at a time, so that temporaries stay in cache
_ROUNDS = 10  # SC11, table 2: the recommended number, crush-resistant from 7
_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))  # SC11, sec. 3.3
_WEYL = (0x9E3779B9, 0xBB67AE85)  # golden ratio and sqrt(3) - 1, SC11
_LOW_HALF = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)


class Prefix(NamedTuple):
  """The documents at the head of an order that a budget pays for.

  Attributes:
    rows: [K] int64 positions, best first.
    threshold: [K] float64: a chosen document was chosen because its key is
      above this, which depends on the other documents only; -inf where any
      key would do.
  """

  rows: Int64[np.ndarray, ' K']
  threshold: Float64[np.ndarray, ' K']


def philox(
  counter: UInt64[np.ndarray, ' N'], seed: int
) -> UInt64[np.ndarray, ' N']:
  """First two words of Philox4x32-10 for counter (low, high, 0, 0).

  Args:
    counter: [N] uint64; both halves enter.
    seed: 0 <= seed < 2**64, the generator's key.

  Returns:
    [N] uint64, word 0 in the low half and word 1 in the high half.

  >>> hex(philox(np.zeros(1, np.uint64), seed=0)[0])
  '0xe169c58d6627e8d5'
  """
  if not 0 <= seed < 2**64:
    raise ValueError(f'seed is {seed}, expected 0 <= seed < 2**64')
  output = np.empty_like(counter)
  for start in range(0, len(counter), _BLOCK):
    block = counter[start : start + _BLOCK]
    output[start : start + _BLOCK] = _philox_block(block, seed)
  return output


def uniforms(
  seed: int, id_hash: UInt64[np.ndarray, ' N']
) -> Float64[np.ndarray, ' N']:
  """One uniform number in the open interval (0, 1) per (seed, id).

  Args:
    seed: 0 <= seed < 2**64.
    id_hash: [N] uint64, both halves of which count.

  Returns:
    [N] float64 with 53 random bits.

  >>> ids = np.array([5, 7], np.uint64)
  >>> bool((uniforms(1, ids)[::-1] == uniforms(1, ids[::-1])).all())
  True
  """
  return ((philox(id_hash, seed) >> np.uint64(11)) + 0.5) * 2.0**-53


def gumbel_keys(
  seed: int,
  id_hash: UInt64[np.ndarray, ' N'],
  log_weight: Float64[np.ndarray, ' N'],
) -> Float64[np.ndarray, ' N']:
  """key = log w - log E with E = -log u exponential: log w plus a Gumbel.

  Args:
    seed: 0 <= seed < 2**64.
    id_hash: [N] uint64.
    log_weight: [N] float64, natural log of the sampling weight, any offset.

  Returns:
    [N] float64 keys; the largest are the sample.
  """
  return log_weight - np.log(-np.log(uniforms(seed, id_hash)))


def take_prefix(
  key: Float64[np.ndarray, ' N'],
  id_hash: UInt64[np.ndarray, ' N'],
  cost: Int64[np.ndarray, ' N'],
  budget: int,
) -> Prefix:
  """Takes documents by falling key until their cost reaches the budget.

  Document i is taken when the documents above it cost less than the budget,
  so the total is at least the budget (if the corpus is) and exceeds it by less
  than one document. Without i, the others reach the budget at the first j
  whose running cost, i included, is at least budget + cost_i; i is taken
  exactly when its key is above key_j: that key is i's threshold, and it does
  not depend on i's own key. With unit costs it is the (k+1)-th key for all.

  Args:
    key: [N] float64, larger is better.
    id_hash: [N] uint64, breaks ties (larger first).
    cost: [N] int64 >= 0: ones for a budget in documents, or tokens.
    budget: > 0; a budget above the total takes everything.

  Returns:
    The prefix, best first.

  >>> cost = np.array([1, 1, 1])
  >>> key, ids = np.array([0.5, 2.0, 1.0]), np.arange(3, dtype=np.uint64)
  >>> take_prefix(key, ids, cost, 2)
  Prefix(rows=array([1, 2]), threshold=array([0.5, 0.5]))
  """
  order = np.lexsort((~id_hash, -key))
  running_cost = np.cumsum(cost[order])
  # The first document that reaches the budget is the last one taken.
  size = min(int(np.searchsorted(running_cost, budget)) + 1, len(order))
  rows = order[:size]
  reached = np.searchsorted(running_cost, budget + cost[rows])
  sorted_key = np.append(key[order], -np.inf)
  return Prefix(rows=rows, threshold=sorted_key[reached])


def inclusion_prob(
  log_weight: Float64[np.ndarray, ' K'], threshold: Float64[np.ndarray, ' K']
) -> Float64[np.ndarray, ' K']:
  """Probability that a document's Gumbel key is above its threshold.

  pi = P(E < w exp(-kappa)) = 1 - exp(-exp(log w - kappa)).

  Args:
    log_weight: [K] float64, as given to `gumbel_keys`.
    threshold: [K] float64 kappa, from `take_prefix`; -inf means certain.

  Returns:
    [K] float64 in (0, 1].

  >>> inclusion_prob(np.zeros(2), np.array([0.0, -np.inf])).round(4).tolist()
  [0.6321, 1.0]
  """
  with np.errstate(over='ignore'):
    prob = -np.expm1(-np.exp(log_weight - threshold))
  return np.maximum(prob, np.finfo(np.float64).tiny)


def _philox_block(
  counter: UInt64[np.ndarray, ' N'], seed: int
) -> UInt64[np.ndarray, ' N']:
  words = [counter & _LOW_HALF, counter >> _SHIFT]
  words += [np.zeros_like(counter), np.zeros_like(counter)]
  for step in range(_ROUNDS):
    keys = [
      np.uint64((half + step * weyl) & 0xFFFFFFFF)
      for half, weyl in zip((seed & 0xFFFFFFFF, seed >> 32), _WEYL, strict=True)
    ]
    product_0 = words[0] * _MULTIPLIERS[0]
    product_1 = words[2] * _MULTIPLIERS[1]
    words = [
      (product_1 >> _SHIFT) ^ words[1] ^ keys[0],
      product_1 & _LOW_HALF,
      (product_0 >> _SHIFT) ^ words[3] ^ keys[1],
      product_0 & _LOW_HALF,
    ]
  return words[0] | (words[1] << _SHIFT)
