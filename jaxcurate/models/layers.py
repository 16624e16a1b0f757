"""Building blocks but attention: embedding, norm, bias, feed-forward.

Exploring the Limits of Transfer Learning (arXiv:1910.10683, section 2.1); the
Llama family shares them. Parameter names, their shapes and their initial
distributions are T5X's.
"""

from collections.abc import Callable

from flax import linen as nn
import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from jaxcurate.models import taps
from jaxcurate.ops import lora

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
  'relu': jax.nn.relu,
  # The tanh approximation, 'gelu_new' of Hugging Face.
  'gelu': lambda x: jax.nn.gelu(x, approximate=True),
  'silu': jax.nn.silu,
  'linear': lambda x: x,
}


class Dense(nn.Module):
  """A linear map; the kernel can be read without applying it."""

  in_features: int
  out_features: int
  dtype: str
  kernel_init: nn.initializers.Initializer = nn.initializers.variance_scaling(
    1.0, 'fan_in', 'truncated_normal'
  )
  use_bias: bool = False

  def setup(self) -> None:
    """Declares the parameters."""
    shape = (self.in_features, self.out_features)
    self.kernel = self.param('kernel', self.kernel_init, shape, jnp.float32)
    if self.use_bias:
      self.bias = self.param(
        'bias', nn.initializers.zeros, shape[1:], jnp.float32
      )

  def __call__(self, x: Float[Array, '... I']) -> Float[Array, '... O']:
    """x @ kernel + bias in the activation dtype; + (x A) B where attached."""
    # As a matrix: the kernel's gradient is then one product of two matrices.
    # With several leading axes XLA on a CPU first brings the other factor into
    # another order, element by element, for a tenth of a training step.
    rows = x.astype(self.dtype).reshape(-1, self.in_features)
    y = jnp.dot(rows, self.kernel.astype(self.dtype))
    y = taps.through(self, 'kernel', y, rows)
    if self.has_variable('params', lora.A):
      a, b = (self.get_variable('params', name) for name in (lora.A, lora.B))
      low = jnp.dot(rows, a.astype(self.dtype))
      low = taps.through(self, lora.A, low, rows)
      added = jnp.dot(low, b.astype(self.dtype))
      y = y + taps.through(self, lora.B, added, low)
    if self.use_bias:
      y = taps.through(self, 'bias', y + self.bias.astype(self.dtype), None)
    return y.reshape(*x.shape[:-1], self.out_features)

  def matrix(self) -> Array:
    """The kernel as it is applied, attached adapters included."""
    if not self.has_variable('params', lora.A):
      return self.kernel.astype(self.dtype)
    a, b = (self.get_variable('params', name) for name in (lora.A, lora.B))
    return lora.whole(self.kernel, a, b).astype(self.dtype)


class Embedding(nn.Module):
  """The token embedding table."""

  vocab_size: int
  embed_dim: int
  dtype: str
  stddev: float = 1.0  # of the initial distribution

  @nn.compact
  def __call__(self, tokens: Int[Array, 'B L']) -> Float[Array, 'B L D']:
    """One row of the table per token."""
    embedding = self.param(
      'embedding',
      nn.initializers.normal(self.stddev),
      (self.vocab_size, self.embed_dim),
      jnp.float32,
    )
    rows = jnp.asarray(embedding)[tokens].astype(self.dtype)
    if not taps.listening(self):
      return rows
    # As numbers with a gradient: exact, token ids are below 2^24.
    ids = jnp.asarray(tokens).astype(jnp.float32)
    return taps.through(self, 'embedding', rows, ids)


class RMSNorm(nn.Module):
  """T5's layer norm: no mean, no bias, statistics in float32.

  With `offset` the parameter is what scale has above 1 (Gemma).
  """

  eps: float
  dtype: str
  offset: bool = False

  @nn.compact
  def __call__(self, x: Float[Array, '... D']) -> Float[Array, '... D']:
    """x / sqrt(mean(x^2) + eps) * scale."""
    start = nn.initializers.zeros if self.offset else nn.initializers.ones
    scale = self.param('scale', start, x.shape[-1:], jnp.float32)
    if self.offset:
      scale = 1.0 + jnp.asarray(scale)
    x = x.astype(jnp.float32)
    inverse_rms = lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + self.eps)
    normed = x * inverse_rms
    return taps.through(self, 'scale', normed * scale, normed).astype(
      self.dtype
    )


