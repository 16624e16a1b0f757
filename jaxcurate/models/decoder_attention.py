"""Causal attention with rotary positions and grouped queries.

Grouped queries (arXiv:2305.13245): `num_heads / num_kv_heads` query heads share
one head of keys and values; they are one product with it, never repeated.
"""

from typing import NamedTuple

from flax import linen as nn
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxcurate.models import attention, layers, rope, softmax
from jaxcurate.models.decoder_config import DecoderConfig

# With `blocked_attention`: shorter texts go all at once, as T5's; queries per
# block, whose keys end with the block: nearly half of the products are saved.
_BLOCKED_FROM = 128
_QUERY_BLOCK = 128


class View(NamedTuple):
  """What the layers of one kind (windowed or not) know of the tokens.

  Attributes:
    cos, sin: [B, T, head_dim / 2] float32, of the rotary embedding.
    mask: [B, T, T] bool, own tokens that a query sees.
    prefix_mask: [1 | B, T, P] bool, slots of the prefix that it sees; None
      without a prefix.
  """

  cos: Array
  sin: Array
  mask: Array
  prefix_mask: Array | None


class Attention(nn.Module):
  """Self-attention of a decoder layer, after a prefix where there is one."""

  config: DecoderConfig

  def setup(self) -> None:
    """Declares the parameters."""
    cfg = self.config
    inner, inner_kv = (
      n * cfg.head_dim for n in (cfg.num_heads, cfg.num_kv_heads)
    )
    init = attention.fan_in_normal()

    def dense(into: int, out: int, bias: bool) -> layers.Dense:
      return layers.Dense(into, out, cfg.dtype, init, bias)

    self.query = dense(cfg.embed_dim, inner, cfg.qkv_bias)
    self.key = dense(cfg.embed_dim, inner_kv, cfg.qkv_bias)
    self.value = dense(cfg.embed_dim, inner_kv, cfg.qkv_bias)
    self.out = dense(inner, cfg.embed_dim, False)
    if cfg.qk_norm:
      norm = (cfg.norm_eps, cfg.dtype, cfg.norm_offset)
      self.query_norm = layers.RMSNorm(*norm)
      self.key_norm = layers.RMSNorm(*norm)

  def __call__(
    self,
    x_BxTxD: Float[Array, 'B T D'],
    view: View,
    prefix: tuple[Array, Array] | None,
    deterministic: bool,
  ) -> tuple[Float[Array, 'B T D'], tuple[Array, Array]]:
    """Attends from every token to those before it.

    Args:
      x_BxTxD: normed states.
      view: angles and masks.
      prefix: keys and values [1 | B, P, num_kv_heads, head_dim].
      deterministic: no gradient of these states is wanted with dropout.

    Returns:
      The mixtures through the output kernel, and this layer's keys and values
      [B, T, num_kv_heads, head_dim], the keys rotated.
    """
    cfg = self.config
    B, T, _ = x_BxTxD.shape
    query = self.query(x_BxTxD).reshape(B, T, cfg.num_heads, cfg.head_dim)
    key = self.key(x_BxTxD).reshape(B, T, cfg.num_kv_heads, cfg.head_dim)
    value = self.value(x_BxTxD).reshape(key.shape)
    if cfg.qk_norm:
      query, key = self.query_norm(query), self.key_norm(key)
    scale = (cfg.query_pre_attn_scalar or cfg.head_dim) ** -0.5
    query = rope.rotate(query, view.cos, view.sin) * scale
    query = query.astype(cfg.dtype).swapaxes(1, 2)
    key = rope.rotate(key, view.cos, view.sin).astype(cfg.dtype)
    if cfg.blocked_attention and deterministic and T >= _BLOCKED_FROM:
      mixed = _by_row_and_head(query, key, value, view, prefix)
    else:
      # Queries of one group one after the other: [B, kv heads, group * T, K].
      grouped = query.reshape(B, cfg.num_kv_heads, -1, cfg.head_dim)
      groups = [softmax.group(grouped, key, value, view.mask)]
      if prefix is not None and view.prefix_mask is not None:
        groups.append(softmax.group(grouped, *prefix, view.prefix_mask))
      mixed = softmax.mixture(groups).reshape(query.shape)
    mixed = mixed.swapaxes(1, 2).reshape(B, T, -1)
    return self.out(mixed), (key, value)


def _by_row_and_head(
  query_BxHxTxK: Array,
  key_BxTxGxK: Array,
  value_BxTxGxK: Array,
  view: View,
  prefix: tuple[Array, Array] | None,
) -> Array:
  """The same mixtures, one row and head at a time; inference only."""
  B, H, T, K = query_BxHxTxK.shape
  group_size = H // key_BxTxGxK.shape[2]

  def block(index: Array) -> Array:
    b, h = index // H, index % H

    def row(x: Array) -> Array:
      return x[0 if len(x) == 1 else b]

    def one_head(x_BxTxGxK: Array) -> Array:
      return row(x_BxTxGxK)[None, :, h // group_size, None]

    query = query_BxHxTxK[b, h][None, None]
    key, value = one_head(key_BxTxGxK), one_head(value_BxTxGxK)
    mixed = []
    for start in range(0, T, _QUERY_BLOCK):
      stop = min(start + _QUERY_BLOCK, T)
      part = query[:, :, start:stop]
      mask = view.mask[b, start:stop, :stop][None]
      groups = [softmax.group(part, key[:, :stop], value[:, :stop], mask)]
      if prefix is not None and view.prefix_mask is not None:
        slots = row(view.prefix_mask)
        mask = slots[None] if len(slots) == 1 else slots[None, start:stop]
        before_key, before_value = map(one_head, prefix)
        groups.append(softmax.group(part, before_key, before_value, mask))
      mixed.append(softmax.mixture(groups)[0, 0])
    return jnp.concatenate(mixed)

  return lax.map(block, jnp.arange(B * H)).reshape(B, H, T, K)
