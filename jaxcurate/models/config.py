"""Shape and arithmetic of a T5, as gin files and checkpoints state it."""

import dataclasses

from jaxcurate.models import layers


@dataclasses.dataclass(frozen=True)
class T5Config:
  """Shape and arithmetic of a T5.

  Attributes:
    vocab_size: rows of the embedding, sentinels and padding rows included.
    embed_dim: width D of the residual stream.
    num_heads: attention heads.
    head_dim: width of one head; num_heads * head_dim need not be embed_dim.
    mlp_dim: hidden width of the feed-forward block.
    num_encoder_layers: encoder layers.
    num_decoder_layers: decoder layers; 0 makes an encoder for embeddings.
    activations: ('relu',) for T5 1.0; ('gelu', 'linear') for the gated rest.
    tied_head: the output matrix is the embedding (T5 1.0).
    scale_decoder_outputs: multiply decoder states by embed_dim^-0.5 before
      the head (T5 1.0).
    relpos_buckets: buckets of the relative position bias.
    relpos_max_distance: distance from which all share the last bucket.
    norm_eps: epsilon of the RMS norms.
    dtype: activations, 'float32' or 'bfloat16'; parameters are float32.
    dropout_rate: used only where a dropout_key is given.
    remat: recompute each layer in the backward pass.
    scan_layers: scan one layer, parameters stacked: for many layers on an
      accelerator it compiles faster; on a CPU it costs a tenth of the speed.
    blocked_attention: compute long self-attention block by block: faster on a
      CPU (`t5.for_scoring`), slower elsewhere and where gradients are taken.
    recomputed_attention: the same where gradients are taken, which compute the
      blocks again (`t5.for_training`).
    projection_dim: width of Sentence-T5's dense layer after pooling, or None.
  """

  vocab_size: int = 32128
  embed_dim: int = 512
  num_heads: int = 8
  head_dim: int = 64
  mlp_dim: int = 2048
  num_encoder_layers: int = 6
  num_decoder_layers: int = 6
  activations: tuple[str, ...] = ('relu',)
  tied_head: bool = False
  scale_decoder_outputs: bool = False
  relpos_buckets: int = 32
  relpos_max_distance: int = 128
  norm_eps: float = 1e-6
  dtype: str = 'float32'
  dropout_rate: float = 0.1
  remat: bool = False
  scan_layers: bool = False
  blocked_attention: bool = False
  recomputed_attention: bool = False
  projection_dim: int | None = None

  def __post_init__(self):
    object.__setattr__(self, 'activations', tuple(self.activations))
    unknown = set(self.activations) - set(layers.ACTIVATIONS)
    if unknown or not self.activations:
      raise ValueError(
        f'activations are {self.activations}, known: '
        f'{", ".join(layers.ACTIVATIONS)}'
      )
    if self.dtype not in ('float32', 'bfloat16'):
      raise ValueError(
        f"dtype is {self.dtype!r}, expected 'float32' or 'bfloat16'"
      )
