"""Span-corrupted rows of a few documents: planned first, filled on demand.

How long a window's inputs and targets become depends on its length alone, so
the packing of a block is known before any token is read. Every host can plan
every block cheaply and fill only the rows it needs, and a place in the data is
a block and a row.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jaxtyping import Float32, Int32, Int64
import numpy as np

from jaxcurate.data import best_fit, packing, windows
from jaxcurate.data.shuffle import mix
from jaxcurate.data.token_part import TokenPart, document_tokens
from jaxcurate.ops import span_corruption
from jaxcurate.types import Vocabulary


class RowSettings(NamedTuple):
  """The shape of rows and how their text is corrupted.

  Attributes:
    encoder_length: L.
    decoder_length: T.
    max_segments: S, examples per row; 1 is one padded example per row.
    raw_length: most raw tokens per window.
    noise_density, mean_span_length: see `span_corruption`.
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


class Block(NamedTuple):
  """W windows with their places, sorted by row, then segment.

  Attributes:
    tokens: window w is tokens[start[w]:stop[w]].
    source: document of each token, only where windows cross documents.
    document: [W] int64, index into the part; -1 where windows cross documents.
    start, stop: [W] int64.
    key: [W, 2] uint64, of the window's mask.
    row, segment: [W] int32; segments count from 1.
    num_rows: rows of this block.
  """

  tokens: np.ndarray
  source: np.ndarray | None
  document: np.ndarray
  start: np.ndarray
  stop: np.ndarray
  key: np.ndarray
  row: np.ndarray
  segment: np.ndarray
  num_rows: int


def plan_documents(
  part: TokenPart,
  document: Int64[np.ndarray, ' n'],
  copy: Int64[np.ndarray, ' n'],
  settings: RowSettings,
  *key: int,
) -> Block:
  """Windows that never cross documents.

  Masks depend on (key, id of the document, copy, window) and nothing else.

  Args:
    part: the documents.
    document: [n] which of them.
    copy: [n] tells repeats of one document apart.
    settings: of the rows.
    key: e.g. seed and epoch.
  """
  lengths = np.diff(part.offsets)[document] if len(document) else document
  cut = windows.document_windows(lengths, settings.raw_length)
  document, copy = document[cut.document], copy[cut.document]
  words = np.stack(
    [
      mix(*key, part.id_hash[document]),
      copy.astype(np.uint64) << np.uint64(32) | cut.piece.astype(np.uint64),
    ],
    axis=1,
  )
  offset = part.offsets[document]
  return _place(
    part.tokens,
    None,
    document,
    offset + cut.start,
    offset + cut.stop,
    words,
    settings,
  )


def plan_concat(
  part: TokenPart,
  document: Int64[np.ndarray, ' n'],
  settings: RowSettings,
  eos_id: int,
  *key: int,
) -> Block:
  """Windows of documents laid end to end; masks depend on (key, window)."""
  tokens, place = windows.concatenate(
    [document_tokens(part, index) for index in document], eos_id
  )
  start, stop = windows.concat_windows(len(tokens), settings.raw_length)
  number = np.arange(len(start), dtype=np.uint64)
  words = np.stack([np.full_like(number, mix(*key)), number], axis=1)
  return _place(
    tokens,
    document[place].astype(np.int32),
    np.full(len(start), -1),
    start,
    stop,
    words,
    settings,
  )


def fill_rows(
  picks: Sequence[tuple[Block, int]],
  part: TokenPart,
  settings: RowSettings,
  vocabulary: Vocabulary,
  columns: Mapping[str, Float32[np.ndarray, ' N']],
) -> tuple[dict[str, np.ndarray], Int32[np.ndarray, 'R S']]:
  """Corrupts and packs the windows of chosen rows.

  Args:
    picks: (block, row of the block) for each of the R rows wanted.
    part: the N documents the blocks were planned on.
    settings: the same.
    vocabulary: for sentinels and EOS.
    columns: one value per document of the part.

  Returns:
    (batch, document [R, S], -1 where there is none). Besides T5X's keys the
    batch has, per segment, document_id_hash [R, S, 2] uint32 (high, low),
    document_domain [R, S] int32 (-1 for none) and document_<column> [R, S]
    float32 (0 for none); where windows cross documents it has instead
    encoder_source_ids [R, L] and decoder_source_ids [R, T] int32, the
    document of every token + 1 (0 for padding).
  """
  num_rows, slots = len(picks), settings.max_segments
  document = np.full((num_rows, slots), -1, np.int32)
  examples, rows, segments = [], [], []
  for index, (block, row) in enumerate(picks):
    first, last = np.searchsorted(block.row, [row, row + 1])
    for window in range(first, last):
      examples.append(_example(block, window, settings, vocabulary))
      rows.append(index)
      segments.append(block.segment[window])
      document[index, block.segment[window] - 1] = block.document[window]
  batch = packing.fill(
    examples,
    np.array(rows, np.int32),
    np.array(segments, np.int32),
    num_rows=num_rows,
    encoder_length=settings.encoder_length,
    decoder_length=settings.decoder_length,
  )
  if 'encoder_source_ids' not in batch:
    batch.update(_of_documents(document, part, columns))
  return batch, document


def _of_documents(
  document: np.ndarray,
  part: TokenPart,
  columns: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
  """What is known of each segment's document, [R, S] each."""
  real = document >= 0

  def look_up(values: np.ndarray, none: int) -> np.ndarray:
    return np.where(real, values[document], np.array(none, values.dtype))

  id_hash = look_up(part.id_hash, 0)
  halves = [id_hash >> np.uint64(32), id_hash & np.uint64(0xFFFFFFFF)]
  return {
    'document_id_hash': np.stack(halves, axis=-1).astype(np.uint32),
    'document_domain': look_up(part.domain, -1),
    **{f'document_{name}': look_up(v, 0) for name, v in columns.items()},
  }


def _example(
  block: Block, window: int, settings: RowSettings, vocabulary: Vocabulary
) -> dict[str, np.ndarray]:
  piece = slice(block.start[window], block.stop[window])
  tokens = block.tokens[piece]
  rng = np.random.Generator(np.random.Philox(key=block.key[window]))
  mask = span_corruption.noise_mask(
    len(tokens),
    noise_density=settings.noise_density,
    mean_span_length=settings.mean_span_length,
    rng=rng,
  )
  inputs, targets = span_corruption.corrupt(tokens, mask, vocabulary)
  shifted = np.zeros_like(targets)
  shifted[1:] = targets[:-1]
  example = {
    'encoder': inputs,
    'decoder_inputs': shifted,
    'decoder_targets': targets,
  }
  if block.source is not None:
    sources = span_corruption.carry(block.source[piece] + 1, mask)
    example['encoder_source_ids'], example['decoder_source_ids'] = sources
  return example


def _place(
  tokens: np.ndarray,
  source: np.ndarray | None,
  document: np.ndarray,
  start: np.ndarray,
  stop: np.ndarray,
  key: np.ndarray,
  settings: RowSettings,
) -> Block:
  """Packs windows by their lengths."""
  encoder, decoder = span_corruption.corrupted_lengths(
    stop - start,
    noise_density=settings.noise_density,
    mean_span_length=settings.mean_span_length,
  )
  row, segment = best_fit.plan(
    encoder,
    decoder,
    encoder_length=settings.encoder_length,
    decoder_length=settings.decoder_length,
    max_segments=settings.max_segments,
  )
  order = np.lexsort((segment, row))
  return Block(
    tokens,
    source,
    *(field[order] for field in (document, start, stop, key, row, segment)),
    num_rows=int(row.max(initial=-1)) + 1,
  )
