"""Training rows of a few documents: planned first, filled on demand.

How long a window's inputs and targets become depends on its length alone, so
the packing of a block is known before any token is read. Every host can plan
every block cheaply and fill only the rows it needs, and a place in the data is
a block and a row.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jaxtyping import Float32, Int32, Int64
import numpy as np

from jaxcurate.data import best_fit, causal_rows, packing, spoken_rows, windows
from jaxcurate.data.row_shape import RowSettings
from jaxcurate.data.shuffle import mix
from jaxcurate.data.token_part import TokenPart, document_tokens
from jaxcurate.ops import span_corruption
from jaxcurate.types import Vocabulary


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
  """Windows that never cross documents; conversations are one window each.

  Masks depend on (key, id of the document, copy, window) and nothing else.

  Args:
    part: the documents.
    document: [n] which of them.
    copy: [n] tells repeats of one document apart.
    settings: of the rows.
    key: e.g. seed and epoch.
  """
  if len(part.spoken):
    return _plan_spoken(part, document, settings)
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
    *_slots(cut.stop - cut.start, settings),
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
    *_slots(stop - start, settings),
  )


def _plan_spoken(
  part: TokenPart, document: np.ndarray, settings: RowSettings
) -> Block:
  """Every conversation that has something to learn; no masks, so no keys."""
  encoder, decoder = spoken_rows.lengths(part, document, settings)
  some = decoder > 0
  document = document[some].astype(np.int64)
  return _place(
    part.tokens,
    None,
    document,
    part.offsets[document],
    part.offsets[document + 1],
    np.zeros((len(document), 2), np.uint64),
    settings,
    encoder[some],
    decoder[some],
  )


def fill_rows(
  picks: Sequence[tuple[Block, int]],
  part: TokenPart,
  settings: RowSettings,
  vocabulary: Vocabulary,
  columns: Mapping[str, Float32[np.ndarray, ' N']],
) -> tuple[dict[str, np.ndarray], Int32[np.ndarray, 'R S']]:
  """Makes and packs the examples of chosen rows.

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
      examples.append(_example(block, window, part, settings, vocabulary))
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
  if 'decoder_source_ids' not in batch:
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
  block: Block,
  window: int,
  part: TokenPart,
  settings: RowSettings,
  vocabulary: Vocabulary,
) -> dict[str, np.ndarray]:
  piece = slice(block.start[window], block.stop[window])
  tokens = block.tokens[piece]
  source = None if block.source is None else block.source[piece] + 1
  document = block.document[window]
  if len(part.spoken):
    return spoken_rows.example(part, document, settings, vocabulary)
  if not settings.encoder_length:
    ends = document >= 0 and piece.stop == part.offsets[document + 1]
    return causal_rows.causal_example(
      tokens, vocabulary, ends=bool(ends), source=source
    )
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
  if source is not None:
    sources = span_corruption.carry(source, mask)
    example['encoder_source_ids'], example['decoder_source_ids'] = sources
  return example


def _slots(
  lengths: np.ndarray, settings: RowSettings
) -> tuple[np.ndarray, np.ndarray]:
  """Encoder and decoder slots that windows of so many raw tokens take."""
  if settings.encoder_length:
    return span_corruption.corrupted_lengths(
      lengths,
      noise_density=settings.noise_density,
      mean_span_length=settings.mean_span_length,
    )
  return np.zeros_like(lengths), causal_rows.longest(lengths)


def _place(
  tokens: np.ndarray,
  source: np.ndarray | None,
  document: np.ndarray,
  start: np.ndarray,
  stop: np.ndarray,
  key: np.ndarray,
  settings: RowSettings,
  encoder: np.ndarray,
  decoder: np.ndarray,
) -> Block:
  """Packs windows by the slots they take."""
  alone = not settings.encoder_length  # the decoder then takes its place
  row, segment = best_fit.plan(
    decoder if alone else encoder,
    encoder if alone else decoder,
    encoder_length=settings.decoder_length
    if alone
    else settings.encoder_length,
    decoder_length=0 if alone else settings.decoder_length,
    max_segments=settings.max_segments,
  )
  order = np.lexsort((segment, row))
  return Block(
    tokens,
    source,
    *(field[order] for field in (document, start, stop, key, row, segment)),
    num_rows=int(row.max(initial=-1)) + 1,
  )
