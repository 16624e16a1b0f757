"""Several examples per row, so that almost no token slot is padding.

Packing is exact for T5: positions are relative and attention stays within a
segment. Which example goes where is `best_fit`'s affair and depends on the
lengths alone; here the arrays are filled.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jaxtyping import Int32, Integer
import numpy as np

from jaxcurate.data import best_fit

_TOKENS = {
  'encoder': 'encoder_input_tokens',
  'decoder_inputs': 'decoder_input_tokens',
  'decoder_targets': 'decoder_target_tokens',
  'decoder_weights': 'decoder_loss_weights',
}


class Packed(NamedTuple):
  """Rows, and where each example went.

  Attributes:
    batch: T5X's batch of R rows, see `jaxcurate.types`.
    row: [n] int32.
    segment: [n] int32, counting from 1 within the row.
  """

  batch: dict[str, np.ndarray]
  row: np.ndarray
  segment: np.ndarray


def pack(
  examples: Sequence[Mapping[str, np.ndarray]],
  *,
  encoder_length: int,
  decoder_length: int,
  max_segments: int,
) -> Packed:
  """Packs examples into as few rows as best fit finds.

  Args:
    examples: dicts with 'encoder', or 'decoder_inputs' and 'decoder_targets'
      [t], or all three; the same keys in all. Optionally 'decoder_weights'
      [t]. Other keys that
      begin with 'encoder_' or 'decoder_' hold one value per token of that side
      and come out under their own name, 0 where padded.
    encoder_length: L, token slots per row; 0 without an encoder side.
    decoder_length: T; unused when examples have no decoder side.
    max_segments: most examples per row; 1 is one example per row, in order.

  Returns:
    The rows and each example's place.

  Raises:
    ValueError: an example is empty or does not fit into a row.

  >>> lengths = [5, 3, 4, 2]
  >>> packed = pack([{'encoder': np.arange(1, n + 1)} for n in lengths],
  ...               encoder_length=7, decoder_length=0, max_segments=4)
  >>> packed.row.tolist(), packed.segment.tolist()
  ([0, 1, 1, 0], [1, 2, 1, 2])
  >>> packed.batch['encoder_input_tokens'].tolist()
  [[1, 2, 3, 4, 5, 1, 2], [1, 2, 3, 4, 1, 2, 3]]
  """
  encoder, decoder = example_lengths(examples)
  alone = not encoder_length  # the decoder is then the side that is packed
  row, segment = best_fit.plan(
    decoder if alone else encoder,
    encoder if alone else decoder,
    encoder_length=decoder_length if alone else encoder_length,
    decoder_length=0 if alone else decoder_length,
    max_segments=max_segments,
  )
  batch = fill(
    examples,
    row,
    segment,
    num_rows=int(row.max(initial=-1)) + 1,
    encoder_length=encoder_length,
    decoder_length=decoder_length,
  )
  return Packed(batch, row, segment)


def example_lengths(
  examples: Sequence[Mapping[str, np.ndarray]],
) -> tuple[Integer[np.ndarray, ' n'], Integer[np.ndarray, ' n']]:
  """Encoder and decoder tokens of each example, 0 without that side."""
  encoder = [len(example.get('encoder', ())) for example in examples]
  decoder = [len(example.get('decoder_targets', ())) for example in examples]
  return np.array(encoder, np.int64), np.array(decoder, np.int64)


def fill(
  examples: Sequence[Mapping[str, np.ndarray]],
  row: Int32[np.ndarray, ' n'],
  segment: Int32[np.ndarray, ' n'],
  *,
  num_rows: int,
  encoder_length: int,
  decoder_length: int,
) -> dict[str, np.ndarray]:
  """The batch of `num_rows` rows with every example in its place.

  Args:
    examples: as for `pack`.
    row: [n] in [0, num_rows).
    segment: [n], 1.. without gaps within a row.
    num_rows: R; rows without an example are padding.
    encoder_length: L.
    decoder_length: T.
  """
  order = np.lexsort((segment, row))
  ordered = [examples[index] for index in order]
  row, segment = row[order], segment[order]
  encoder, decoder = example_lengths(ordered)
  keys = set(ordered[0]) if ordered else set()
  if not ordered and encoder_length:
    keys |= {'encoder'}
  if not ordered and decoder_length:
    keys |= {'decoder_inputs', 'decoder_targets'}
  sides = []
  if 'encoder' in keys:
    sides.append(('encoder', encoder, encoder_length))
  if 'decoder_targets' in keys:
    sides.append(('decoder', decoder, decoder_length))
  for index, example in enumerate(ordered):
    if ordered and set(example) != keys:
      raise ValueError(
        f'example {order[index]} has {sorted(example)}, example {order[0]}'
        f' has {sorted(keys)}'
      )
  batch = {}
  for side, lengths, width in sides:
    places = _places(row, lengths, width)
    total = num_rows * width
    shape = (num_rows, width)
    for key in sorted(keys):
      if key == side or key.startswith(f'{side}_'):
        values = _concatenate([example[key] for example in ordered], key)
        if len(values) != len(places.slot):
          raise ValueError(
            f'{key!r} holds {len(values)} values for {len(places.slot)}'
            f' {side} tokens'
          )
        batch[_TOKENS.get(key, key)] = _scatter(
          values, places.slot, total
        ).reshape(shape)
    per_token = np.repeat(segment, lengths)
    batch[f'{side}_segment_ids'] = _scatter(
      per_token, places.slot, total
    ).reshape(shape)
    batch[f'{side}_positions'] = _scatter(
      places.position, places.slot, total
    ).reshape(shape)
    if side == 'decoder' and 'decoder_weights' not in keys:
      weights = (batch['decoder_segment_ids'] > 0).astype(np.float32)
      batch['decoder_loss_weights'] = weights
  return batch


def pad_rows(
  batch: Mapping[str, np.ndarray], multiple: int
) -> dict[str, np.ndarray]:
  """Appends empty rows until the row count is a multiple.

  Args:
    batch: name -> [R, ...].
    multiple: >= 1.

  Returns:
    name -> [ceil(R / multiple) * multiple, ...]; new entries are 0.
  """
  padded = {}
  for name, array in batch.items():
    missing = -len(array) % multiple
    empty = np.zeros((missing, *array.shape[1:]), array.dtype)
    padded[name] = np.concatenate([array, empty])
  return padded


class _Places(NamedTuple):
  slot: np.ndarray  # flat slot of each token of the row-ordered examples
  position: np.ndarray  # its position in its segment


def _places(row: np.ndarray, lengths: np.ndarray, width: int) -> _Places:
  """Where the tokens of examples sorted by (row, segment) go."""
  before = np.cumsum(lengths) - lengths
  first = np.concatenate([[True], row[1:] != row[:-1]])[: len(row)]
  row_start = before[first][np.cumsum(first) - 1]
  token = np.arange(int(lengths.sum()))
  slot = token + np.repeat(row.astype(np.int64) * width - row_start, lengths)
  return _Places(slot, (token - np.repeat(before, lengths)).astype(np.int32))


def _scatter(values: np.ndarray, slots: np.ndarray, total: int) -> np.ndarray:
  flat = np.zeros(total, values.dtype)
  flat[slots] = values
  return flat


def _concatenate(arrays: list[np.ndarray], key: str) -> np.ndarray:
  dtype = np.float32 if key == 'decoder_weights' else np.int32
  if not arrays:
    return np.zeros(0, dtype)
  return np.concatenate(arrays).astype(dtype, copy=False)
