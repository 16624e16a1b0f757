"""What density scorers share: which documents count, and the column's form."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, UInt32

from jaxcurate.types import Batch

UNIT = '-log density'


class Sample(NamedTuple):
  """Sampled documents in the order of their id hashes, unusable ones last.

  Attributes:
    points: [C, D] float32 vectors, 0 where unusable.
    id_hash: [C, 2] uint32 (high, low).
    usable: [C] bool.
  """

  points: Float[Array, 'C D']
  id_hash: UInt32[Array, 'C 2']
  usable: Bool[Array, ' C']


def usable_points(
  features: Batch,
) -> tuple[Float[Array, 'B D'], Bool[Array, ' B']]:
  """Vectors of a batch, and which of them can be used.

  Args:
    features: 'embedding' [B, D] and 'mask' [B].

  Returns:
    [B, D] float32 with unusable rows set to 0, and [B] bool: real rows whose
    vector is finite and not zero. A zero vector is a failed embedding: it
    would be a neighbour of all others that failed.
  """
  points_BxD = jnp.asarray(features['embedding'], jnp.float32)
  finite_B = jnp.all(jnp.isfinite(points_BxD), axis=1)
  usable_B = jnp.asarray(features['mask']) & finite_B
  usable_B &= jnp.any(points_BxD != 0, axis=1)
  return jnp.where(usable_B[:, None], points_BxD, 0.0), usable_B


def sorted_sample(features: Batch) -> Sample:
  """A batch as a sample that does not depend on the order of its rows."""
  points, usable = usable_points(features)
  id_hash = jnp.asarray(features['id_hash'])
  order = jnp.lexsort((id_hash[:, 1], id_hash[:, 0], ~usable))
  return Sample(points[order], id_hash[order], usable[order])


def minus_log(
  density_B: Float[Array, ' B'],
  num_documents: UInt32[Array, ''],
  usable_B: Bool[Array, ' B'],
  features: Batch,
) -> Float[Array, ' B']:
  """-log of densities clamped to [1 / N, 1].

  A document is its own neighbour, so that no density is below 1 / N.

  Args:
    density_B: [B] estimated mean kernel values.
    num_documents: N.
    usable_B: [B] bool.
    features: for 'mask'.

  Returns:
    [B] float32 in nats, 0 .. log N; NaN for documents without a usable
    vector, 0 for masked rows.
  """
  lowest = 1 / jnp.maximum(num_documents.astype(jnp.float32), 1)
  score_B = -jnp.log(jnp.clip(density_B, lowest, 1.0))
  missing_B = jnp.where(jnp.asarray(features['mask']), jnp.nan, 0.0)
  return jnp.where(usable_B, score_B, missing_B)


def check_kernel(bandwidth: float | None, mean_kernel: float) -> None:
  """Raises ValueError for a bandwidth or a target out of its range."""
  if bandwidth is not None and not bandwidth > 0:
    raise ValueError(f'bandwidth is {bandwidth}, expected more than 0')
  if not 0 < mean_kernel < 1:
    raise ValueError(
      f'the mean kernel of random pairs is {mean_kernel}, expected in (0, 1)'
    )
