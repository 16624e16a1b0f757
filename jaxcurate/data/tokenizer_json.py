"""`tokenizer.json`, the format of Hugging Face's `tokenizers`.

Its library leaves special tokens in a text alone when asked to, but some models
find them once more among their own pieces (Unigram always, BPE with
`ignore_merges`): for those, texts are read by a copy of the tokenizer in which
such pieces are spelt as no text is.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
import functools
import hashlib
import json
import pathlib
from typing import TYPE_CHECKING, Any

from jaxcurate.data import surrogates
from jaxcurate.data.tokenizer import Tokenizer
from jaxcurate.io.errors import UserError

if TYPE_CHECKING:
  import tokenizers  # imported late: T5 and byte vocabularies do without it

# An encoding holds the string of every token, some thirty times its id: texts
# go in by about this many characters, which costs no speed.
_CHUNK_CHARACTERS = 1 << 22


def read(path: pathlib.Path) -> Tokenizer:
  """Reads a tokenizer.json; its truncation and padding do not apply.

  Raises:
    UserError: the file is missing or broken, or `tokenizers` is missing.
  """
  try:
    content = path.read_bytes()
  except OSError as error:
    raise UserError(
      f'{path}: cannot read the tokenizer ({error.strerror})'
    ) from error
  digest = hashlib.blake2b(content, digest_size=8).hexdigest()
  full, plain = _parse(content, path), _parse(content, path)
  plain.encode_special_tokens = True  # as text, that is
  special_ids = {
    token.content: index
    for index, token in full.get_added_tokens_decoder().items()
    if token.special
  }
  unk_id = _unk_id(full, content)
  found = {i for ids in _encode(plain, list(special_ids)) for i in ids}
  confused = {
    token
    for token, index in special_ids.items()
    if index in found and index != unk_id
  }
  if confused:
    plain = _parse(_respelt(content, confused, digest), path)
    plain.encode_special_tokens = True
  begins_with, ends_with = _around(full, special_ids)
  text_ids = set(full.get_vocab().values()) - set(special_ids.values())
  return Tokenizer(
    digest=digest,
    encode=functools.partial(_encode, plain),
    encode_special=lambda text: _encode(full, [text])[0],
    decode=functools.partial(_decode, full),
    special_ids=special_ids,
    num_text_ids=1 + max(text_ids, default=-1),
    unk_id=unk_id,
    begins_with=begins_with,
    ends_with=ends_with,
  )


def _parse(content: bytes, path: pathlib.Path) -> 'tokenizers.Tokenizer':
  try:
    import tokenizers
  except ImportError as error:
    raise UserError(
      f'{path}: needs the package tokenizers; pip install tokenizers'
    ) from error
  try:
    tokenizer = tokenizers.Tokenizer.from_buffer(content)
  except ValueError as error:
    raise UserError(f'{path}: not a tokenizer.json ({error})') from error
  tokenizer.no_truncation()
  tokenizer.no_padding()
  return tokenizer


def _encode(
  tokenizer: 'tokenizers.Tokenizer', texts: Sequence[str]
) -> list[list[int]]:
  """Ids of each text on the library's threads, without the GIL."""
  ids = []
  for chunk in _chunks(texts):
    try:
      encoded = tokenizer.encode_batch_fast(chunk, add_special_tokens=False)
    except TypeError:  # what it says of a lone surrogate
      chunk = [surrogates.replaced(text) for text in chunk]
      encoded = tokenizer.encode_batch_fast(chunk, add_special_tokens=False)
    ids.extend(encoding.ids for encoding in encoded)
  return ids


def _chunks(texts: Sequence[str]) -> Iterator[list[str]]:
  chunk, room = [], _CHUNK_CHARACTERS
  for text in texts:
    if chunk and len(text) > room:
      yield chunk
      chunk, room = [], _CHUNK_CHARACTERS
    chunk.append(text)
    room -= len(text)
  if chunk:
    yield chunk


def _decode(tokenizer: 'tokenizers.Tokenizer', ids: Sequence[int]) -> str:
  size = tokenizer.get_vocab_size(with_added_tokens=True)
  return tokenizer.decode([int(i) for i in ids if 0 <= i < size])


def _unk_id(tokenizer: 'tokenizers.Tokenizer', content: bytes) -> int | None:
  model: Any = tokenizer.model
  if hasattr(model, 'unk_token'):
    unk_token = model.unk_token
    return None if unk_token is None else tokenizer.token_to_id(unk_token)
  return json.loads(content)['model'].get('unk_id')  # Unigram


def _around(
  tokenizer: 'tokenizers.Tokenizer', special_ids: Mapping[str, int]
) -> tuple[str | None, str | None]:
  """Special tokens that the file's post-processor puts around a text."""
  text = tokenizer.encode('a', add_special_tokens=False).ids
  whole = tokenizer.encode('a').ids
  extra = len(whole) - len(text)
  names = {index: token for token, index in special_ids.items()}
  places = (i for i in range(extra + 1) if whole[i:][: len(text)] == text)
  before = next(places, 0)
  return (
    names.get(whole[0]) if before else None,
    names.get(whole[-1]) if before < extra else None,
  )


def _respelt(content: bytes, tokens: Collection[str], digest: str) -> bytes:
  """The tokenizer with these tokens under names that no text contains."""
  data = json.loads(content)
  names = {token: f'\0{digest}\0{token}' for token in tokens}
  for added in data['added_tokens']:
    added['content'] = names.get(added['content'], added['content'])
  model = data['model']
  if isinstance(model['vocab'], dict):
    model['vocab'] = {
      names.get(piece, piece): index for piece, index in model['vocab'].items()
    }
  else:
    model['vocab'] = [
      [names.get(piece, piece), score] for piece, score in model['vocab']
    ]
  if 'merges' in model:  # older files write one as 'a b', newer as ['a', 'b']
    model['merges'] = [
      merge
      for merge in model['merges']
      if ''.join(merge.split(' ') if isinstance(merge, str) else merge)
      not in tokens
    ]
  return json.dumps(data).encode()
