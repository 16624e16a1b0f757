"""What `mix` writes: how much of each domain, and which of its documents."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
from typing import Any, NamedTuple

from jaxtyping import Float64
import numpy as np


class RankMap(NamedTuple):
  """From the scores of a document to its rank in the pool of a Mixture.

  Attributes:
    pool: tells the pool's documents from those of other tables.
    score_QxK: [Q, K] float64, scores of each criterion in rising order, at K
      evenly spaced shares of the pool's documents.
    quality_MxK: [M, K] float64, merged quality of each domain in rising order,
      best first, at K evenly spaced shares of its tokens.
  """

  pool: str
  score_QxK: np.ndarray
  quality_MxK: np.ndarray


@dataclasses.dataclass(frozen=True)
class QualityShape:
  """How often a document is wanted, by its rank within its domain.

  QuaDMix (arXiv 2504.16511, section 3.1): the criteria are merged by weights of
  the domain, the documents ranked by tokens, and a rank r, 0 best, is sampled
  (2 / (1 + exp(-steepness (keep_fraction - r))))^repetition + floor times up to
  keep_fraction, `floor` times beyond.

  Attributes:
    criteria: names of Q score columns.
    weights_MxQ: [M, Q] float64 >= 0, rows sum to 1.
    steepness_M: [M] float64 >= 0.
    keep_fraction_M: [M] float64 in [0, 1], a share of the domain's tokens.
    repetition_M: [M] float64 >= 0; the best are sampled at most
      2^repetition + floor times.
    floor_M: [M] float64 >= 0; what keeps the rest from vanishing.
    ranks: of the pool it was found on; None: ranks are those within any table.
  """

  criteria: tuple[str, ...]
  weights_MxQ: np.ndarray
  steepness_M: np.ndarray
  keep_fraction_M: np.ndarray
  repetition_M: np.ndarray
  floor_M: np.ndarray
  ranks: RankMap | None = None


@dataclasses.dataclass(frozen=True)
class Mixture:
  """How much of each domain training should see.

  Attributes:
    domains: M distinct names.
    share_M: [M] float64 >= 0, sum 1: of the tokens that are sampled.
    shape: which documents of a domain, by quality; None: any.
  """

  domains: tuple[str, ...]
  share_M: np.ndarray
  shape: QualityShape | None = None

  def __post_init__(self):
    check_names(self.domains)
    share = np.asarray(self.share_M, np.float64)
    if share.shape != (len(self.domains),):
      raise ValueError(
        f'{len(self.domains)} domains and shares of shape {share.shape}'
      )
    if not np.isfinite(share).all() or (share < 0).any():
      raise ValueError(f'shares must be finite and at least 0, got {share}')
    if not np.isclose(share.sum(), 1.0, atol=1e-6):
      raise ValueError(f'shares sum to {share.sum():.6f}, expected 1')


def check_names(domains: Sequence[str]) -> None:
  """Raises ValueError where there is no domain, or one occurs twice."""
  repeated = [name for name in set(domains) if list(domains).count(name) > 1]
  if not domains or repeated:
    raise ValueError(
      f'domain {sorted(repeated)[0]!r} occurs twice'
      if repeated
      else 'a mixture needs a domain'
    )


class SearchSpace(NamedTuple):
  """What a search for a mixture draws from; a candidate is F numbers.

  The mean of candidates is a candidate, and a regressor reads them as they are.

  Attributes:
    names: F names of the numbers.
    draw: (seed, P) -> [P, F] float64, candidates to train proxies on.
    propose: (seed, P) -> [P, F] float64, candidates to look up in the fitted
      regressor.
    values: [F] -> [N] float64 >= 0, in what proportion a candidate samples
      the documents of the pool.
    mixture: [F] -> the Mixture that a candidate stands for.
  """

  names: tuple[str, ...]
  draw: Callable[[int, int], Float64[np.ndarray, 'P F']]
  propose: Callable[[int, int], Float64[np.ndarray, 'P F']]
  values: Callable[[Float64[np.ndarray, ' F']], Float64[np.ndarray, ' N']]
  mixture: Callable[[Float64[np.ndarray, ' F']], Mixture]


# Trains one small model for every candidate [P, F] of a space on documents in
# proportion to its values; [P] float64 mean losses on the target, NaN where a
# model diverged.
Proxies = Callable[
  [SearchSpace, Float64[np.ndarray, 'P F']], Float64[np.ndarray, ' P']
]


# Trains a proxy on a pool whose domains have these shares [M], with weights of
# domains that follow its loss, and returns the mean of the weights [M].
LearnShares = Callable[[Float64[np.ndarray, ' M']], Float64[np.ndarray, ' M']]


class Searched(NamedTuple):
  """What a method that trains proxies returns.

  Attributes:
    mixture: the one chosen.
    diagnostics: JSON-able: how good the regressor is, and what it promised.
  """

  mixture: Mixture
  diagnostics: Mapping[str, Any]
