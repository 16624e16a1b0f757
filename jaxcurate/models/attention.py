"""T5's attention, with the same result as T5X's for less work.

The softmax is divided after the product with the values, and a short decoder
query is folded through the key and value kernels (see `Attention`).
"""

from flax import linen as nn
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxcurate.models import layers

# Finite, so that a query that may look at nothing gets a mean, never NaN.
MASKED = -1e10  # as T5X


def fan_in_normal(scale: float = 1.0) -> nn.initializers.Initializer:
  """T5X's attention initialiser: normal with variance scale / fan_in."""
  return nn.initializers.variance_scaling(scale, 'fan_in', 'normal')


class Attention(nn.Module):
  """Multi-head attention as T5 has it: no bias, no 1/sqrt(head_dim).

  Queries attend where `mask` is True. Where the number of queries T is small
  (Ask-LLM decodes one position per document), keys and values are not formed:
  (q W_q)(x W_k)^T = (q W_q W_k^T) x^T, and P (x W_v) = (P x) W_v. It is exact
  and replaces 2 L D H K multiply-adds by 2 T H L D.
  """

  embed_dim: int
  num_heads: int
  head_dim: int
  dtype: str
  dropout_rate: float

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
    bias: Float[Array, 'H T L'] | None,
    deterministic: bool,
  ) -> Float[Array, 'B T D']:
    """Attends from x to source."""
    T, L = x_BxTxD.shape[1], source_BxLxD.shape[1]
    D, H, K = self.embed_dim, self.num_heads, self.head_dim
    query = self._heads(self.query(x_BxTxD))
    absorbed = T * D * (L + K) < L * K * (D + T)
    if absorbed:
      query = jnp.einsum('bthk,dhk->bthd', query, self._kernel_heads(self.key))
      key = value = source_BxLxD
      score = jnp.einsum(
        'bthd,bld->bhtl', query, key, preferred_element_type=jnp.float32
      )
    else:
      key = self._heads(self.key(source_BxLxD))
      value = self._heads(self.value(source_BxLxD))
      score = jnp.einsum(
        'bthk,blhk->bhtl', query, key, preferred_element_type=jnp.float32
      )
    if bias is not None:
      score = score + bias
    score = jnp.where(mask, score, MASKED)
    peak = lax.stop_gradient(jnp.max(score, -1, keepdims=True))
    weight = jnp.exp(score - peak)
    total_BxTxH = jnp.sum(weight, -1).swapaxes(1, 2)
    weight = self.dropout(weight, deterministic=deterministic)
    weight = weight.astype(self.dtype)
    if absorbed:
      mixed = jnp.einsum('bhtl,bld->bthd', weight, value)
      mixed = self._divide(mixed, total_BxTxH)
      mixed = jnp.einsum(
        'bthd,dhk->bthk', mixed, self._kernel_heads(self.value)
      )
    else:
      mixed = jnp.einsum('bhtl,blhk->bthk', weight, value)
      mixed = self._divide(mixed, total_BxTxH)
    return self.out(mixed.reshape(*mixed.shape[:2], H * K))

  def _heads(self, x: Array) -> Array:
    return x.reshape(*x.shape[:-1], self.num_heads, self.head_dim)

  def _kernel_heads(self, dense: layers.Dense) -> Array:
    return self._heads(dense.kernel.astype(self.dtype))

  def _divide(self, mixed: Array, total_BxTxH: Array) -> Array:
    return (mixed / total_BxTxH[..., None]).astype(self.dtype)


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
