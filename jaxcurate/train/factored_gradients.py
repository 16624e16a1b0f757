"""Gradients of a batch's examples as products of factors, per parameter."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flax import traverse_util
import flax.struct
import jax
import jax.numpy as jnp

from jaxcurate.ops import gram
from jaxcurate.types import Params


@flax.struct.dataclass
class FactoredGradients:
  """`types.ExampleGradients` of E examples.

  Attributes:
    parts: path of a parameter, with slashes -> its factors.
    unit: [] float32: what the gradients of the examples' summed losses are
      multiplied by, so that their mean is the step's gradient.
  """

  parts: Mapping[str, Any]
  unit: jax.Array

  def products(
    self, directions: Sequence[Params], scale: Params | None = None
  ) -> gram.Products:
    """The Gram matrix and inner products with directions in one go."""
    scales = None if scale is None else flat(scale)
    ways = [flat(direction) for direction in directions]
    found = [
      part.products(
        None if scales is None else scales[name], [way[name] for way in ways]
      )
      for name, part in self.parts.items()
    ]
    total = jax.tree.map(lambda *leaves: sum(leaves[1:], leaves[0]), *found)
    return gram.Products(total.gram * self.unit**2, total.dots * self.unit)

  def dot(self, direction: Params) -> jax.Array:
    """[E] float32, <g_e, direction>."""
    return self.products([direction]).dots[0]

  def gram(self, scale: Params | None = None) -> jax.Array:
    """[E, E] float32, <g_i, scale * g_j>; None: all ones."""
    return self.products([], scale).gram

  def weighted_sum(self, weights_E: jax.Array) -> Params:
    """The gradient of the weighted sum of the examples' losses, float32."""
    sums = {
      name: part.weighted_sum(weights_E) for name, part in self.parts.items()
    }
    return traverse_util.unflatten_dict(sums, sep='/')


def weighted_gradient(
  gradients: FactoredGradients,
  weights_E: jax.Array,
  max_segments: int,
  most_kept: Callable[[int], int] | None,
) -> Params:
  """The gradient of the weighted sum of the examples' losses, float32.

  Args:
    gradients: of the examples.
    weights_E: their weights.
    max_segments: S, examples per row; with 1 the rows without weight are left
      out of the products.
    most_kept: see `types.Weighting`.
  """
  size = len(weights_E) if most_kept is None else most_kept(len(weights_E))
  if max_segments > 1 or size >= len(weights_E):
    return gradients.weighted_sum(weights_E)

  def of_kept(weights_E: jax.Array) -> Params:
    kept, rows = jax.lax.top_k(weights_E, size)
    parts = {k: part.take(rows) for k, part in gradients.parts.items()}
    return FactoredGradients(parts, gradients.unit).weighted_sum(kept)

  few = jnp.sum(weights_E > 0) <= size
  return jax.lax.cond(few, of_kept, gradients.weighted_sum, weights_E)


def flat(params: Params) -> dict[str, Any]:
  """Path with slashes -> leaf."""
  return traverse_util.flatten_dict(params, sep='/')
