"""QuaDMix: quality and domain in one sampling function per domain.

"QuaDMix: Quality-Diversity Balanced Data Selection for Efficient LLM
Pretraining" (arXiv 2504.16511). Smaller ranks are better, as in the paper.
"""

from typing import NamedTuple

from jaxtyping import Float, Float64
import numpy as np

from jaxcurate.types import QualityShape


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

  def mean(self, rows: np.ndarray, criteria: tuple[str, ...]) -> QualityShape:
    """The mean of some of the sets: weights still sum to 1."""
    return QualityShape(criteria, *(v[rows].mean(axis=0) for v in self))


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
