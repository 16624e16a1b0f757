"""QuaDMix: quality and domain in one sampling function per domain.

"QuaDMix: Quality-Diversity Balanced Data Selection for Efficient LLM
Pretraining" (arXiv 2504.16511). Smaller ranks are better, as in the paper.
"""

from collections.abc import Sequence
import dataclasses
from typing import NamedTuple

from jaxtyping import Float64
import numpy as np

from jaxcurate.mixtures import document_values, regressors, search
from jaxcurate.ops import quality_ranks
from jaxcurate.ops.sampling_value import sampling_value as sampling_value
from jaxcurate.types import (
  Mixture,
  Proxies,
  QualityShape,
  ScoreTable,
  Searched,
  SearchSpace,
)


def mix(
  table: ScoreTable,
  proxies: Proxies,
  *,
  seed: int,
  rounds: Sequence[int] = (3000,),
  num_proposals: int = 100_000,
  num_best: int = 10,
  regressor: regressors.Regressor = regressors.fit_lightgbm,
) -> Searched:
  """Weights of criteria and a sampling function per domain (section 3).

  Args:
    table: a domain and a finite score in every column for every document; the
      columns are the criteria.
    proxies: trains small models.
    seed: of the draws.
    rounds: proxies of each round; the paper has one, of 3,000.
    num_proposals: parameter sets that the regressor is asked about.
    num_best: of them, averaged.
    regressor: of `jaxcurate.mixtures.regressors`.

  Raises:
    ValueError: no criterion, or see `search.search`.
  """
  return search.search(
    quality_space(table),
    proxies,
    regressor,
    rounds=rounds,
    num_proposals=num_proposals,
    num_best=num_best,
    seed=seed,
  )


def quality_space(table: ScoreTable) -> SearchSpace:
  """The sampling functions of a table's domains, by its columns.

  While searching, ranks come from histograms (`quality_ranks.histogram_ranks`);
  the share of a Mixture's domains from exact ones.

  Raises:
    ValueError: no column, or a score that is not finite.
  """
  criteria = tuple(table.scores)
  if not criteria:
    raise ValueError('no score column; give the criteria with --by=a,b')
  score = np.stack([table.scores[name] for name in criteria], axis=1)
  percentile = quality_ranks.percentiles(score)
  domains, code = np.unique(table.domain.astype(str), return_inverse=True)
  tokens = table.num_tokens.astype(np.float64)

  def values(row: np.ndarray) -> np.ndarray:
    own = shape_of(row, len(domains), criteria)
    quality = quality_ranks.merge(percentile, code, own.weights_MxQ)
    found = quality_ranks.histogram_ranks(quality, tokens, code, len(domains))
    # A value per bin, not per document: bins are few.
    return document_values.shaped(own, found.rank).reshape(-1)[found.cell]

  def mixture(row: np.ndarray) -> Mixture:
    own = shape_of(row, len(domains), criteria)
    value = document_values.document_values(own, table, code)
    share = np.bincount(code, value * tokens, len(domains))
    own = dataclasses.replace(
      own, ranks=document_values.rank_map(own, table, code)
    )
    return Mixture(tuple(domains.tolist()), share / share.sum(), own)

  def draw(seed: int, num_sets: int) -> np.ndarray:
    return draw_parameters(
      seed, num_sets, len(domains), len(criteria)
    ).features()

  return SearchSpace(
    names=Draws.names(domains.tolist(), criteria),
    draw=draw,
    propose=draw,
    values=values,
    mixture=mixture,
  )


class Draws(NamedTuple):
  """Parameter sets: P of them, for M domains and Q criteria.

  Attributes:
    weights: [P, M, Q] float64, rows sum to 1.
    steepness: [P, M] float64.
    keep_fraction: [P, M] float64.
    repetition: [P, M] float64.
    floor: [P, M] float64.
  """

  weights: np.ndarray
  steepness: np.ndarray
  keep_fraction: np.ndarray
  repetition: np.ndarray
  floor: np.ndarray

  def features(self) -> Float64[np.ndarray, 'sets features']:
    """[P, (Q + 4) M], what a regressor reads."""
    num_sets = len(self.weights)
    return np.concatenate([v.reshape(num_sets, -1) for v in self], axis=1)

  @classmethod
  def of(
    cls,
    features: Float64[np.ndarray, 'sets features'],
    num_domains: int,
    num_criteria: int,
  ) -> 'Draws':
    """The sets behind the features."""
    weights, *rest = np.split(
      features, num_domains * (num_criteria + np.arange(4)), axis=1
    )
    return cls(weights.reshape(-1, num_domains, num_criteria), *rest)

  @staticmethod
  def names(domains: Sequence[str], criteria: Sequence[str]) -> tuple[str, ...]:
    """A name for each feature, such as 'books/keep_fraction'."""
    return tuple(f'{d}/weight/{c}' for d in domains for c in criteria) + tuple(
      f'{d}/{name}' for name in Draws._fields[1:] for d in domains
    )


def shape_of(
  features: Float64[np.ndarray, ' features'],
  num_domains: int,
  criteria: tuple[str, ...],
) -> QualityShape:
  """The sampling functions of one parameter set, or of the mean of some."""
  sets = Draws.of(features[None], num_domains, len(criteria))
  return QualityShape(criteria, *(values[0] for values in sets))


def draw_parameters(
  seed: int, num_sets: int, num_domains: int, num_criteria: int
) -> Draws:
  """Random parameter sets (algorithm 1 of the paper).

  A weight is the product of one uniform number of the criterion and one of
  criterion and domain, so that domains agree on what matters, but not wholly;
  steepness is uniform in [0, 1000], keep_fraction in [0, 0.1], repetition in
  [0, 1] and floor in [0, 0.001].

  Args:
    seed: >= 0; the first sets of a longer draw are those of a shorter one.
    num_sets: P.
    num_domains: M.
    num_criteria: Q.
  """
  sizes = (num_criteria, num_domains * num_criteria, *[num_domains] * 4)
  # Set by set, so that more sets never change the first ones.
  uniform = np.random.default_rng(seed).random((num_sets, sum(sizes)))
  common, own, *rest = np.split(uniform, np.cumsum(sizes)[:-1], axis=1)
  weights = common[:, None, :] * own.reshape(num_sets, num_domains, -1)
  weights /= weights.sum(axis=-1, keepdims=True)
  highest = (1e3, 0.1, 1.0, 1e-3)
  return Draws(weights, *(u * h for u, h in zip(rest, highest, strict=True)))
