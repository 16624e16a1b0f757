"""T5's span corruption: spans of a text are cut out and asked for.

  text     a b c d e f     mask  . . x x . x
  inputs   a b <0> e <1> EOS
  targets  <0> c d <1> f EOS

T5 (arXiv:1910.10683, section 3.1.4; rounding from
`t5.data.preprocessors.random_spans_noise_mask`). Given a mask, inputs and
targets equal T5's bit for bit; the masks have the same distribution, drawn
from NumPy instead of TensorFlow.
"""

import functools

from jaxtyping import Bool, Integer, Shaped
import numpy as np

from jaxcurate.types import Vocabulary

# T5's defaults, arXiv:1910.10683 section 3.3.4.
NOISE_DENSITY = 0.15
MEAN_SPAN_LENGTH = 3.0


def noise_counts(
  length: int | Integer[np.ndarray, '*N'],
  *,
  noise_density: float = NOISE_DENSITY,
  mean_span_length: float = MEAN_SPAN_LENGTH,
) -> tuple[Integer[np.ndarray, '*N'], Integer[np.ndarray, '*N']]:
  """How many noise tokens and noise spans a text of each length gets.

  noise = clip(round(length * density), 1, length - 1);
  spans = max(round(noise / mean_span_length), 1), at most length - noise.
  Rounding is half to even on float32, as TensorFlow's. (The last limit is
  ours: without it T5's own code fails, e.g. at density 0.5 and spans of 1.)

  Args:
    length: tokens, one number or an array; 0 and 1 count as 2, as in T5.
    noise_density: share of tokens to cut out, in (0, 1).
    mean_span_length: mean tokens per span, >= 1.

  Returns:
    (noise tokens, noise spans), int64.

  >>> [int(count) for count in noise_counts(568)]
  [85, 28]
  """
  if not (0.0 < noise_density < 1.0 and mean_span_length >= 1.0):
    raise ValueError(
      f'noise_density is {noise_density}, expected in (0, 1);'
      f' mean_span_length is {mean_span_length}, expected >= 1'
    )
  length = np.maximum(length, 2)
  noise = np.round(np.float32(length) * np.float32(noise_density))
  noise = np.clip(np.int64(noise), 1, length - 1)
  spans = np.round(np.float32(noise) / np.float32(mean_span_length))
  spans = np.clip(np.int64(spans), 1, length - noise)
  return np.asarray(noise), np.asarray(spans)


def corrupted_lengths(
  length: int | Integer[np.ndarray, '*N'],
  *,
  noise_density: float = NOISE_DENSITY,
  mean_span_length: float = MEAN_SPAN_LENGTH,
) -> tuple[Integer[np.ndarray, '*N'], Integer[np.ndarray, '*N']]:
  """Lengths of inputs and targets, EOS included, before any mask is drawn.

  Args:
    length: raw tokens, one number or an array, >= 1.
    noise_density: share of tokens to cut out, in (0, 1).
    mean_span_length: mean tokens per span, >= 1.

  Returns:
    (inputs, targets), int64.

  >>> [int(length) for length in corrupted_lengths(568)]
  [512, 114]
  """
  noise, spans = noise_counts(
    length, noise_density=noise_density, mean_span_length=mean_span_length
  )
  # A lone token has no noise; its target is the sentinel that stands for it.
  lone = np.asarray(length) == 1
  inputs = np.where(lone, 2, length - noise + spans + 1)
  return inputs, np.where(lone, 2, noise + spans + 1)


def raw_length(
  inputs_length: int,
  *,
  noise_density: float = NOISE_DENSITY,
  mean_span_length: float = MEAN_SPAN_LENGTH,
) -> tuple[int, int]:
  """The longest raw text whose corrupted inputs fit, and its targets' length.

  T5's `random_spans_helper`: at density 0.5 the text is one token shorter if
  that makes the targets as long as the inputs.

  Args:
    inputs_length: encoder length, EOS included, >= 3.
    noise_density: share of tokens to cut out, in (0, 1).
    mean_span_length: mean tokens per span, >= 1.

  Returns:
    (raw tokens, targets' length with EOS).

  >>> raw_length(512)
  (568, 114)
  """
  if inputs_length < 3:
    raise ValueError(
      f'inputs_length is {inputs_length}, expected at least 3: a token, a'
      ' sentinel and EOS'
    )
  settings = {
    'noise_density': noise_density,
    'mean_span_length': mean_span_length,
  }
  raw = inputs_length - 1
  while corrupted_lengths(raw + 1, **settings)[0] <= inputs_length:
    raw += 1
  inputs, targets = corrupted_lengths(raw, **settings)
  if noise_density == 0.5 and targets > inputs:
    raw -= 1
    inputs, targets = corrupted_lengths(raw, **settings)
  return raw, int(targets)


