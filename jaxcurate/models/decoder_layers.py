"""The stack of a decoder-only network as Linen modules.

Parameter names follow T5X's decoder; a scanned stack holds its layers under
`layers` with a leading axis. Positions are derived from segment ids, so that
left and right padding and packed rows give the same numbers.
"""

from flax import linen as nn
import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Int
import numpy as np

from jaxcurate import types
from jaxcurate.models import decoder_attention, layers, rope
from jaxcurate.models.decoder_attention import View
from jaxcurate.models.decoder_config import DecoderConfig

_EMBEDDING_STDDEV = 0.02  # `initializer_range` of all these families


def make_views(
  config: DecoderConfig,
  segment_ids_BxT: Int[Array, 'B T'],
  prefix_mask: Array | None,
) -> tuple[View, ...]:
  """Angles and masks: of full layers, and of windowed ones where there are any.

  Args:
    config: window and rotary embeddings.
    segment_ids_BxT: 0 = padding; a segment is contiguous.
    prefix_mask: [1 | B, P] bool, valid slots of the prefix, or None.

  Returns:
    (full,) or (full, windowed). A token's position is the number of valid
    slots of the prefix plus its place in its segment.
  """
  T = segment_ids_BxT.shape[1]
  place_BxT, length_BxT = _place_and_length(segment_ids_BxT)
  same = segment_ids_BxT[:, :, None] == segment_ids_BxT[:, None, :]
  mask = same & np.tri(T, dtype=bool)
  slot_mask = slot_BxP = None
  if prefix_mask is not None:
    slots = prefix_mask.astype(jnp.int32)
    num_slots = jnp.sum(slots, axis=1, keepdims=True)
    place_BxT, length_BxT = place_BxT + num_slots, length_BxT + num_slots
    slot_BxP = jnp.cumsum(slots, axis=1) - 1
    slot_mask = prefix_mask[:, None, :]
  cos, sin = rope.angles(config.rope, config.head_dim, place_BxT, length_BxT)
  views = [View(cos, sin, mask, slot_mask)]
  if config.window is not None:
    if config.local_rope is not None:
      cos, sin = rope.angles(
        config.local_rope, config.head_dim, place_BxT, length_BxT
      )
    near = np.arange(T)[:, None] - np.arange(T) < config.window
    if slot_mask is not None and slot_BxP is not None:
      distance = place_BxT[:, :, None] - slot_BxP[:, None, :]
      slot_mask = slot_mask & (distance < config.window)
    views.append(View(cos, sin, mask & near, slot_mask))
  return tuple(views)


def _place_and_length(segment_ids_BxT: Array) -> tuple[Array, Array]:
  """Place of each token in its run of equal ids, and the length of the run."""
  ids = segment_ids_BxT
  index = jnp.arange(ids.shape[1])
  changes = ids[:, 1:] != ids[:, :-1]
  first = jnp.pad(changes, ((0, 0), (1, 0)), constant_values=True)
  last = jnp.pad(changes, ((0, 0), (0, 1)), constant_values=True)
  start = lax.cummax(jnp.where(first, index, 0), axis=1)
  end = lax.cummin(jnp.where(last, index, ids.shape[1]), axis=1, reverse=True)
  return index - start, end - start + 1


