"""T5X's two models with a weighting in the loss: see `weighted`.

They take T5X's arguments and a weighting, and are trained by
`trainer.WeightedTrainer`.
"""

# Where T5X is not installed, pyright takes this very folder for it.
# pyright: reportAttributeAccessIssue=false, reportMissingImports=false

from collections.abc import Callable, Sequence
from typing import Any

from flax import linen as nn
from t5x import decoding, losses, models

from jaxcurate.t5x import adafactor, factored, state, weighted
from jaxcurate.types import Weighting

MAX_SEGMENTS = 32  # ours: T5's windows fill a row, instructions 10 to 30
Normaliser = float | int | str | losses.SpecialLossNormalizingFactor | None


class WeightedEncoderDecoderModel(
  weighted.Weighted, models.EncoderDecoderModel
):
  """T5X's EncoderDecoderModel, its loss weighted by a Weighting."""

  def __init__(
    self,
    module: nn.Module,
    input_vocabulary: Any,
    output_vocabulary: Any,
    optimizer_def: Any,
    weighting: Weighting,
    decode_fn: Any = decoding.beam_search,
    feature_converter_cls: Callable[..., Any] | None = None,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    loss_normalizing_factor: Normaliser = 'NUM_REAL_TARGET_TOKENS',
    default_decoder_params: Any = None,
    max_segments: int = MAX_SEGMENTS,
    domains: Sequence[str] = (),
    encoder_norm: str = 'encoder_norm',
    decoder_norm: str = 'decoder_norm',
  ):
    """A model that `WeightedTrainer` trains.

    Args:
      module: T5X's, as are the arguments not listed.
      input_vocabulary: see T5X.
      output_vocabulary: see T5X.
      optimizer_def: see T5X.
      weighting: how much each example counts.
      decode_fn: see T5X.
      feature_converter_cls: see T5X.
      label_smoothing: see T5X.
      z_loss: see T5X.
      loss_normalizing_factor: T5X's values, of the whole batch and without
        the weights.
      default_decoder_params: see T5X.
      max_segments: S, examples of a packed row that have weights of their own.
      domains: names of the codes in the batch's 'document_domain'.
      encoder_norm: name of the module that returns the encoder's last states.
      decoder_norm: that of the decoder.

    Raises:
      ValueError: the weighting needs what T5X's step cannot give.
    """
    state.check(
      weighting,
      has_encoder=True,
      has_gradients=factored.network_of(module) is not None,
    )
    if 'preconditioner' in weighting.needs:
      adafactor.check(optimizer_def)
    self.weighting, self.max_segments = weighting, max_segments
    self.domains = domains
    self.norms = {'encoder': encoder_norm, 'decoder': decoder_norm}
    super().__init__(
      module,
      input_vocabulary,
      output_vocabulary,
      optimizer_def,
      decode_fn=decode_fn,
      feature_converter_cls=feature_converter_cls,
      label_smoothing=label_smoothing,
      z_loss=z_loss,
      loss_normalizing_factor=loss_normalizing_factor,
      default_decoder_params=default_decoder_params,
    )


class WeightedDecoderOnlyModel(weighted.Weighted, models.DecoderOnlyModel):
  """T5X's DecoderOnlyModel, its loss weighted by a Weighting."""

  def __init__(
    self,
    module: nn.Module,
    vocabulary: Any,
    optimizer_def: Any,
    weighting: Weighting,
    decode_fn: Any = decoding.temperature_sample,
    inputs_bidirectional_attention: bool = False,
    feature_converter_cls: Callable[..., Any] | None = None,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    loss_normalizing_factor: Normaliser = 'NUM_REAL_TARGET_TOKENS',
    max_segments: int = MAX_SEGMENTS,
    domains: Sequence[str] = (),
    decoder_norm: str = 'decoder_norm',
  ):
    """A model that `WeightedTrainer` trains; see the encoder-decoder's."""
    state.check(weighting, has_encoder=False)
    self.weighting, self.max_segments = weighting, max_segments
    self.domains = domains
    self.norms = {'decoder': decoder_norm}
    super().__init__(
      module,
      vocabulary,
      optimizer_def,
      decode_fn=decode_fn,
      inputs_bidirectional_attention=inputs_bidirectional_attention,
      feature_converter_cls=feature_converter_cls,
      label_smoothing=label_smoothing,
      z_loss=z_loss,
      loss_normalizing_factor=loss_normalizing_factor,
    )