def noise_mask(
  length: int,
  *,
  noise_density: float = NOISE_DENSITY,
  mean_span_length: float = MEAN_SPAN_LENGTH,
  rng: np.random.Generator,
) -> Bool[np.ndarray, ' L']:
  """Which tokens to cut out: every mask with T5's counts is equally likely.

  Spans alternate, beginning with one that stays and ending with noise.

  Args:
    length: tokens, >= 0.
    noise_density: share of tokens to cut out, in (0, 1).
    mean_span_length: mean tokens per span, >= 1.
    rng: the only source of randomness.

  Returns:
    [length] bool, True for noise. A text of one token has none.
  """
  num_noise, num_spans = _counts(length, noise_density, mean_span_length)
  padded = max(length, 2)
  edges = np.zeros(padded, np.int8)
  starts = np.empty(2 * num_spans, np.int64)
  starts[0::2] = _span_lengths(padded - num_noise, num_spans, rng)
  starts[1::2] = _span_lengths(num_noise, num_spans, rng)
  edges[np.cumsum(starts)[:-1]] = 1
  return (np.cumsum(edges) % 2 == 1)[:length]


def corrupt(
  tokens: Integer[np.ndarray, ' L'],
  mask: Bool[np.ndarray, ' L'],
  vocabulary: Vocabulary,
) -> tuple[Integer[np.ndarray, ' inputs'], Integer[np.ndarray, ' targets']]:
  """Inputs with each noise span as a sentinel, and targets the other way.

  T5's `noise_span_to_unique_sentinel` and `nonnoise_span_to_unique_sentinel`,
  then EOS. Sentinels count up from 0 in each.

  Args:
    tokens: [L] ids of one text, without EOS.
    mask: [L] True for noise.
    vocabulary: for its sentinels and EOS.

  Returns:
    (inputs, targets), int32, both ending in EOS.

  Raises:
    ValueError: more spans than the vocabulary has sentinels.
  """
  return (
    _spans_to_sentinels(tokens, mask, vocabulary),
    _spans_to_sentinels(tokens, ~mask, vocabulary),
  )


def carry(
  values: Shaped[np.ndarray, ' L'], mask: Bool[np.ndarray, ' L']
) -> tuple[Shaped[np.ndarray, ' inputs'], Shaped[np.ndarray, ' targets']]:
  """What each token of `corrupt`'s inputs and targets stands for.

  A sentinel takes the value of the first token it replaces, EOS the value of
  the last token.

  Args:
    values: [L] one value per raw token, L >= 1.
    mask: [L] True for noise.

  Returns:
    (values of the inputs, values of the targets).

  >>> [part.tolist() for part in carry(np.array([5, 6, 7]),
  ...                                  np.array([False, True, True]))]
  [[5, 6, 7], [5, 6, 7, 7]]
  """
  end = values[-1:]
  return (
    np.concatenate([values[~mask | _span_starts(mask)], end]),
    np.concatenate([values[mask | _span_starts(~mask)], end]),
  )


def _spans_to_sentinels(
  tokens: np.ndarray, mask: np.ndarray, vocabulary: Vocabulary
) -> np.ndarray:
  starts = _span_starts(mask)
  keep = ~mask | starts
  replaced = tokens.astype(np.int32)
  replaced[starts] = _sentinels(vocabulary, int(starts.sum()))
  result = np.empty(np.count_nonzero(keep) + 1, np.int32)
  result[:-1] = replaced[keep]
  result[-1] = vocabulary.eos_id
  return result


@functools.lru_cache(maxsize=4096)
def _counts(length: int, density: float, span: float) -> tuple[int, int]:
  """`noise_counts` of one length; lengths recur."""
  noise, spans = noise_counts(
    length, noise_density=density, mean_span_length=span
  )
  return int(noise), int(spans)


@functools.lru_cache(maxsize=4096)
def _sentinels(vocabulary: Vocabulary, count: int) -> np.ndarray:
  """The first sentinels of a vocabulary, which never change."""
  return np.array([vocabulary.sentinel_id(i) for i in range(count)], np.int32)


def _span_starts(mask: np.ndarray) -> np.ndarray:
  starts = mask.copy()
  starts[1:] &= ~mask[:-1]
  return starts


def _span_lengths(
  num_tokens: int, num_spans: int, rng: np.random.Generator
) -> np.ndarray:
  """A uniformly drawn composition of num_tokens into num_spans parts >= 1."""
  cuts = rng.choice(num_tokens - 1, num_spans - 1, replace=False, shuffle=False)
  ends = np.empty(num_spans + 1, np.int64)
  ends[0], ends[1:-1], ends[-1] = 0, np.sort(cuts) + 1, num_tokens
  return ends[1:] - ends[:-1]
