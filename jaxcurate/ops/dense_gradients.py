"""Per-example gradients held one by one: exact for every network, and large.

The plain way, `vmap` of `grad`: E times the memory of the parameters. It is
what adapters (LoRA) can afford, and what factorised gradients are held to.
"""

from collections.abc import Sequence

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxcurate.types import Params


@flax.struct.dataclass
class DenseGradients:
  """`types.ExampleGradients` of E examples.

  Attributes:
    gradients: params-shaped pytree with a leading axis E.
  """

  gradients: Params

  def dot(self, direction: Params) -> Float[Array, ' E']:
    """[E] float32, <g_e, direction>."""
    products = jax.tree.map(
      lambda g, d: jnp.einsum('e...,...->e', g, d, precision='highest'),
      self.gradients,
      direction,
    )
    return jax.tree.reduce(jnp.add, products)

  def gram(self, scale: Params | None = None) -> Float[Array, 'E E']:
    """[E, E] float32, <g_i, scale * g_j>; None: all ones."""
    right = self.gradients
    if scale is not None:
      right = jax.tree.map(jnp.multiply, right, scale)
    products = jax.tree.map(
      lambda g, h: jnp.einsum('i...,j...->ij', g, h, precision='highest'),
      self.gradients,
      right,
    )
    return jax.tree.reduce(jnp.add, products)

  def products(
    self, directions: Sequence[Params], scale: Params | None = None
  ) -> tuple[Float[Array, 'E E'], Float[Array, 'K E']]:
    """(gram(scale); [K, E], dot of each direction)."""
    gram = self.gram(scale)
    dots = [self.dot(direction) for direction in directions]
    return gram, jnp.stack(dots) if dots else jnp.zeros((0, len(gram)))
