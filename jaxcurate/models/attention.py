"""T5's attention, with the same result as T5X's for less work.

The softmax is divided after the product with the values, and a short decoder
query is folded through the key and value kernels (see `Attention`).
"""

import functools

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxcurate.models import attention_blocks, layers, softmax, taps
from jaxcurate.models.softmax import MASKED

# Shorter weights fit into the cache all at once.
_BLOCKED_FROM = 128


def fan_in_normal(scale: float = 1.0) -> nn.initializers.Initializer:
  """T5X's attention initialiser: normal with variance scale / fan_in."""
  return nn.initializers.variance_scaling(scale, 'fan_in', 'normal')


class Attention(nn.Module):
  """Multi-head attention as T5 has it: no bias, no 1/sqrt(head_dim).

  Queries attend where `mask` is True. Where the number of queries T is small
  (Ask-LLM decodes one position per document), keys and values are not formed:
  (q W_q)(x W_k)^T = (q W_q W_k^T) x^T, and P (x W_v) = (P x) W_v. It is exact
  and replaces 2 L D H K multiply-adds by 2 T H L D.

  With `blocked`, long self-attention goes row by row and head by head where
  dropout is off; with `recomputed`, in training too (`attention_blocks`).
  """

  embed_dim: int
  num_heads: int
  head_dim: int
  dtype: str
  dropout_rate: float
  blocked: bool = False
  recomputed: bool = False

  def setup(self) -> None:
    """Declares the parameters."""
    inner = self.num_heads * self.head_dim
    # T5 folds 1/sqrt(head_dim) into the query's initial scale.
    query_init = fan_in_normal(1 / self.head_dim)
    into = (self.embed_dim, inner, self.dtype)
    self.query = layers.Dense(*into, kernel_init=query_init)
    self.key = layers.Dense(*into, kernel_init=fan_in_normal())
    self.value = layers.Dense(*into, kernel_init=fan_in_normal())
    self.out = layers.Dense(inner, self.embed_dim, self.dtype, fan_in_normal())
    self.dropout = nn.Dropout(self.dropout_rate, broadcast_dims=(-2,))

  def __call__(
    self,
    x_BxTxD: Float[Array, 'B T D'],
    source_BxLxD: Float[Array, 'B L D'],
    mask: Array,
    bias: Float[Array, '... H T L'] | None,
    deterministic: bool,
    prefix: tuple[Array, Array, Array] | None = None,
  ) -> Float[Array, 'B T D']:
    """Attends from x to source, and to keys and values before it.

    Args:
      x_BxTxD: what asks.
      source_BxLxD: what is asked.
      mask: True where a query may look, broadcast to [B, H, T, L].
      bias: added to the scores of the source; of each row where tapped.
      deterministic: no dropout.
      prefix: (key, value, mask) of one layer of a `types.Prefix`; its bias
        is 0.

    Returns:
      The mixtures through the output kernel.
    """
    T, L = x_BxTxD.shape[1], source_BxLxD.shape[1]
    D, K = self.embed_dim, self.head_dim
    blocked = self.recomputed or (self.blocked and deterministic)
    long = blocked and T >= _BLOCKED_FROM
    if bias is not None and bias.ndim == 3 and prefix is None and long:
      return self._in_blocks(x_BxTxD, source_BxLxD, mask, bias, deterministic)
    query = self._heads(self.query(x_BxTxD))
    absorbed = prefix is None and T * D * (L + K) < L * K * (D + T)
    absorbed = absorbed and not taps.listening(self.key)
    if absorbed:
      query = jnp.einsum('bhtk,dhk->bhtd', query, self._kernel(self.key))
      weight_by, mix_by = 'bhtd,bld->bhtl', 'bhtl,bld->bhtd'
      keys = values = source_BxLxD
    else:
      weight_by, mix_by = 'bhtk,bhlk->bhtl', 'bhtl,bhlk->bhtk'
      keys = self._heads(self.key(source_BxLxD))
      values = self._heads(self.value(source_BxLxD))
    score = jnp.einsum(
      weight_by, query, keys, preferred_element_type=jnp.float32
    )
    if bias is not None:
      score = score + bias

    def mix(weight: Array) -> Array:
      return jnp.einsum(mix_by, weight.astype(self.dtype), values)

    groups = [softmax.Group(jnp.where(mask, score, MASKED), mix)]
    if prefix is not None:
      key, value, slots = prefix
      groups.append(softmax.group(query, key, value, slots[:, None]))
    drop = functools.partial(self.dropout, deterministic=deterministic)
    mixed = softmax.mixture(groups, drop)
    if absorbed:
      mixed = jnp.einsum('bhtd,dhk->bhtk', mixed, self._kernel(self.value))
    return self.out(mixed.swapaxes(1, 2).reshape(*x_BxTxD.shape[:2], -1))

  def _in_blocks(
    self,
    x_BxTxD: Array,
    source_BxLxD: Array,
    mask: Array,
    bias: Array,
    deterministic: bool,
  ) -> Array:
    """Self-attention by `attention_blocks`."""
    arrays = (
      self.query(x_BxTxD),
      self.key(source_BxLxD),
      self.value(source_BxLxD),
      bias,
      mask,
    )
    if not self.recomputed:
      return self.out(attention_blocks.mixture(*arrays))
    drop = None
    if not deterministic:
      shape = (len(x_BxTxD), self.num_heads, 1, source_BxLxD.shape[1])
      drop = self.dropout(jnp.ones(shape), deterministic=False)
    return self.out(attention_blocks.recomputed_mixture(*arrays, drop))

  def _heads(self, x: Array) -> Array:
    # Heads before positions: batched products whose batch axes lead run 1.1
    # (two rows of 512) to 1.4 times (one row) as fast on a CPU.
    x = x.reshape(*x.shape[:-1], self.num_heads, self.head_dim)
    return x.swapaxes(1, 2)

  def _kernel(self, dense: layers.Dense) -> Array:
    return dense.matrix().reshape(-1, self.num_heads, self.head_dim)


def blocks_pay() -> bool:
  """Whether `blocked` is faster here, and `recomputed` in training.

  Blocks of attention stay in a CPU's cache (docs/benchmarks.md); accelerators
  want the large products that a config has by default.
  """
  return jax.default_backend() == 'cpu' and jax.local_device_count() == 1


def same_segment(
  query_ids: Int[Array, 'B T'], key_ids: Int[Array, 'B L'], causal: bool
) -> Array:
  """Mask [B, 1, T, L]: pairs of one segment; if causal, no later key.

  Padding (segment 0) sees padding only, so it never reaches a real token.
  """
  mask = query_ids[:, None, :, None] == key_ids[:, None, None, :]
  if causal:
    length = query_ids.shape[1]
    mask &= jnp.tril(jnp.ones((length, length), bool))
  return mask