def relative_buckets(
  distance: np.ndarray, bidirectional: bool, num_buckets: int, max_distance: int
) -> np.ndarray:
  """T5's bucket of each distance key position - query position.

  Half of the buckets hold one distance each, the other half grow
  logarithmically up to `max_distance`; the last takes all beyond.

  >>> relative_buckets(np.array([-3, 0, 3, 500]), True, 32, 128).tolist()
  [3, 0, 19, 31]
  """
  bucket = np.zeros_like(distance)
  if bidirectional:
    num_buckets //= 2
    bucket = np.where(distance > 0, num_buckets, 0)
    distance = np.abs(distance)
  else:
    distance = np.maximum(-distance, 0)
  exact = num_buckets // 2
  # float32 throughout, as in T5X and PyTorch: bucket borders depend on it.
  ratio = np.maximum(distance, 1).astype(np.float32) / np.float32(exact)
  growth = np.log(ratio) / np.float32(np.log(max_distance / exact))
  log_bucket = exact + (growth * np.float32(num_buckets - exact)).astype(int)
  log_bucket = np.minimum(log_bucket, num_buckets - 1)
  return bucket + np.where(distance < exact, distance, log_bucket)


class RelativePositionBias(nn.Module):
  """A learned attention bias per head and bucket of the distance."""

  num_heads: int
  num_buckets: int
  max_distance: int
  bidirectional: bool

  @nn.compact
  def __call__(self, length: int, rows: int = 1) -> Float[Array, '... H L L']:
    """Bias of each (query, key) pair, float32; of each row where tapped."""
    embedding = self.param(
      'rel_embedding',
      nn.initializers.variance_scaling(1.0, 'fan_avg', 'uniform'),
      (self.num_heads, self.num_buckets),
      jnp.float32,
    )
    distance = np.arange(-length + 1, length + 1)  # one more, to be skewed off
    buckets = relative_buckets(
      distance, self.bidirectional, self.num_buckets, self.max_distance
    )
    # The matrix is Toeplitz: look 2L values up and skew them into rows by
    # reshapes. A gather of L x L values would be slow, and slower backwards.
    line = jnp.tile(embedding[:, buckets], (1, length))
    line = line[:, : length * (2 * length - 1)]
    skewed = line.reshape(self.num_heads, length, 2 * length - 1)
    bias = skewed[:, :, length - 1 :]
    if not taps.listening(self):
      return bias
    # What each pair's bias is made of, [L, L, buckets], is the input.
    pairs = buckets[length - 1 + np.arange(length) - np.arange(length)[:, None]]
    one_hot = jax.nn.one_hot(pairs, self.num_buckets)
    own = jnp.broadcast_to(bias, (rows, *bias.shape))
    return taps.through(self, 'rel_embedding', own, one_hot)


class FeedForward(nn.Module):
  """wo(act(wi x)), or wo(act_0(wi_0 x) * act_1(wi_1 x)) where gated."""

  embed_dim: int
  mlp_dim: int
  activations: tuple[str, ...]
  dtype: str
  dropout_rate: float

  @nn.compact
  def __call__(
    self, x: Float[Array, 'B L D'], deterministic: bool
  ) -> Float[Array, 'B L D']:
    """Applies the block to every position."""
    hidden = jnp.ones((), self.dtype)
    for i, activation in enumerate(self.activations):
      name = 'wi' if len(self.activations) == 1 else f'wi_{i}'
      wi = Dense(self.embed_dim, self.mlp_dim, self.dtype, name=name)
      hidden = hidden * ACTIVATIONS[activation](wi(x))
    dropout = nn.Dropout(self.dropout_rate, broadcast_dims=(-2,))
    hidden = dropout(hidden, deterministic=deterministic)
    return Dense(self.mlp_dim, self.embed_dim, self.dtype, name='wo')(hidden)
