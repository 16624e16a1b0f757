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

from jaxcurate.ops import approximate_gram, gram
from jaxcurate.ops.approximate_gram import EXACT, Approximation
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
    seed: [] or [layers] int32, of a random projection; None without one.
    slice_floats: see `gram.SLICE`.
    approximation: of the Gram matrix; all else stays exact.
  """

  inputs: jax.Array
  cotangents: jax.Array
  members: jax.Array
  seed: jax.Array | None = None
  slice_floats: int = flax.struct.field(pytree_node=False, default=gram.SLICE)
  approximation: Approximation = flax.struct.field(
    pytree_node=False, default=EXACT
  )

  def products(
    self, scale: Array | None, directions: Sequence[Array]
  ) -> Products:
    """See `Products`; scale and directions are shaped like the kernel."""
    if self.inputs.ndim == 3:
      return self._of_one(scale, directions)

    def body(total: Products, layer: tuple) -> tuple[Products, None]:
      inputs, cotangents, seed, scale, directions = layer
      own = self._with(inputs, cotangents, seed=seed)
      return gram.add(total, own._of_one(scale, directions)), None

    layers = (
      self.inputs, self.cotangents, self.seed, scale, tuple(directions)
    )  # fmt: skip
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
    return self._with(
      jnp.take(self.inputs, rows, axis=-3),
      jnp.take(self.cotangents, rows, axis=-3),
      members=self.members[rows],
    )

  def joined(self) -> 'Matrix':
    """Of parts [A, ...] of a batch, the whole."""
    axis = self.inputs.ndim - 4  # of the rows, once A is gone
    return self._with(
      interleave(self.inputs, axis),
      interleave(self.cotangents, axis),
      members=interleave(self.members, 0),
      seed=None if self.seed is None else self.seed[0],
    )

  def _with(self, inputs: Array, cotangents: Array, **fields: Any) -> 'Matrix':
    return self.replace(inputs=inputs, cotangents=cotangents, **fields)  # pyright: ignore[reportAttributeAccessIssue]

  def _of_one(
    self, scale: Array | None, directions: Sequence[Array]
  ) -> Products:
    if self.approximation != EXACT:
      return self._approximate(scale, directions)
    B, T, S = self.members.shape
    rows, columns = self.inputs.shape[-1], self.cotangents.shape[-1]
    if scale is None and ghost_pays(B, T, S, rows, columns):
      return self.pairs_of_tokens(directions)
    width = gram.slice_width(B * S * rows, columns, self.slice_floats)

    def piece(start: Array) -> tuple[Array, Callable[[Array], Array]]:
      def cut(values: Array) -> Array:
        if width == columns:
          return values
        return jax.lax.dynamic_slice_in_dim(values, start, width, axis=-1)

      gradients = per_example(self.inputs, cut(self.cotangents), self.members)
      return gradients, lambda leaf: cut(leaf).reshape(-1)

    return gram.over_slices(piece, width, columns, scale, directions)

  def pairs_of_tokens(self, directions: Sequence[Array]) -> Products:
    """`products` without a scale by the pairs of tokens alone ('ghost')."""
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
    return Products(products.reshape(B * S, B * S), self._dots(directions))

  def _dots(self, directions: Sequence[Array]) -> Array:
    """[K, E]: sum_t x_t^T q d_t of each example's tokens."""
    B, T, _ = self.members.shape
    flat = [a.reshape(B * T, -1) for a in (self.inputs, self.cotangents)]
    dots = gram.nothing(self.members, len(directions)).dots
    for index, q in enumerate(directions):
      of_token = jnp.sum(gram.matmul(flat[0], q) * flat[1], -1).reshape(B, T)
      own = jnp.einsum(
        'bt,bts->bs',
        of_token,
        self.members.astype(jnp.float32),
        precision=gram.EXACT,
      )
      dots = dots.at[index].set(own.reshape(-1))
    return dots

  def _approximate(
    self, scale: Array | None, directions: Sequence[Array]
  ) -> Products:
    x, d = self.inputs, self.cotangents
    size = self.approximation.projection
    if scale is not None and self.approximation.rank_one:
      row, column = approximate_gram.rank_one(scale)
      x, d, scale = x * jnp.sqrt(row), d * jnp.sqrt(column), None
    if size is not None:
      if scale is not None:
        raise ValueError(
          'a random projection cannot carry a preconditioner that is no outer'
          ' product; set rank_one = True too, or projection = None'
        )
      assert self.seed is not None
      x, d = approximate_gram.project(x, d, size, self.seed)
    near = self._with(x, d, approximation=EXACT)
    return Products(near._of_one(scale, ()).gram, self._dots(directions))


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
