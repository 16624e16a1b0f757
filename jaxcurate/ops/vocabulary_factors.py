"""Per-example gradients of what is as long as the vocabulary.

An embedding's gradient is non-zero in the rows of the tokens that occur; an
output matrix's is dense, and its cotangents are never held for all of the
vocabulary: a slice of it has its logits computed again.
"""

from collections.abc import Callable, Sequence

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxcurate.ops import gram, xent
from jaxcurate.ops.factors import interleave, on_tokens, per_example
from jaxcurate.ops.gram import Products

_LANES = 128


@flax.struct.dataclass
class Lookups:
  """Factors of a table [V, D] from which rows are looked up.

  Attributes:
    tokens: [B, L] int32.
    cotangents: [B, L, D]; 0 on padding.
    members: [B, L, S] bool, which token is of which segment.
    vocab_size: V.
    slice_floats: see `gram.SLICE`.
  """

  tokens: jax.Array
  cotangents: jax.Array
  members: jax.Array
  vocab_size: int = flax.struct.field(pytree_node=False)
  slice_floats: int = flax.struct.field(pytree_node=False, default=gram.SLICE)

  def products(
    self, scale: Array | None, directions: Sequence[Array]
  ) -> Products:
    """See `Products`; scale and directions are shaped like the table."""
    B, _, S = self.members.shape
    # Rows of the batch's distinct tokens stand for the table.
    size = min(self.tokens.size, self.vocab_size)
    size = -(-size // _LANES) * _LANES
    distinct, place = jnp.unique(
      self.tokens, return_inverse=True, size=size, fill_value=0
    )
    short = self.replace(  # pyright: ignore[reportAttributeAccessIssue]
      tokens=place.reshape(self.tokens.shape).astype(jnp.int32),
      vocab_size=size,
    )
    width = gram.slice_width(
      B * S * self.cotangents.shape[-1], size, self.slice_floats
    )

    def piece(start: Array) -> tuple[Array, Callable[[Array], Array]]:
      rows = jax.lax.dynamic_slice_in_dim(distinct, start, width)
      return short.slice(start, width), lambda leaf: leaf[rows].reshape(-1)

    return gram.over_slices(piece, width, size, scale, directions)

  def slice(self, start: Array, width: int) -> Float[Array, 'E F']:
    """Examples' gradients of `width` rows of the table, [E, width * D]."""
    B, _, S = self.members.shape
    D = self.cotangents.shape[-1]
    segment = jnp.argmax(self.members, axis=-1)
    example = jnp.arange(B)[:, None] * S + segment
    row = self.tokens - start
    row = jnp.where((row >= 0) & (row < width), row, width)  # dropped
    empty = jnp.zeros((B * S, width, D), jnp.float32)
    added = empty.at[example, row].add(
      self.cotangents.astype(jnp.float32), mode='drop'
    )
    return added.reshape(B * S, -1)

  def weighted_sum(self, weights_E: Float[Array, ' E']) -> Array:
    """sum_e w_e g_e, [V, D] float32."""
    D = self.cotangents.shape[-1]
    weights_BxL = on_tokens(weights_E, self.members)
    weighted = self.cotangents.astype(jnp.float32) * weights_BxL[..., None]
    empty = jnp.zeros((self.vocab_size, D), jnp.float32)
    return empty.at[self.tokens.reshape(-1)].add(weighted.reshape(-1, D))

  def joined(self) -> 'Lookups':
    """Of parts [A, ...] of a batch, the whole."""
    return Lookups(
      interleave(self.tokens, 0),
      interleave(self.cotangents, 0),
      interleave(self.members, 0),
      self.vocab_size,
    )

  def take(self, rows: Array) -> 'Lookups':
    """The same of chosen rows, [B'] int."""
    return Lookups(
      self.tokens[rows],
      self.cotangents[rows],
      self.members[rows],
      self.vocab_size,
    )


@flax.struct.dataclass
class Head:
  """Factors of the output matrix: states, and cotangents by recomputation.

  The loss of a target is share * (nll + z_loss * log_normaliser^2).

  Attributes:
    states: [B, T, D].
    head: [D, V] as it is applied.
    targets: [B, T] int.
    share: [B, T] float32, 0 on padding.
    log_normaliser: [B, T] float32.
    members: [B, T, S] bool.
    lookups: of the same parameter, which is then [V, D]; or None.
    z_loss: factor of the squared log normaliser.
    tied: whether the parameter is [V, D].
    chunk_tokens: tokens whose logits are held at a time, None = all.
    slice_floats: see `gram.SLICE`.
  """

  states: jax.Array
  head: jax.Array
  targets: jax.Array
  share: jax.Array
  log_normaliser: jax.Array
  members: jax.Array
  lookups: Lookups | None
  z_loss: float = flax.struct.field(pytree_node=False)
  tied: bool = flax.struct.field(pytree_node=False)
  chunk_tokens: int | None = flax.struct.field(pytree_node=False)
  slice_floats: int = flax.struct.field(pytree_node=False, default=gram.SLICE)

  def products(
    self, scale: Array | None, directions: Sequence[Array]
  ) -> Products:
    """See `Products`; scale and directions are shaped like the parameter."""
    B, T, S = self.members.shape
    D, V = self.head.shape
    # Slices of all examples' gradients and of all tokens' logits.
    width = gram.slice_width(max(B * S * D, B * T), V, self.slice_floats)
    axis = 0 if self.tied else 1

    def piece(start: Array) -> tuple[Array, Callable[[Array], Array]]:
      def cut(leaf: Array, axis: int = axis) -> Array:
        return jax.lax.dynamic_slice_in_dim(leaf, start, width, axis)

      cotangents = self._cotangents(cut(self.head, 1), start)
      if not self.tied:
        gradients = per_example(self.states, cotangents, self.members)
      else:
        gradients = per_example(cotangents, self.states, self.members)
      if self.lookups is not None:
        gradients = gradients + self.lookups.slice(start, width)
      return gradients, lambda leaf: cut(leaf).reshape(-1)

    return gram.over_slices(piece, width, V, scale, directions)

  def weighted_sum(self, weights_E: Float[Array, ' E']) -> Array:
    """sum_e w_e g_e, float32, shaped like the parameter."""
    weights_BxT = on_tokens(weights_E, self.members)

    def loss(head: Array) -> Array:
      log_prob, log_normaliser = xent.token_log_prob(
        self.states, head, self.targets, chunk_tokens=self.chunk_tokens
      )
      value = -log_prob + self.z_loss * log_normaliser**2
      weights = self.share * weights_BxT
      return jnp.sum(jnp.where(weights > 0, weights * value, 0.0))

    total = jax.grad(loss)(self.head.astype(jnp.float32))
    total = total.T if self.tied else total
    if self.lookups is not None:
      total = total + self.lookups.weighted_sum(weights_E)
    return total

  def take(self, rows: Array) -> 'Head':
    """The same of chosen rows, [B'] int."""
    by_row = {
      name: getattr(self, name)[rows]
      for name in ('states', 'targets', 'share', 'log_normaliser', 'members')
    }
    lookups = None if self.lookups is None else self.lookups.take(rows)
    return self.replace(**by_row, lookups=lookups)  # pyright: ignore[reportAttributeAccessIssue]

  def _cotangents(self, head_DxW: Array, start: Array) -> Array:
    """[B, T, W]: of the logits of a slice of the vocabulary."""
    logits = jnp.einsum(
      'btd,dw->btw',
      self.states,
      head_DxW.astype(self.states.dtype),
      preferred_element_type=jnp.float32,
    )
    log_normaliser = self.log_normaliser[..., None]
    probability = jnp.exp(logits - log_normaliser)
    words = start + jnp.arange(head_DxW.shape[1])
    is_target = words == self.targets[..., None]
    gradient = probability * (1 + 2 * self.z_loss * log_normaliser) - is_target
    share = self.share[..., None]
    return jnp.where(share > 0, share * gradient, 0.0)
