"""QuaDMix's sampling function: how often a document is wanted, by its rank.

QuaDMix (arXiv 2504.16511, section 3.1). Smaller ranks are better, as there.
"""

from jaxtyping import Float, Float64
import numpy as np


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
