"""Shape and arithmetic of a decoder-only network of the Llama family."""

import dataclasses

from jaxcurate.models import layers
from jaxcurate.models.rope import Rope


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
  """Llama 2 and 3, Mistral, Qwen2 and 2.5, Qwen3, Gemma 3 (text).

  Attributes:
    vocab_size: rows of the embedding, padding rows included.
    embed_dim: width D of the residual stream.
    num_heads: query heads.
    num_kv_heads: heads of keys and values, a divisor of num_heads.
    head_dim: width of one head; num_heads * head_dim need not be embed_dim.
    mlp_dim: hidden width of the gated feed-forward block.
    num_layers: layers.
    activation: of the gate: 'silu' (SwiGLU) or 'gelu' (GeGLU).
    tied_head: the output matrix is the embedding.
    qkv_bias: queries, keys and values have a bias (Qwen2).
    qk_norm: RMS norm of each query and key head (Qwen3, Gemma 3).
    norm_offset: norms multiply by 1 + scale (Gemma).
    post_norms: a norm after each block too, before it is added (Gemma 3).
    scale_embeddings: multiply embeddings by sqrt(embed_dim) (Gemma).
    query_pre_attn_scalar: scores are divided by its square root; None is
      head_dim.
    rope: rotary embedding.
    local_rope: of the windowed layers (Gemma 3); None is `rope`.
    window: windowed layers see the last `window` tokens, the own included;
      None: no layer is windowed.
    window_pattern: whether layer 0, 1, ... is windowed, repeated from the
      start where there are more layers: (True,) is Mistral's, five True and
      a False Gemma 3's.
    max_length: longest text the model is meant for, in tokens; nothing stops
      there, exports state it.
    norm_eps: epsilon of the RMS norms.
    dtype: activations, 'float32' or 'bfloat16'; parameters are float32.
    dropout_rate: used only where a dropout_key is given.
    remat: recompute each layer in the backward pass.
    scan_layers: scan one layer, parameters stacked: for many layers on an
      accelerator it compiles faster; on a CPU it costs a tenth of the speed.
    blocked_attention: compute attention block by block: faster on a CPU
      (`load.for_scoring`), slower elsewhere and where gradients are taken.
  """

  vocab_size: int = 32000
  embed_dim: int = 512
  num_heads: int = 8
  num_kv_heads: int = 8
  head_dim: int = 64
  mlp_dim: int = 1408
  num_layers: int = 8
  activation: str = 'silu'
  tied_head: bool = False
  qkv_bias: bool = False
  qk_norm: bool = False
  norm_offset: bool = False
  post_norms: bool = False
  scale_embeddings: bool = False
  query_pre_attn_scalar: int | None = None
  rope: Rope = Rope()  # noqa: RUF009 (frozen)
  local_rope: Rope | None = None
  window: int | None = None
  window_pattern: tuple[bool, ...] = (True,)
  max_length: int = 4096
  norm_eps: float = 1e-5
  dtype: str = 'float32'
  dropout_rate: float = 0.0
  remat: bool = False
  scan_layers: bool = False
  blocked_attention: bool = False

  def __post_init__(self):
    object.__setattr__(self, 'window_pattern', tuple(self.window_pattern))
    if self.num_heads % self.num_kv_heads:
      raise ValueError(
        f'num_heads is {self.num_heads}, expected a multiple of num_kv_heads, '
        f'{self.num_kv_heads}'
      )
    if self.head_dim % 2:
      raise ValueError(
        f'head_dim is {self.head_dim}, expected an even number: the rotary '
        'embedding turns pairs'
      )
    if self.activation not in layers.ACTIVATIONS:
      raise ValueError(
        f'activation is {self.activation!r}, known: '
        f'{", ".join(layers.ACTIVATIONS)}'
      )
    if self.dtype not in ('float32', 'bfloat16'):
      raise ValueError(
        f"dtype is {self.dtype!r}, expected 'float32' or 'bfloat16'"
      )
    if self.window is not None and self.window < 1:
      raise ValueError(f'window is {self.window}, expected at least 1 token')
    if not self.window_pattern:
      raise ValueError('window_pattern is empty, expected at least one layer')

  def is_windowed(self, layer: int) -> bool:
    """Whether a layer sees a window only.

    >>> config = DecoderConfig(window=4, window_pattern=(True, False))
    >>> [config.is_windowed(layer) for layer in range(3)]
    [True, False, True]
    """
    pattern = self.window_pattern
    return self.window is not None and pattern[layer % len(pattern)]
