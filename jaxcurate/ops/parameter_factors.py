"""What the factors of a layer's parameter are, by the parameter's name.

`tap` hands factors out of a backward pass; `probe` uses them up where they
are: it does nothing to y, and the gradient with respect to its zeros is the
parameter's share of the products, so no factor outlives its layer's place in
the backward pass. Scans add up, or stack, such gradients as any other.
"""

from collections.abc import Callable, Sequence
import functools
from typing import Any
import zlib

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxcurate.ops import gram
from jaxcurate.ops.approximate_gram import EXACT, Approximation
from jaxcurate.ops.factors import Factors, Matrix
from jaxcurate.ops.vector_factors import Vector


@flax.struct.dataclass
class Probe:
  """What is laid beside a parameter whose products are wanted.

  Attributes:
    sums: zeros; their gradient is the products.
    members: [B, T, S] bool, which token is of which segment.
    scale: shaped like the parameter, or None for ones.
    directions: K arrays shaped like the parameter.
    seed: [] int32, see `factors.Matrix`.
    approximation: of the Gram matrix.
  """

  sums: Any  # Any: JAX builds trees of other things in passing
  members: Any
  scale: Any
  directions: Any
  seed: Any = None
  approximation: Approximation = flax.struct.field(
    pytree_node=False, default=EXACT
  )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def probe(name: str, y: Array, x: Array | None, own: Probe) -> Array:
  """y, and the products of the parameter `name` as the gradient of `own`.

  >>> own = Probe(gram.Products(jnp.zeros((1, 1)), jnp.zeros((0, 1))),
  ...             jnp.ones((1, 1, 1), bool), None, ())
  >>> x, kernel = jnp.array([[1.0, 2.0]]), jnp.array([[3.0], [0.0]])
  >>> def loss(sums):
  ...   return jnp.sum(probe('kernel', x @ kernel, x, own.replace(sums=sums)))
  >>> float(jax.grad(loss)(own.sums).gram[0, 0])  # |(1, 2)|^2
  5.0
  """
  del name, x, own
  return y


def _forward(name: str, y: Array, x: Array | None, own: Probe) -> tuple:
  del name
  return y, (x, own.replace(sums=None))  # pyright: ignore[reportAttributeAccessIssue]


def _backward(name: str, saved: tuple, dy: Array) -> tuple:
  x, own = saved
  part = part_of(
    name,
    Factors(x, dy),
    own.members,
    seed=own.seed,
    approximation=own.approximation,
  )
  if isinstance(part, Matrix):
    part = part.replace(slice_floats=gram.SMALL_SLICE)  # pyright: ignore[reportAttributeAccessIssue]
  sums = part.products(own.scale, own.directions)
  return dy, None, own.replace(
    sums=sums, members=None, scale=None, directions=None, seed=None
  )  # fmt: skip


probe.defvjp(_forward, _backward)


def part_of(
  name: str,
  own: Factors,
  members: Array,
  *,
  stacked: bool = False,
  seed: Array | None = None,
  approximation: Approximation = EXACT,
) -> Matrix | Vector:
  """The gradients of a parameter as products.

  Args:
    name: of the parameter, without its path.
    own: its factors.
    members: [B, T, S] bool, which token is of which segment.
    stacked: whether layers are a leading axis of the factors.
    seed: see `factors.Matrix`.
    approximation: of the Gram matrix of a matrix.

  Raises:
    ValueError: there is no rule for such a parameter.
  """
  B, T, _ = members.shape
  lead = own.cotangents.shape[:1] if stacked else ()

  def by_row(values: Array) -> Array:
    return values.reshape(*lead, B, T, -1)

  match name:
    case 'kernel' | 'lora_a' | 'lora_b':
      return Matrix(
        by_row(own.inputs),
        by_row(own.cotangents),
        members,
        seed=seed,
        approximation=approximation,
      )
    case 'scale' | 'bias':
      return Vector(_of_segments(own, members, by_row), stacked)
    case 'rel_embedding':  # [B, H, L, L] of pairs, [L, L, buckets]
      of_segment = jnp.einsum(
        'bhqk,qkn,bqs->bshn',
        own.cotangents,
        own.inputs,
        members.astype(jnp.float32),
        precision=gram.EXACT,
        optimize='optimal',
      )
      return Vector(of_segment)
  raise ValueError(f'{name}: no rule for per-example gradients')


def seed_of(
  path: Sequence[str], approximation: Approximation, layers: int | None
) -> Array | None:
  """Of a parameter's random projection, another for each layer; or None.

  Args:
    path: of the parameter.
    approximation: whether there is a projection.
    layers: of a stack; None: there is no such axis.
  """
  if approximation.projection is None:
    return None
  own = zlib.crc32('/'.join(path).encode()) >> 8
  return jnp.int32(own) + (0 if layers is None else jnp.arange(layers))


def _of_segments(
  own: Factors, members: Array, by_row: Callable[[Array], Array]
) -> Array:
  """[..., B, S, D] float32 of a scale, or of a bias, that has no input."""
  gradient = own.cotangents.astype(jnp.float32)
  if own.inputs is not None:
    gradient = gradient * own.inputs
  width = gradient.shape[-1]  # a norm of heads has one scale for all
  gradient = by_row(gradient)
  gradient = gradient.reshape(*gradient.shape[:-1], -1, width).sum(-2)
  return jnp.einsum(
    '...btd,bts->...bsd',
    gradient,
    members.astype(jnp.float32),
    precision=gram.EXACT,
  )
