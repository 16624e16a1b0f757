"""The encoder and decoder stacks of T5 as Linen modules.

Parameter names are those of T5X (t5x/examples/t5/network.py); a scanned stack
holds its layers under `layers` with a leading axis.
"""

from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxcurate import types
from jaxcurate.models import attention, layers
from jaxcurate.models.config import T5Config


class _EncoderLayer(nn.Module):
  config: T5Config
  deterministic: bool

  @nn.compact
  def __call__(
    self, x: Array, prefix: Any, mask: Array, bias: Array
  ) -> tuple[Array, None]:
    """One layer, as `_DecoderLayer` without what an encoder lacks."""
    cfg, still = self.config, self.deterministic
    y = _norm(cfg, 'pre_attention_layer_norm')(x)
    y = _attention(cfg, 'attention')(y, y, mask, bias, still)
    x = x + _dropout(cfg, y, still)
    y = _norm(cfg, 'pre_mlp_layer_norm')(x)
    return x + _dropout(cfg, _feed_forward(cfg)(y, still), still), None


class _DecoderLayer(nn.Module):
  config: T5Config
  deterministic: bool

  @nn.compact
  def __call__(
    self,
    x: Array,
    prefix: tuple[Array, Array] | None,
    mask: Array,
    bias: Array,
    encoded: Array,
    cross_mask: Array,
    slots: Any,
  ) -> tuple[Array, None]:
    """One layer; returns (states, None) as the body of a scan does.

    Args:
      x: [B, T, D] states.
      prefix: keys and values [1 | B, P, heads, head_dim] of this layer.
      mask, bias: of self-attention.
      encoded, cross_mask: of cross-attention.
      slots: [1 | B, P] bool, valid slots of the prefix, or None.
    """
    cfg, still = self.config, self.deterministic
    y = _norm(cfg, 'pre_self_attention_layer_norm')(x)
    before = None if prefix is None else (*prefix, slots)
    y = _attention(cfg, 'self_attention')(y, y, mask, bias, still, before)
    x = x + _dropout(cfg, y, still)
    y = _norm(cfg, 'pre_cross_attention_layer_norm')(x)
    attend = _attention(cfg, 'encoder_decoder_attention')
    y = attend(y, encoded, cross_mask, None, still)
    x = x + _dropout(cfg, y, still)
    y = _norm(cfg, 'pre_mlp_layer_norm')(x)
    return x + _dropout(cfg, _feed_forward(cfg)(y, still), still), None


class _Stack(nn.Module):
  """Encoder or decoder: bias, layers, final norm; the decoder's head too."""

  config: T5Config
  is_decoder: bool

  @nn.compact
  def __call__(
    self,
    x: Array,
    mask: Array,
    deterministic: bool,
    *cross: Any,
    prefix: tuple[Array, Array] | None = None,
  ) -> Array:
    """Final states.

    Args:
      x: [B, L, D] embeddings.
      mask: of self-attention.
      deterministic: no dropout.
      *cross: (encoded, cross_mask, slots) for a decoder.
      prefix: keys and values [layers, 1 | B, P, heads, head_dim].
    """
    cfg = self.config
    relative_position_bias = layers.RelativePositionBias(
      cfg.num_heads,
      cfg.relpos_buckets,
      cfg.relpos_max_distance,
      bidirectional=not self.is_decoder,
      name='relpos_bias',
    )
    inputs = (mask, relative_position_bias(x.shape[1], x.shape[0]), *cross)
    x = _dropout(cfg, x, deterministic)
    num_layers = cfg.num_encoder_layers
    layer = _EncoderLayer
    if self.is_decoder:
      num_layers, layer = cfg.num_decoder_layers, _DecoderLayer
    if cfg.remat:
      layer = nn.remat(layer, prevent_cse=not cfg.scan_layers)
    if cfg.scan_layers:
      layer = nn.scan(
        layer,
        # The last two let interceptors sow in and perturb scanned layers:
        # collections that a scan does not list vanish silently.
        variable_axes={'params': 0, 'intermediates': 0, 'perturbations': 0},
        split_rngs={'params': True, 'dropout': True},
        in_axes=(0,) + (nn.broadcast,) * len(inputs),  # pyright: ignore[reportArgumentType]
        length=num_layers,
      )
      x, _ = layer(cfg, deterministic, name='layers')(x, prefix, *inputs)
    else:
      for i in range(num_layers):
        own = jax.tree.map(lambda leaf, i=i: leaf[i], prefix)
        x, _ = layer(cfg, deterministic, name=f'layers_{i}')(x, own, *inputs)
    name = 'decoder_norm' if self.is_decoder else 'encoder_norm'
    return _dropout(cfg, _norm(cfg, name)(x), deterministic)


class T5(nn.Module):
  """The whole network; `jaxcurate.models.t5` wraps it into functions."""

  config: T5Config

  def setup(self) -> None:
    """Declares the parameters."""
    cfg = self.config
    self.token_embedder = layers.Embedding(
      cfg.vocab_size, cfg.embed_dim, cfg.dtype
    )
    self.encoder = _Stack(cfg, is_decoder=False)
    if cfg.num_decoder_layers:
      self.decoder = _Stack(cfg, is_decoder=True)

  def encode(
    self, tokens: Array, segment_ids: Array, deterministic: bool = True
  ) -> Array:
    """Encoder states after the final norm."""
    mask = attention.same_segment(segment_ids, segment_ids, causal=False)
    return self.encoder(self.token_embedder(tokens), mask, deterministic)

  def decode(
    self,
    encoded: Array,
    encoder_segment_ids: Array,
    tokens: Array,
    segment_ids: Array,
    prefix: types.Prefix | None = None,
    deterministic: bool = True,
  ) -> Array:
    """Decoder states after the final norm, scaled for the head."""
    mask = attention.same_segment(segment_ids, segment_ids, causal=True)
    cross_mask = attention.same_segment(
      segment_ids, encoder_segment_ids, causal=False
    )
    states = self.decoder(
      self.token_embedder(tokens),
      mask,
      deterministic,
      encoded,
      cross_mask,
      None if prefix is None else prefix.mask,
      prefix=None if prefix is None else (prefix.key, prefix.value),
    )
    if self.config.scale_decoder_outputs:
      states = states * self.config.embed_dim**-0.5
    return states

  def __call__(self) -> None:
    """Touches every parameter, for initialisation."""
    ids = jnp.ones((1, 1), jnp.int32)
    encoded = self.encode(ids, ids)
    if self.config.num_decoder_layers:
      self.decode(encoded, ids, ids, ids)


def _norm(config: T5Config, name: str) -> layers.RMSNorm:
  return layers.RMSNorm(config.norm_eps, config.dtype, name=name)


def _attention(config: T5Config, name: str) -> attention.Attention:
  return attention.Attention(
    config.embed_dim,
    config.num_heads,
    config.head_dim,
    config.dtype,
    config.dropout_rate,
    config.blocked_attention,
    config.recomputed_attention,
    name=name,
  )


def _feed_forward(config: T5Config) -> layers.FeedForward:
  return layers.FeedForward(
    config.embed_dim,
    config.mlp_dim,
    config.activations,
    config.dtype,
    config.dropout_rate,
    name='mlp',
  )


def _dropout(config: T5Config, x: Array, deterministic: bool) -> Array:
  # One mask for all positions of a row, as T5 has it.
  dropout = nn.Dropout(config.dropout_rate, broadcast_dims=(-2,))
  return dropout(x, deterministic=deterministic)
