"""SentencePiece models of decoders, such as Llama 2's `tokenizer.model`."""

from collections.abc import Callable, Collection, Mapping, Sequence
import functools
import hashlib
import pathlib
import re
from typing import Any

import sentencepiece

from jaxcurate.data import surrogates
from jaxcurate.data.tokenizer import Tokenizer, encode_rest
from jaxcurate.data.tokenizer_settings import Settings
from jaxcurate.io.errors import UserError


def read(path: pathlib.Path, settings: Settings) -> Tokenizer:
  """Reads a .model file; `settings` names tokens beyond its own.

  Texts become no control piece, no added token, and none of the file's
  user-defined symbols that the settings call special (Gemma's turn marks).

  Raises:
    UserError: the file is missing or broken.
  """
  content, pieces = load(path)
  size = pieces.get_piece_size()
  special_ids = {
    pieces.id_to_piece(i): i
    for i in range(size)
    if pieces.is_control(i) or pieces.is_unknown(i)
  }
  special_ids |= {
    token: i
    for i, token in settings.added_tokens.items()
    if i >= size or token in settings.special_tokens
  }
  found = {i for ids in encode(pieces, list(special_ids)) for i in ids}
  found &= set(special_ids.values()) - {pieces.unk_id()}
  if found:
    pieces = _without(content, found)
  return Tokenizer(
    digest=hashlib.blake2b(content, digest_size=8).hexdigest(),
    encode=functools.partial(encode, pieces),
    encode_special=_special_encoder(
      lambda text: encode(pieces, [text])[0],
      special_ids,
      each_begins=bool(settings.legacy),
    ),
    decode=functools.partial(
      _decode, pieces, frozenset(special_ids.values()) - {pieces.unk_id()}
    ),
    special_ids=special_ids,
    num_text_ids=1 + max(set(range(size)) - set(special_ids.values())),
    unk_id=pieces.unk_id(),
    begins_with=_piece(pieces, pieces.bos_id()),
    ends_with=_piece(pieces, pieces.eos_id()),
  )


def load(
  path: pathlib.Path,
) -> tuple[bytes, sentencepiece.SentencePieceProcessor]:
  """The bytes of a .model file and what reads texts by it.

  Raises:
    UserError: the file is missing or broken.
  """
  try:
    content = path.read_bytes()
  except OSError as error:
    raise UserError(
      f'{path}: cannot read the vocabulary ({error.strerror}); give a'
      " SentencePiece .model file, a tokenizer.json, or 'bytes'"
    ) from error
  processor = sentencepiece.SentencePieceProcessor()
  try:
    processor.LoadFromSerializedProto(content)
  except RuntimeError as error:
    raise UserError(
      f"{path}: not a SentencePiece .model file; give one, or 'bytes'"
    ) from error
  return content, processor


def encode(
  processor: sentencepiece.SentencePieceProcessor, texts: Sequence[str]
) -> list[list[int]]:
  """Ids of each text on SentencePiece's own threads, without the GIL."""
  texts = list(texts)
  if not texts:
    return []
  try:
    return processor.encode(texts, out_type=int, num_threads=-1)
  except TypeError:  # what SentencePiece says of a lone surrogate
    texts = [surrogates.replaced(text) for text in texts]
    return processor.encode(texts, out_type=int, num_threads=-1)


def _piece(
  processor: sentencepiece.SentencePieceProcessor, index: int
) -> str | None:
  return processor.id_to_piece(index) if index >= 0 else None


def _special_encoder(
  encode_text: Callable[[str], list[int]],
  special_ids: Mapping[str, int],
  *,
  each_begins: bool,
) -> Callable[[str], list[int]]:
  """Text -> ids, where special tokens in it stand for themselves.

  Args:
    encode_text: text without special tokens -> ids.
    special_ids: special token -> id.
    each_begins: whether a text begins again after every special token.
  """
  longest_first = sorted(special_ids, key=len, reverse=True)
  pattern = re.compile(f'({"|".join(map(re.escape, longest_first)) or "(?!)"})')

  def encode_special(text: str) -> list[int]:
    ids = []
    for place, part in enumerate(pattern.split(text)):
      if place % 2:
        ids.append(special_ids[part])
      elif part and (each_begins or place == 0):
        ids += encode_text(part)
      elif part:
        ids += encode_rest(encode_text, part)
    return ids

  return encode_special


def _decode(
  processor: sentencepiece.SentencePieceProcessor,
  special_ids: frozenset[int],
  ids: Sequence[int],
) -> str:
  size = processor.get_piece_size()
  return processor.decode(
    [int(i) for i in ids if 0 <= i < size and i not in special_ids]
  )


def _without(
  content: bytes, ids: Collection[int]
) -> sentencepiece.SentencePieceProcessor:
  """The model with these pieces marked as never to be used for a text."""
  from sentencepiece import sentencepiece_model_pb2

  protos: Any = sentencepiece_model_pb2  # its classes are made at run time
  model = protos.ModelProto.FromString(content)
  for index in ids:
    model.pieces[index].type = model.SentencePiece.UNUSED
  processor = sentencepiece.SentencePieceProcessor()
  processor.LoadFromSerializedProto(model.SerializeToString())
  return processor
