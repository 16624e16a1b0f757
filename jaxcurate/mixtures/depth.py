"""How deep into the ranks of each domain a budget reaches.

QuaDMix's parameters fix how much text is sampled (arXiv 2504.16511 does not say
how its larger budgets were met). Here a domain that has to give more than that
keeps documents of lower ranks too, and one that has to give less fewer: its
`keep_fraction` moves, and how often a document is repeated does not.
"""

import dataclasses

from jaxtyping import Float64, Int
import numpy as np

from jaxcurate.mixtures import document_values
from jaxcurate.ops import quality_ranks
from jaxcurate.types import QualityShape

_HALVINGS = 40


def reaching(
  shape: QualityShape,
  rank: Float64[np.ndarray, ' N'],
  num_tokens: Int[np.ndarray, ' N'],
  code: Int[np.ndarray, ' N'],
  wanted_M: Float64[np.ndarray, ' M'],
) -> QualityShape:
  """The shape whose domains sample about as many tokens as are wanted.

  Args:
    shape: of M domains.
    rank: [N] in [0, 1], 0 best.
    num_tokens: [N].
    code: [N] in [0, M).
    wanted_M: [M] >= 0 tokens.

  Returns:
    The same but for keep_fraction_M, 0 where the floor alone gives enough and 1
    where all of the domain does not; as near as ranks in 4,096 bins tell.
  """
  bins = quality_ranks.NUM_BINS
  cell = np.minimum((rank * bins).astype(np.int64), bins - 1) + code * bins
  tokens_MxB = np.bincount(cell, num_tokens, len(wanted_M) * bins).reshape(
    -1, bins
  )
  # Ends of bins, or a cut inside the last one would miss rank 1.
  end_MxB = np.broadcast_to(np.arange(1, bins + 1) / bins, tokens_MxB.shape)
  low, high = np.zeros(len(wanted_M)), np.ones(len(wanted_M))
  for _ in range(_HALVINGS):
    half = (low + high) / 2
    trial = dataclasses.replace(shape, keep_fraction_M=half)
    value_MxB = document_values.shaped(trial, end_MxB)
    enough = (value_MxB * tokens_MxB).sum(axis=1) >= wanted_M
    low, high = np.where(enough, low, half), np.where(enough, half, high)
  # Those whose own fraction gives as much keep it to the last digit.
  value = document_values.shaped(shape, rank[:, None], code)[:, 0]
  own = np.bincount(code, value * num_tokens, len(wanted_M))
  near = np.abs(own - wanted_M) <= 1e-3 * wanted_M
  return dataclasses.replace(
    shape, keep_fraction_M=np.where(near, shape.keep_fraction_M, high)
  )