class _Layer(nn.Module):
  config: DecoderConfig
  deterministic: bool

  @nn.compact
  def __call__(
    self,
    x: Array,
    views: tuple[View, ...],
    windowed: Array | None,
    prefix: tuple[Array, Array] | None,
  ) -> tuple[Array, tuple[Array, Array]]:
    """One layer: (states, its keys and values), as the body of a scan has it.

    Args:
      x: [B, T, D] states.
      views: one, or (full, windowed) of which `windowed` chooses.
      windowed: bool scalar, traced; None where views has one entry.
      prefix: keys and values of this layer.
    """
    cfg, still = self.config, self.deterministic
    view = views[0]
    if windowed is not None:
      view = jax.tree.map(
        lambda full, near: jnp.where(windowed, near, full), *views
      )
    y = self._norm('pre_self_attention_layer_norm')(x)
    attend = decoder_attention.Attention(cfg, name='self_attention')
    y, keys_values = attend(y, view, prefix, still)
    if cfg.post_norms:
      y = self._norm('post_self_attention_layer_norm')(y)
    x = x + self._dropout(y)
    y = self._norm('pre_mlp_layer_norm')(x)
    feed_forward = layers.FeedForward(
      cfg.embed_dim,
      cfg.mlp_dim,
      (cfg.activation, 'linear'),
      cfg.dtype,
      cfg.dropout_rate,
      name='mlp',
    )
    y = feed_forward(y, still)
    if cfg.post_norms:
      y = self._norm('post_mlp_layer_norm')(y)
    return x + self._dropout(y), keys_values

  def _norm(self, name: str) -> layers.RMSNorm:
    cfg = self.config
    return layers.RMSNorm(cfg.norm_eps, cfg.dtype, cfg.norm_offset, name=name)

  def _dropout(self, x: Array) -> Array:
    # One mask for all positions of a row, as T5 has it.
    dropout = nn.Dropout(self.config.dropout_rate, broadcast_dims=(-2,))
    return dropout(x, deterministic=self.deterministic)


class _Stack(nn.Module):
  config: DecoderConfig

  @nn.compact
  def __call__(
    self,
    x: Array,
    views: tuple[View, ...],
    prefix: tuple[Array, Array] | None,
    deterministic: bool,
  ) -> tuple[Array, tuple[Array, Array]]:
    """Final states, and keys and values with a leading layer axis."""
    cfg = self.config
    windowed = np.array([cfg.is_windowed(i) for i in range(cfg.num_layers)])
    layer = _Layer
    if cfg.remat:
      layer = nn.remat(layer, prevent_cse=not cfg.scan_layers)
    if cfg.scan_layers:
      mixed = windowed.any() and not windowed.all()
      if not mixed:
        views = (views[int(windowed[0])],)
      layer = nn.scan(
        layer,
        # The last two let interceptors sow in and perturb scanned layers:
        # collections that a scan does not list vanish silently.
        variable_axes={'params': 0, 'intermediates': 0, 'perturbations': 0},
        split_rngs={'params': True, 'dropout': True},
        in_axes=(nn.broadcast, 0, 0),  # pyright: ignore[reportArgumentType]
        length=cfg.num_layers,
      )
      flags = jnp.asarray(windowed) if mixed else None
      x, keys_values = layer(cfg, deterministic, name='layers')(
        x, views, flags, prefix
      )
    else:
      every = []
      for i in range(cfg.num_layers):
        own = jax.tree.map(lambda leaf, i=i: leaf[i], prefix)
        x, found = layer(cfg, deterministic, name=f'layers_{i}')(
          x, (views[int(windowed[i])],), None, own
        )
        every.append(found)
      keys_values = jax.tree.map(lambda *leaves: jnp.stack(leaves), *every)
    norm = layers.RMSNorm(
      cfg.norm_eps, cfg.dtype, cfg.norm_offset, name='decoder_norm'
    )
    return norm(x), keys_values


class Decoder(nn.Module):
  """The whole network; `jaxcurate.models.decoder` wraps it into functions."""

  config: DecoderConfig

  def setup(self) -> None:
    """Declares the parameters."""
    cfg = self.config
    self.token_embedder = layers.Embedding(
      cfg.vocab_size, cfg.embed_dim, cfg.dtype, _EMBEDDING_STDDEV
    )
    self.decoder = _Stack(cfg)

  def __call__(
    self,
    tokens_BxT: Array,
    segment_ids_BxT: Array,
    prefix: types.Prefix | None,
    deterministic: bool = True,
  ) -> tuple[Array, tuple[Array, Array]]:
    """Final states, and keys and values with a leading layer axis."""
    cfg = self.config
    segment_ids_BxT = jnp.asarray(segment_ids_BxT)
    x = self.token_embedder(tokens_BxT)
    if cfg.scale_embeddings:
      x = x * jnp.asarray(cfg.embed_dim**0.5, cfg.dtype)
    prefix_mask = None if prefix is None else prefix.mask
    views = make_views(cfg, segment_ids_BxT, prefix_mask)
    keys_values = None if prefix is None else (prefix.key, prefix.value)
    return self.decoder(x, views, keys_values, deterministic)
