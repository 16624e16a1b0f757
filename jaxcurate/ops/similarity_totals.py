"""How similar the examples of each domain were to anchors, added up over steps.

The sums live on the device in a weighting's state['totals'] and never go back
to zero; what happened between two steps is the difference of two readings.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
import numpy as np

NUM_BINS = 20  # of the histogram of similarities, each 0.1 wide


def zeros(num_domains: int) -> dict[str, Array]:
  """Totals of no example.

  Args:
    num_domains: M >= 1, those that have a name and one more; 1 keeps all
      together.

  Returns:
    'weight_M' [M] float32, summed weights; 'similarity_MxK' [M, 20] uint32, how
    many examples have a similarity in [-1, -0.9), ..., [0.9, 1].
  """
  return {
    'weight_M': jnp.zeros(num_domains),
    'similarity_MxK': jnp.zeros((num_domains, NUM_BINS), jnp.uint32),
  }


def of_batch(
  weights_E: Float[Array, ' E'],
  similarity_E: Float[Array, ' E'],
  mask_E: Bool[Array, ' E'],
  domain_E: Int[Array, ' E'],
  num_domains: int,
) -> dict[str, Array]:
  """What a batch adds to the totals.

  Args:
    weights_E: [E] float32, 0 where masked.
    similarity_E: [E] float32 in [-1, 1].
    mask_E: [E] bool.
    domain_E: [E] int, codes of domains; -1, of none, is the last of M.
    num_domains: M >= 1.

  Returns:
    'weight_M' [M] float32, summed weights; 'similarity_MxK' [M, 20] uint32, how
    many examples have a similarity in [-1, -0.9), ..., [0.9, 1].
  """
  place_E = jnp.floor((similarity_E + 1) / 2 * NUM_BINS)
  place_E = jnp.clip(place_E, 0, NUM_BINS - 1).astype(jnp.int32)
  in_domain_ExM = (domain_E % num_domains)[:, None] == jnp.arange(num_domains)
  in_domain_ExM = in_domain_ExM & mask_E[:, None]
  in_bin_ExK = place_E[:, None] == jnp.arange(NUM_BINS)
  # A product of ones and zeros is exact in any precision that adds in float32.
  count_MxK = jnp.einsum(
    'em,ek->mk',
    in_domain_ExM.astype(jnp.float32),
    in_bin_ExK.astype(jnp.float32),
  )
  return {
    'weight_M': jnp.sum(
      jnp.where(in_domain_ExM, weights_E[:, None], 0.0), axis=0
    ),
    'similarity_MxK': count_MxK.astype(jnp.uint32),
  }


def between(
  before: Mapping[str, Any], after: Mapping[str, Any], domains: Sequence[str]
) -> dict[str, float]:
  """What was added from one reading of the totals to another, for a log.

  Args:
    before: totals, as NumPy arrays.
    after: those of a later step; counts may have passed 2**32 once.
    domains: names of the first M - 1 domains; any, where M is 1.

  Returns:
    'effective_proportion', the mean weight, and 'similarity_hist/00' to '/19',
    counts, over all examples; where M is above 1 also of each domain that has
    examples, under 'effective_proportion/NAME' and 'similarity_hist/NAME/00';
    '-' names those of no domain.
  """
  # Unsigned subtraction wraps around as the counts do.
  count_MxK = np.subtract(after['similarity_MxK'], before['similarity_MxK'])
  count_MxK = count_MxK.astype(np.float64)
  weight_M = np.subtract(after['weight_M'], before['weight_M'], dtype=float)
  parts = [('', count_MxK.sum(axis=0), weight_M.sum())]
  if len(weight_M) > 1:
    names = [f'/{name}' for name in (*domains, '-')]
    parts += zip(names, count_MxK, weight_M, strict=True)
  log = {}
  for name, count_K, weight in parts:
    if count_K.any():
      log[f'effective_proportion{name}'] = float(weight / count_K.sum())
      for i, count in enumerate(count_K):
        log[f'similarity_hist{name}/{i:02d}'] = float(count)
  return log
