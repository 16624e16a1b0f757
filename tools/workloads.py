"""Networks, batches and documents that the benchmarks measure."""

from collections.abc import Sequence
import dataclasses
from typing import Any
import zlib

import jax
import numpy as np

from jaxcurate.cli import gin_files
from jaxcurate.models import decoder
from jaxcurate.models.t5 import T5Config
from jaxcurate.types import Network

SMALL = 'models/t5_small.gin'  # T5 1.1 and Flan
# Text lengths in tokens when no file is given: a log-normal whose median is
# about a C4 document's (C4's mean is 480 tokens; ours of short prompts less).
MEDIAN_TOKENS, SIGMA = 180.0, 0.8


class WordVocabulary:
  """One id per word, by hash: prompts of true length without a vocabulary file.

  A class because `types.Vocabulary` is one.
  """

  size, bos_id, eos_id, unk_id = 32_000, None, 1, None

  def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
    """Ids of the words."""
    words = [text.split() for text in texts]
    return [[3 + zlib.crc32(w.encode()) % 31_000 for w in ws] for ws in words]

  def decode(self, ids: Sequence[int]) -> str:
    """The ids as text; words cannot be had back."""
    return ' '.join(map(str, ids))

  def sentinel_id(self, index: int) -> int:
    """The last ids are sentinels."""
    return self.size - 1 - index


def read_config(model: str, **changes: Any) -> T5Config:
  """The network of a gin file.

  Args:
    model: the file, e.g. 'models/t5_xl.gin' (shipped ones are found).
    **changes: fields of T5Config to set otherwise.

  Raises:
    UserError: there is no such file, or it is not a model's.
  """
  gin_files.parse(files=[model])
  return dataclasses.replace(gin_files.call(T5Config), **changes)


def full_batch(
  rows: int,
  encoder_length: int,
  decoder_length: int,
  *,
  segments: int = 1,
  vocab_size: int = 32_000,
  seed: int = 0,
) -> dict[str, np.ndarray]:
  """A training batch without padding, `segments` equal examples per row.

  Args:
    rows: B.
    encoder_length: L, a multiple of `segments`.
    decoder_length: T, a multiple of `segments`.
    segments: examples per row.
    vocab_size: ids are below it.
    seed: of the random ids.
  """
  rng = np.random.default_rng(seed)

  def ids(length: int) -> np.ndarray:
    return rng.integers(3, vocab_size, (rows, length)).astype(np.int32)

  def side(length: int) -> tuple[np.ndarray, np.ndarray]:
    each = length // segments
    segment = np.repeat(np.arange(1, segments + 1), each)
    position = np.tile(np.arange(each), segments)
    shape = (rows, length)
    return (
      np.broadcast_to(segment, shape).astype(np.int32),
      np.broadcast_to(position, shape).astype(np.int32),
    )

  encoder_segments, encoder_positions = side(encoder_length)
  decoder_segments, decoder_positions = side(decoder_length)
  targets = ids(decoder_length)
  inputs = np.where(decoder_positions > 0, np.roll(targets, 1, axis=1), 0)
  return {
    'encoder_input_tokens': ids(encoder_length),
    'encoder_segment_ids': encoder_segments,
    'encoder_positions': encoder_positions,
    'decoder_input_tokens': inputs.astype(np.int32),
    'decoder_target_tokens': targets,
    'decoder_segment_ids': decoder_segments,
    'decoder_positions': decoder_positions,
    'decoder_loss_weights': np.ones((rows, decoder_length), np.float32),
  }


def shapes(tree: Any) -> Any:
  """The tree's arrays as jax.ShapeDtypeStruct."""
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)


def random_documents(
  lengths: Sequence[int], *, vocab_size: int = 32_000, seed: int = 0
) -> list[list[int]]:
  """Documents of random token ids.

  Args:
    lengths: tokens of each.
    vocab_size: ids are below it.
    seed: of the ids.
  """
  rng = np.random.default_rng(seed)
  return [rng.integers(3, vocab_size, n).tolist() for n in lengths]


def lognormal_lengths(count: int, *, longest: int, seed: int = 0) -> list[int]:
  """Document lengths in tokens: log-normal, cut at what fits.

  Args:
    count: how many.
    longest: texts are cut here, as the scorer cuts them.
    seed: of the draw.
  """
  rng = np.random.default_rng(seed)
  lengths = rng.lognormal(np.log(MEDIAN_TOKENS), SIGMA, count)
  return np.clip(lengths, 8, longest).astype(int).tolist()


def make_decoder(
  width: int, layers: int, vocab: int, **settings: Any
) -> Network:
  """A decoder of Llama's shape, with heads of 64.

  Args:
    width: D.
    layers: their number.
    vocab: V.
    **settings: more of `decoder.DecoderConfig`.
  """
  heads = max(1, width // 64)
  return decoder.make_network(
    decoder.DecoderConfig(
      vocab_size=vocab,
      embed_dim=width,
      num_heads=heads,
      num_kv_heads=heads,
      head_dim=min(64, width),
      mlp_dim=width * 11 // 4,
      num_layers=layers,
      tied_head=True,
      **settings,
    )
  )
