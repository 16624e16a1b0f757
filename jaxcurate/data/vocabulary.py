"""Vocabularies by file; here SentencePiece and bytes in T5's layout.

All satisfy `jaxcurate.types.Vocabulary`. They are classes because each holds
a tokenizer; nothing about them changes after construction.

Very long texts need no special care: SentencePiece's unigram search is linear
(10 million characters in 0.6-0.9 s and 0.7 GB on one core, with or without
spaces), its BPE search n log n (2.6 s), so texts are not chunked and a text
gets the same ids however long it is. One text is one thread's work, though.
"""

from collections.abc import Sequence
import hashlib
import os
import pathlib

import numpy as np
import sentencepiece

from jaxcurate.data import surrogates, tokenizer_sentencepiece
from jaxcurate.data.vocabulary_decoder import DecoderVocabulary
from jaxcurate.io.errors import UserError
from jaxcurate.types import Vocabulary

NUM_SPECIAL = 3  # ByT5 (arXiv:2105.13626) section 3.1: pad, eos, unk
NUM_BYTES = 256
BYTE_SENTINELS = 100  # ibid.: "we reuse the final 100 byte IDs" as sentinels


class SentencePieceVocabulary:
  """A .model file followed by `extra_ids` sentinels, as T5 has it.

  Ids 0 .. M-1 are the file's M pieces and M .. M+extra_ids-1 the sentinels,
  the first of which (<extra_id_0>) is the last id. Text never becomes a
  sentinel, EOS or padding, whatever it spells.

  Attributes:
    size: number of ids, sentinels included (32,100 for T5).
    eos_id: 1 for T5.
    unk_id: 2 for T5.
    name: hash of the file and `extra_ids`; equal names, equal ids.
  """

  def __init__(self, path: str | os.PathLike[str], extra_ids: int = 100):
    self._processor, self.name = _load_t5(os.fspath(path))
    self.name += f'+{extra_ids}'
    self._num_pieces: int = self._processor.get_piece_size()
    self._extra_ids = extra_ids
    self.size: int = self._num_pieces + extra_ids
    self.bos_id: int | None = None
    self.eos_id: int = self._processor.eos_id()
    self.unk_id: int | None = self._processor.unk_id()

  def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text, without EOS, on SentencePiece's own threads.

    The GIL is released meanwhile. Lone surrogates, which JSON escapes can
    spell and UTF-8 cannot, become U+FFFD.
    """
    return tokenizer_sentencepiece.encode(self._processor, texts)

  def decode(self, ids: Sequence[int]) -> str:
    """Text of the ids; pad and EOS vanish, sentinels show as <extra_id_i>.

    Ids past the end (models pad their embedding to a round size) are unknown.
    """
    pieces = []
    for index in map(int, ids):
      if 0 <= index < self._num_pieces:
        pieces.append(self._processor.id_to_piece(index))
      elif self._num_pieces <= index < self.size:
        pieces.append(f' <extra_id_{self.size - 1 - index}>')
      else:
        pieces.append(self._processor.id_to_piece(self._processor.unk_id()))
    return self._processor.decode_pieces(pieces)

  def sentinel_id(self, index: int) -> int:
    """Id of <extra_id_index>: size - 1 - index."""
    return _sentinel_id(index, self.size, self._extra_ids)


class ByteVocabulary:
  """UTF-8 bytes + 3 (0 pad, 1 EOS, 2 unknown), as ByT5 and seqio have it.

  With `extra_ids` = 0 the first sentinel is 258 and they go down through the
  last 100 byte ids: that is how the published ByT5 was pretrained, and it
  costs the ambiguity between a sentinel and a rare byte. With `extra_ids` > 0
  fresh ids follow the bytes, the first sentinel being the last id (seqio). The
  Hugging Face tokenizer's <extra_id_0> = 259, counting up, was never trained.

  Attributes:
    size: 259 + extra_ids; the published ByT5 pads its embedding to 384.
    eos_id: 1.
    unk_id: 2, which no text encodes to.
    name: equal names, equal ids.
  """

  bos_id: int | None = None
  eos_id: int = 1
  unk_id: int | None = 2

  def __init__(self, extra_ids: int = 100):
    self.size: int = NUM_SPECIAL + NUM_BYTES + extra_ids
    self.name = f'bytes+{extra_ids}'
    self._num_sentinels = extra_ids or BYTE_SENTINELS

  def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
    """Ids of each text's UTF-8 bytes, without EOS.

    >>> ByteVocabulary().encode_batch(['a€'])
    [[100, 229, 133, 175]]
    """
    encoded = [surrogates.replaced(text).encode() for text in texts]
    return [
      (np.frombuffer(text, np.uint8).astype(np.int32) + NUM_SPECIAL).tolist()
      for text in encoded
    ]

  def decode(self, ids: Sequence[int]) -> str:
    """Text of the byte ids; all others vanish, broken UTF-8 shows as U+FFFD."""
    last = NUM_SPECIAL + NUM_BYTES
    text = bytes(int(i) - NUM_SPECIAL for i in ids if NUM_SPECIAL <= i < last)
    return text.decode('utf-8', 'replace')

  def sentinel_id(self, index: int) -> int:
    """Id of the index-th sentinel: size - 1 - index."""
    return _sentinel_id(index, self.size, self._num_sentinels)


def load_vocabulary(
  path: str | os.PathLike[str],
) -> SentencePieceVocabulary | ByteVocabulary | DecoderVocabulary:
  """The vocabulary of a file, of a folder, or of ByT5 for 'bytes'.

  Args:
    path: a SentencePiece .model file (one with <pad> at id 0 and no BOS is a
      T5's, any other a decoder's), a tokenizer.json, a folder that has one of
      these, or 'bytes', which means ByT5 as published:
      `ByteVocabulary(extra_ids=0)`.

  Returns:
    The vocabulary.

  Raises:
    UserError: nothing readable is there.
  """
  found = find(path)
  if found == 'bytes':
    return ByteVocabulary(extra_ids=0)
  path = pathlib.Path(found)
  if path.suffix == '.json':
    return DecoderVocabulary(path)
  _, processor = tokenizer_sentencepiece.load(path)
  if processor.pad_id() == 0 and processor.bos_id() < 0:
    return SentencePieceVocabulary(path)
  return DecoderVocabulary(path)


def check_fits(vocabulary: Vocabulary, vocab_size: int) -> None:
  """Refuses a tokenizer whose ids a model does not have.

  Args:
    vocabulary: any.
    vocab_size: of the model; larger than the vocabulary's is usual.

  Raises:
    UserError: an id would be past the end of the model's embedding.
  """
  if vocabulary.size > vocab_size:
    raise UserError(
      f'the tokenizer does not match the model: its largest id is'
      f' {vocabulary.size - 1:,}, the model has ids up to {vocab_size - 1:,};'
      " give the model's own with --vocabulary, or train a network of a larger"
      ' vocab_size'
    )


def find(path: str | os.PathLike[str]) -> str:
  """'bytes', or the file that holds a vocabulary.

  Args:
    path: 'bytes', a file, or a folder with one.

  Raises:
    UserError: the folder has none.
  """
  folder = pathlib.Path(path)
  if os.fspath(path) == 'bytes' or not folder.is_dir():
    return os.fspath(path)
  # tokenizer.json is what transformers reads where both are; T5's lacks the
  # sentinels of a spiece.model that a user trained.
  names = ('spiece.model', 'tokenizer.json', 'tokenizer.model')
  for name in names:
    if (folder / name).is_file():
      return str(folder / name)
  raise UserError(
    f'{folder}: has no vocabulary; expected one of {", ".join(names)}'
  )


def _load_t5(
  path: str,
) -> tuple[sentencepiece.SentencePieceProcessor, str]:
  """Reads and checks a .model file; returns it and a hash of its bytes."""
  model, processor = tokenizer_sentencepiece.load(pathlib.Path(path))
  if processor.pad_id() != 0 or processor.eos_id() < 0:
    raise UserError(
      f'{path}: pad id is {processor.pad_id()} and eos id'
      f' {processor.eos_id()}, expected pad 0 and an eos; train it with'
      ' --pad_id=0 --eos_id=1 --unk_id=2 --bos_id=-1'
    )
  digest = hashlib.blake2b(model, digest_size=8).hexdigest()
  return processor, f'sentencepiece:{digest}'


def _sentinel_id(index: int, size: int, num_sentinels: int) -> int:
  if not 0 <= index < num_sentinels:
    raise ValueError(
      f'sentinel {index} asked for, the vocabulary has {num_sentinels}'
    )
  return size - 1 - index
