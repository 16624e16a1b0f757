"""QuaDMix: quality and domain in one sampling function per domain.

"QuaDMix: Quality-Diversity Balanced Data Selection for Efficient LLM
Pretraining" (arXiv 2504.16511). Smaller ranks are better, as in the paper.
"""

from collections.abc import Sequence
from typing import NamedTuple

from jaxtyping import Float, Float64, Int
import numpy as np

from jaxcurate.mixtures import regressors, search
from jaxcurate.ops import ids as ids_lib
from jaxcurate.ops import quality_ranks
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
    return _shaped(own, found.rank).reshape(-1)[found.cell]

  def mixture(row: np.ndarray) -> Mixture:
    own = shape_of(row, len(domains), criteria)
    value = document_values(own, table, code)
    share = np.bincount(code, value * tokens, len(domains))
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


def document_values(
  shape: QualityShape, table: ScoreTable, code: Int[np.ndarray, ' N']
) -> Float64[np.ndarray, ' N']:
  """Sampling values of documents, by their exact ranks (section 3.1).

  Args:
    shape: of M domains.
    table: N documents, with a finite score for every criterion.
    code: [N] in [0, M), the domain of each.

  Raises:
    ValueError: a score is not finite.
  """
  score = np.stack([table.scores[name] for name in shape.criteria], axis=1)
  bad = np.argwhere(~np.isfinite(score))
  if len(bad):
    row, column = bad[0]
    raise ValueError(
      f'document {table.id[row]!r} has no score in {shape.criteria[column]!r},'
      f' nor have {len(np.unique(bad[:, 0])) - 1:,} others some score; leave'
      ' them out or score them'
    )
  rank = quality_ranks.token_ranks(
    quality_ranks.merge(
      quality_ranks.percentiles(score), code, shape.weights_MxQ
    ),
    table.num_tokens.astype(np.int64),
    code,
    ids_lib.hash_ids(table.id),
  )
  return _shaped(shape, rank[:, None], code)[:, 0]


def _shaped(
  shape: QualityShape, rank: np.ndarray, code: np.ndarray | slice = slice(None)
) -> np.ndarray:
  """Sampling values of ranks [rows, any], each row of the domain `code`."""
  return sampling_value(
    rank,
    steepness=shape.steepness_M[code, None],
    keep_fraction=shape.keep_fraction_M[code, None],
    repetition=shape.repetition_M[code, None],
    floor=shape.floor_M[code, None],
  )


def sampling_value(
  rank: Float[np.ndarray, '...'],
  *,
  steepness: float | Float[np.ndarray, '...'],
  keep_fraction: float | Float[np.ndarray, '...'],
  repetition: float | Float[np.ndarray, '...'],
  floor: float | Float[np.ndarray, '...'],
) -> Float64[np.ndarray, '...']:
  """Expected copies of a document, before any scaling to a budget.

  (2 / (1 + exp(-steepness (keep_fraction - rank))))^repetition + floor up to
  keep_fraction and floor beyond (section 3.1, equation of S; repetition is an
  exponent of the whole fraction). Arguments broadcast.

  Args:
    rank: in (0, 1], share of the domain's tokens that are no worse.
    steepness: lambda >= 0.
    keep_fraction: omega in [0, 1].
    repetition: eta >= 0.
    floor: epsilon >= 0.

  Returns:
    float64, from floor + 1 at keep_fraction to at most floor + 2^repetition.

  Raises:
    ValueError: an argument is out of its range.

  >>> sampling_value(np.array([0.0, 0.5, 0.6]), steepness=1000.0,
  ...                keep_fraction=0.5, repetition=1.0, floor=0.25).tolist()
  [2.25, 1.25, 0.25]
  """
  given = {
    'steepness': (steepness, np.inf),
    'keep_fraction': (keep_fraction, 1.0),
    'repetition': (repetition, np.inf),
    'floor': (floor, np.inf),
  }
  for name, (value, highest) in given.items():
    value = np.asarray(value)
    if not ((value >= 0) & (value <= highest)).all():
      raise ValueError(
        f'{name} is {value}, expected at least 0'
        + (f' and at most {highest:g}' if highest < np.inf else '')
      )
  inside = np.asarray(keep_fraction, np.float64) - rank
  # Masked first: beyond the cut the exponent may overflow.
  above = np.exp(-np.asarray(steepness) * np.maximum(inside, 0.0))
  value = (2.0 / (1.0 + above)) ** np.asarray(repetition, np.float64)
  return np.where(inside >= 0, value, 0.0) + floor


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
