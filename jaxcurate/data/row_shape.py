"""How many tokens a training row holds, and what becomes of its text."""

from typing import NamedTuple

from jaxcurate.io.errors import UserError
from jaxcurate.ops import span_corruption
from jaxcurate.types import Network


class RowSettings(NamedTuple):
  """The shape of rows and how their text becomes inputs and targets.

  Attributes:
    encoder_length: L; 0 for a decoder-only network, whose rows are causal.
    decoder_length: T.
    max_segments: S, examples per row; 1 is one padded example per row.
    raw_length: most raw tokens per window; unused of conversations.
    noise_density, mean_span_length: see `span_corruption`; 0 without spans.
  """

  encoder_length: int
  decoder_length: int
  max_segments: int
  raw_length: int
  noise_density: float
  mean_span_length: float


def row_settings(
  *,
  encoder_length: int = 512,
  max_segments: int = 8,
  noise_density: float = span_corruption.NOISE_DENSITY,
  mean_span_length: float = span_corruption.MEAN_SPAN_LENGTH,
) -> RowSettings:
  """T5's lengths: 512 inputs are 568 raw tokens and 114 targets.

  Short examples have more targets per input (EOS, a span at least), so a
  packed row gets two more decoder slots per further example: 128 by default.

  Args:
    encoder_length: tokens per row, >= 3.
    max_segments: examples per row; 1 does not pack.
    noise_density: share of tokens to cut out, in (0, 1).
    mean_span_length: mean tokens per span, >= 1.
  """
  raw_length, targets = span_corruption.raw_length(
    encoder_length,
    noise_density=noise_density,
    mean_span_length=mean_span_length,
  )
  return RowSettings(
    encoder_length=encoder_length,
    decoder_length=targets + 2 * (max_segments - 1),
    max_segments=max_segments,
    raw_length=raw_length,
    noise_density=noise_density,
    mean_span_length=mean_span_length,
  )


def causal_settings(*, length: int, max_segments: int = 8) -> RowSettings:
  """The shape of causal rows.

  Args:
    length: token slots per row, >= 3.
    max_segments: examples per row; 1 does not pack.

  Raises:
    ValueError: the length leaves no room for text.
  """
  if length < 3:
    raise ValueError(f'a row has {length} tokens, expected at least 3')
  return RowSettings(
    encoder_length=0,
    decoder_length=length,
    max_segments=max_segments,
    raw_length=length - 1,  # with BOS and EOS one target more
    noise_density=0.0,
    mean_span_length=0.0,
  )


def spoken_settings(
  *, encoder_length: int, decoder_length: int | None, max_segments: int = 8
) -> RowSettings:
  """The shape of an encoder-decoder's rows of prompts and answers.

  Args:
    encoder_length: token slots for prompts, >= 2.
    decoder_length: token slots for answers, >= 2; None is as many.
    max_segments: examples per row; 1 does not pack.

  Raises:
    ValueError: a length leaves no room.
  """
  if decoder_length is None:
    decoder_length = encoder_length
  if min(encoder_length, decoder_length) < 2:
    raise ValueError(
      f'rows have {encoder_length} and {decoder_length} tokens, expected at'
      ' least 2'
    )
  return RowSettings(
    encoder_length=encoder_length,
    decoder_length=decoder_length,
    max_segments=max_segments,
    raw_length=encoder_length,
    noise_density=0.0,
    mean_span_length=0.0,
  )


def settings_for(
  network: Network,
  *,
  length: int,
  max_segments: int,
  spoken: bool = False,
  decoder_length: int | None = None,
) -> RowSettings:
  """Causal rows for a decoder; for an encoder-decoder answers, or spans.

  Args:
    network: what reads the rows.
    length: tokens per row, of the encoder where there is one.
    max_segments: examples per row; 1 does not pack.
    spoken: the documents are conversations, see `spoken_rows`.
    decoder_length: tokens of answers per row of an encoder-decoder; None is
      `length`.

  Raises:
    UserError: a decoder_length that is not used.
  """
  if decoder_length is not None and (network.encode is None or not spoken):
    raise UserError(
      f'decoder_length is {decoder_length}, which is for answers of an'
      ' encoder-decoder (--turns); drop it: other rows follow from'
      ' encoder_length'
    )
  if network.encode is None:
    return causal_settings(length=length, max_segments=max_segments)
  if spoken:
    return spoken_settings(
      encoder_length=length,
      decoder_length=decoder_length,
      max_segments=max_segments,
    )
  return row_settings(encoder_length=length, max_segments=max_segments)
