"""Per-example gradients of linear layers as products that are never stored.

For y = x W the gradient of example e is the sum over its tokens of x_t d_t^T,
with d the gradient of e's own loss with respect to y. A `tap` hands x and d
out of a backward pass: it does nothing to y, and the gradient with respect to
its own argument, a `Factors` of zeros, is (x, d). Scans, remat and meshes
treat that argument as any other parameter.

Gram matrices are taken layer by layer, by the cheaper of two ways, decided
from shapes: all pairs of tokens ('ghost', (x x^T) * (d d^T)), or the examples'
gradients themselves, a slice of the layer at a time, which also allows for a
preconditioner that is no outer product (Adam's).
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxcurate.ops import gram
from jaxcurate.ops.gram import Products

TAP = 'tap'  # beside the parameters whose factors are wanted


class Factors(NamedTuple):
  """What a tap hands out.

  Attributes:
    inputs: x, or None where the parameter has no input (a bias).
    cotangents: d, shaped like y.
  """

  inputs: Any
  cotangents: Any


@jax.custom_vjp
def tap(y: Array, x: Array | None, factors: Factors) -> Array:
  """y, and (x, dy) as the gradient with respect to `factors`.

  >>> zeros = Factors(jnp.zeros(2), jnp.zeros(2))
  >>> x = jnp.array([1.0, 2.0])
  >>> jax.grad(lambda f: jnp.sum(tap(3 * x, x, f) ** 2))(zeros).cotangents
  Array([ 6., 12.], dtype=float32)
  """
  del x, factors
  return y


def _forward(y: Array, x: Array | None, factors: Factors) -> tuple:
  del factors
  return y, x


def _backward(x: Array | None, dy: Array) -> tuple:
  zeros = None if x is None else jnp.zeros_like(x)
  return dy, zeros, Factors(x, dy)


tap.defvjp(_forward, _backward)


@flax.struct.dataclass
class Matrix:
  """Factors of a kernel [I, O], rows by tokens, or of a stack of them.

  Attributes:
    inputs: [B, T, I] or [layers, B, T, I].
    cotangents: [B, T, O] or [layers, B, T, O]; 0 on padding.
    members: [B, T, S] bool, which token is of which segment.
    slice_floats: see `gram.SLICE`.
  """

  inputs: jax.Array
  cotangents: jax.Array
  members: jax.Array
  slice_floats: int = flax.struct.field(pytree_node=False, default=gram.SLICE)

  def products(
    self, scale: Array | None, directions: Sequence[Array]
  ) -> Products:
    """See `Products`; scale and directions are shaped like the kernel."""
    if self.inputs.ndim == 3:
      return self._of_one(scale, directions)

    def body(total: Products, layer: tuple) -> tuple[Products, None]:
      inputs, cotangents, scale, directions = layer
      own = self.replace(inputs=inputs, cotangents=cotangents)  # pyright: ignore[reportAttributeAccessIssue]
      return gram.add(total, own._of_one(scale, directions)), None

    layers = (self.inputs, self.cotangents, scale, tuple(directions))
    zero = gram.nothing(self.members, len(directions))
    return jax.lax.scan(body, zero, layers)[0]

  def weighted_sum(self, weights_E: Float[Array, ' E']) -> Array:
    """sum_e w_e g_e, float32, shaped like the kernel."""
    weights_BxT = on_tokens(weights_E, self.members)
    weighted = self.cotangents * weights_BxT[..., None]
    rows, columns = (
      a.reshape(*a.shape[:-3], -1, a.shape[-1])
      for a in (self.inputs, weighted.astype(self.cotangents.dtype))
    )
    return jnp.einsum(
      '...ni,...no->...io', rows, columns, preferred_element_type=jnp.float32
    )

  def take(self, rows: Array) -> 'Matrix':
    """The same of chosen rows, [B'] int."""
    return Matrix(
      jnp.take(self.inputs, rows, axis=-3),
      jnp.take(self.cotangents, rows, axis=-3),
      self.members[rows],
    )

  def joined(self) -> 'Matrix':
    """Of parts [A, ...] of a batch, the whole."""
    axis = self.inputs.ndim - 4  # of the rows, once A is gone
    return Matrix(
      interleave(self.inputs, axis),
      interleave(self.cotangents, axis),
      interleave(self.members, 0),
    )

  def _of_one(
    self, scale: Array | None, directions: Sequence[Array]
  ) -> Products:
    B, T, S = self.members.shape
    rows, columns = self.inputs.shape[-1], self.cotangents.shape[-1]
    if scale is None and ghost_pays(B, T, S, rows, columns):
      return self._ghost(directions)
    width = gram.slice_width(B * S * rows, columns, self.slice_floats)

    def piece(start: Array) -> tuple[Array, Callable[[Array], Array]]:
      def cut(values: Array) -> Array:
        if width == columns:
          return values
        return jax.lax.dynamic_slice_in_dim(values, start, width, axis=-1)

      gradients = per_example(self.inputs, cut(self.cotangents), self.members)
      return gradients, lambda leaf: cut(leaf).reshape(-1)

    return gram.over_slices(piece, width, columns, scale, directions)

  def _ghost(self, directions: Sequence[Array]) -> Products:
    B, T, S = self.members.shape
    flat = [a.reshape(B * T, -1) for a in (self.inputs, self.cotangents)]

    def row(x_TxI: Array, d_TxO: Array, own_TxS: Array) -> Array:
      pairs_TxN = gram.matmul(x_TxI, flat[0].T) * gram.matmul(d_TxO, flat[1].T)
      own_SxBxT = gram.matmul(own_TxS.T, pairs_TxN).reshape(S, B, T)
      return jnp.einsum(
        'sbt,btu->sbu', own_SxBxT, members, precision=gram.EXACT
      )

    members = self.members.astype(jnp.float32)
    products = jax.lax.map(
      lambda own: row(*own), (self.inputs, self.cotangents, members)
    )
    dots = gram.nothing(self.members, len(directions)).dots
    for index, q in enumerate(directions):
      of_token = jnp.sum(gram.matmul(flat[0], q) * flat[1], -1).reshape(B, T)
      own = jnp.einsum('bt,bts->bs', of_token, members, precision=gram.EXACT)
      dots = dots.at[index].set(own.reshape(-1))
    return Products(products.reshape(B * S, B * S), dots)


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


def interleave(parts: Array, axis: int) -> Array:
  """Rows of A parts as those of the batch: row i of part a is row i A + a.

  Args:
    parts: [A, ...], with the rows at `axis` of what follows A.
    axis: of the rows in the result.

  >>> interleave(jnp.array([[0, 2], [1, 3]]), 0).tolist()
  [0, 1, 2, 3]
  """
  side_by_side = jnp.moveaxis(parts, 0, axis + 1)
  shape = side_by_side.shape
  return side_by_side.reshape(*shape[:axis], -1, *shape[axis + 2 :])


def on_tokens(weights_E: Array, members_BxTxS: Array) -> Float[Array, 'B T']:
  """Every token's weight: that of its segment, 0 on padding."""
  B, _, S = members_BxTxS.shape
  weights_Bx1xS = weights_E.reshape(B, 1, S)
  return jnp.sum(jnp.where(members_BxTxS, weights_Bx1xS, 0.0), axis=-1)


def per_example(x_BxTxI: Array, d_BxTxO: Array, members_BxTxS: Array) -> Array:
  """[E, I * O] float32: every segment's sum of x_t d_t^T."""
  B, _, S = members_BxTxS.shape
  if S == 1:  # padding has cotangent 0
    gradients = jnp.einsum(
      'bti,bto->bio', x_BxTxI, d_BxTxO, preferred_element_type=jnp.float32
    )
    return gradients.reshape(B, -1)
  own_BxTxSxI = jnp.where(members_BxTxS[..., None], x_BxTxI[:, :, None], 0)
  gradients = jnp.einsum(
    'btsi,bto->bsio', own_BxTxSxI, d_BxTxO, preferred_element_type=jnp.float32
  )
  return gradients.reshape(B * S, -1)


def ghost_pays(B: int, T: int, S: int, rows: int, columns: int) -> bool:
  """Whether all pairs of tokens cost fewer multiply-adds than the gradients.

  >>> ghost_pays(32, 16, 1, 4096, 4096), ghost_pays(32, 512, 1, 4096, 4096)
  (True, False)
  """
  ghost = (B * T) ** 2 * (rows + columns)
  materialised = (S * B * T + (B * S) ** 2) * rows * columns
  return ghost < materialised
