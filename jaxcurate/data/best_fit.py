"""Which row an example goes into: best fit decreasing in near-linear time.

Longest example first, each into the fullest row that still holds it (Johnson,
"Near-optimal bin packing algorithms", 1973). Rows are found by their free
length with one bit operation; the result depends on the lengths alone.
"""

from jaxtyping import Int32, Integer
import numpy as np

# How many rows may turn an example down for want of decoder length before it
# opens a new one; it keeps the time linear.
_MAX_TRIES = 16


def plan(
  encoder_lengths: Integer[np.ndarray, ' n'],
  decoder_lengths: Integer[np.ndarray, ' n'],
  *,
  encoder_length: int,
  decoder_length: int,
  max_segments: int,
) -> tuple[Int32[np.ndarray, ' n'], Int32[np.ndarray, ' n']]:
  """Where examples of these lengths go, before any of them is made.

  Args:
    encoder_lengths: [n] in [1, encoder_length].
    decoder_lengths: [n] in [0, decoder_length].
    encoder_length: token slots per row.
    decoder_length: decoder slots per row.
    max_segments: most examples per row.

  Returns:
    (row [n], segment [n] counting from 1).
  """
  _check(encoder_lengths, 1, encoder_length, 'encoder')
  _check(decoder_lengths, 0, decoder_length, 'decoder')
  if max_segments < 1:
    raise ValueError(f'max_segments is {max_segments}, expected at least 1')
  row, segment = np.zeros((2, len(encoder_lengths)), np.int32)
  if max_segments == 1:
    return np.arange(len(row), dtype=np.int32), segment + 1
  share = np.maximum(
    encoder_lengths / encoder_length, decoder_lengths / max(decoder_length, 1)
  )
  order = np.argsort(-share, kind='stable').tolist()
  encoder, decoder = encoder_lengths.tolist(), decoder_lengths.tolist()

  # Open rows by free encoder slots, and a bit set of the lists in use.
  rows_with: list[list[int]] = [[] for _ in range(encoder_length + 1)]
  in_use = 0
  decoder_free: list[int] = []
  segments: list[int] = []
  for index in order:
    need, decoder_need = encoder[index], decoder[index]
    found, free = -1, encoder_length
    candidates = in_use >> need << need
    tries = _MAX_TRIES
    while candidates and tries and found < 0:
      free = (candidates & -candidates).bit_length() - 1
      candidates &= candidates - 1
      rows = rows_with[free]
      for place in range(len(rows) - 1, max(len(rows) - 1 - tries, -1), -1):
        tries -= 1
        if decoder_free[rows[place]] >= decoder_need:
          found = rows.pop(place)
          if not rows:
            in_use ^= 1 << free
          break
    if found < 0:
      found, free = len(segments), encoder_length
      segments.append(0)
      decoder_free.append(decoder_length)
    segments[found] += 1
    decoder_free[found] -= decoder_need
    row[index], segment[index] = found, segments[found]
    free -= need
    if free and segments[found] < max_segments:
      rows_with[free].append(found)
      in_use |= 1 << free
  return row, segment


def _check(lengths: np.ndarray, low: int, high: int, side: str) -> None:
  wrong = np.flatnonzero((lengths < low) | (lengths > high))
  if len(wrong):
    raise ValueError(
      f'example {wrong[0]} has {lengths[wrong[0]]} {side} tokens, a row holds'
      f' {low} to {high}'
    )
