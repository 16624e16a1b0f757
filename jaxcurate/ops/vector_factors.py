"""Per-example gradients of what is no matrix: small enough to be held."""

from collections.abc import Sequence

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxcurate.ops import gram
from jaxcurate.ops.factors import interleave
from jaxcurate.ops.gram import Products


@flax.struct.dataclass
class Vector:
  """Gradients of a scale or a bias, held: E of them are small.

  Attributes:
    gradients: [B, S, ...] or [layers, B, S, ...] float32.
    stacked: True for the second.
  """

  gradients: jax.Array
  stacked: bool = flax.struct.field(pytree_node=False, default=False)

  def products(
    self, scale: Array | None, directions: Sequence[Array]
  ) -> Products:
    """See `Products`; scale and directions are shaped like the parameter."""
    rows = self._rows()
    flat = rows.reshape(len(rows), -1)
    return gram.flat_products(
      flat,
      None if scale is None else scale.reshape(-1),
      [q.reshape(-1) for q in directions],
    )

  def weighted_sum(self, weights_E: Float[Array, ' E']) -> Array:
    """sum_e w_e g_e."""
    return jnp.einsum(
      'e,e...->...', weights_E, self._rows(), precision=gram.EXACT
    )

  def take(self, rows: Array) -> 'Vector':
    """The same of chosen rows, [B'] int."""
    axis = 1 if self.stacked else 0
    return Vector(jnp.take(self.gradients, rows, axis), self.stacked)

  def joined(self) -> 'Vector':
    """Of parts [A, ...] of a batch, the whole."""
    axis = 1 if self.stacked else 0
    return Vector(interleave(self.gradients, axis), self.stacked)

  def _rows(self) -> Array:
    values = self.gradients
    if self.stacked:
      values = jnp.moveaxis(values, 0, 2)
    return values.reshape(-1, *values.shape[2:])
