"""Rotary position embedding, and how its angles are stretched for long texts.

RoFormer (arXiv:2104.09864): each pair (k_i, k_{i + K/2}) of a head is turned
by position * frequency_i, so that a score depends on the distance alone. The
variants are those of Hugging Face's `rope_type`: 'linear' (kaiokendev),
'dynamic' (NTK-aware by length), 'yarn' (arXiv:2309.00071, section 3),
'llama3' (Llama 3.1's smooth cut between kept and divided frequencies).
"""

import dataclasses
import math

import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

KINDS = ('default', 'linear', 'dynamic', 'yarn', 'llama3')


@dataclasses.dataclass(frozen=True)
class Rope:
  """Angles of the rotary embedding.

  Attributes:
    theta: base of the frequencies theta^(-2i / head_dim).
    kind: one of `KINDS`.
    factor: how much longer texts may be than in pretraining; all but default.
    original_length: longest text of pretraining, in tokens; dynamic, yarn,
      llama3.
    low_freq_factor, high_freq_factor: llama3: wavelengths longer than
      original_length / low are divided by factor, shorter than / high kept.
    beta_fast, beta_slow: yarn: turns within original_length above which a
      frequency is kept, below which it is divided.
    truncate: yarn: round the two borders outwards to whole dimensions.
    attention_factor: yarn: cosine and sine are multiplied by it; None is
      0.1 ln(factor) + 1.
  """

  theta: float = 10_000.0
  kind: str = 'default'
  factor: float = 1.0
  original_length: int = 8192
  low_freq_factor: float = 1.0
  high_freq_factor: float = 4.0
  beta_fast: float = 32.0
  beta_slow: float = 1.0
  truncate: bool = True
  attention_factor: float | None = None

  def __post_init__(self):
    if self.kind not in KINDS:
      raise ValueError(f'rope kind is {self.kind!r}, known: {", ".join(KINDS)}')


def angles(
  rope: Rope,
  head_dim: int,
  position_BxT: Int[Array, 'B T'],
  length_BxT: Int[Array, 'B T'],
) -> tuple[Float[Array, 'B T F'], Float[Array, 'B T F']]:
  """Cosine and sine of every token's angles.

  Args:
    rope: which angles.
    head_dim: width of a head, even.
    position_BxT: position of each token, from 0.
    length_BxT: tokens of its whole text, prefix included; only 'dynamic'
      looks at it, each text for itself where transformers takes the longest
      of the batch.

  Returns:
    [B, T, head_dim / 2] float32 each.

  >>> cos, sin = angles(Rope(), 2, jnp.array([[0, 1]]), jnp.array([[2, 2]]))
  >>> [round(float(x), 4) for x in cos.ravel()]
  [1.0, 0.5403]
  """
  if rope.kind == 'dynamic':
    stretch = rope.factor * length_BxT / rope.original_length - rope.factor + 1
    log_base = math.log(rope.theta) + head_dim / (head_dim - 2) * jnp.log(
      jnp.maximum(stretch, 1.0)
    )
    exponent = np.arange(0, head_dim, 2, dtype=np.float32) / head_dim
    frequency = jnp.exp(-log_base[:, :, None] * exponent)
  else:
    frequency = jnp.asarray(frequencies(rope, head_dim), jnp.float32)
  angle_BxTxF = position_BxT[:, :, None].astype(jnp.float32) * frequency
  scale = _attention_factor(rope)
  return jnp.cos(angle_BxTxF) * scale, jnp.sin(angle_BxTxF) * scale


def rotate(
  x_BxTxHxK: Float[Array, 'B T H K'],
  cos_BxTxF: Float[Array, 'B T F'],
  sin_BxTxF: Float[Array, 'B T F'],
) -> Float[Array, 'B T H K']:
  """Turns the pairs (x_i, x_{i + K/2}) by their angles, in float32."""
  first, second = jnp.split(x_BxTxHxK.astype(jnp.float32), 2, axis=-1)
  cos, sin = cos_BxTxF[:, :, None], sin_BxTxF[:, :, None]
  return jnp.concatenate(
    [first * cos - second * sin, second * cos + first * sin], axis=-1
  )


def frequencies(rope: Rope, head_dim: int) -> np.ndarray:
  """Radians per position of each pair, float64 [head_dim / 2].

  >>> frequencies(Rope(theta=100.0), 4).round(6).tolist()
  [1.0, 0.1]

  Raises:
    ValueError: for 'dynamic', whose frequencies depend on the text's length.
  """
  kept = rope.theta ** -(np.arange(0, head_dim, 2) / head_dim)
  divided = kept / rope.factor
  if rope.kind == 'default':
    return kept
  if rope.kind == 'linear':
    return divided
  if rope.kind == 'yarn':
    low, high = (
      head_dim
      * math.log(rope.original_length / (turns * 2 * math.pi))
      / (2 * math.log(rope.theta))
      for turns in (rope.beta_fast, rope.beta_slow)
    )
    if rope.truncate:
      low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    # 0.001 where both are equal: transformers' guard, part of the definition.
    ramp = (np.arange(head_dim // 2) - low) / (high - low or 0.001)
    ramp = np.clip(ramp, 0.0, 1.0)
    return divided * ramp + kept * (1.0 - ramp)
  if rope.kind == 'llama3':
    turns = rope.original_length * kept / (2 * math.pi)
    smooth = (turns - rope.low_freq_factor) / (
      rope.high_freq_factor - rope.low_freq_factor
    )
    smooth = np.clip(smooth, 0.0, 1.0)
    return divided * (1.0 - smooth) + kept * smooth
  raise ValueError(f'{rope.kind} has no frequencies of its own')


def _attention_factor(rope: Rope) -> float:
  if rope.kind != 'yarn':
    return 1.0
  if rope.attention_factor is not None:
    return rope.attention_factor
  return 0.1 * math.log(rope.factor) + 1.0 if rope.factor > 1 else 1.0
