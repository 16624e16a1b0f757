"""Vocabularies of decoder-only models: Llama, Qwen, Gemma and their kin.

Whether a text begins with BOS is said by tokenizer_config.json's
`add_bos_token`, or else by the tokenizer file itself: the post-processor of a
tokenizer.json, or a SentencePiece model that has a BOS piece.
"""

from collections.abc import Sequence
import functools
import hashlib
import os
import pathlib

from jaxcurate.data import (
  chat,
  chat_tokens,
  tokenizer_json,
  tokenizer_sentencepiece,
  tokenizer_settings,
)
from jaxcurate.data import tokenizer as tokenizer_lib
from jaxcurate.data.tokenizer import Tokenizer
from jaxcurate.data.tokenizer_settings import Settings
from jaxcurate.io.errors import UserError

# Of GPT-2, GPT-NeoX and OLMo; of Llama and T5: for a tokenizer.json that comes
# alone and whose post-processor adds nothing.
_END_TOKENS = ('<|endoftext|>', '</s>')


class DecoderVocabulary:
  """A tokenizer.json or tokenizer.model, with the files that lie beside it.

  Satisfies `jaxcurate.types.ChatVocabulary`. It is a class because it holds a
  tokenizer; nothing about it changes after construction.

  Attributes:
    size: 1 + the largest id of texts, BOS, EOS, sentinels and of what the chat
      template writes. (Gemma 3 has one more, for images, than its models.)
    bos_id: what every text begins with, None for nothing.
    eos_id: what a text ends with.
    unk_id: None where every text can be spelt.
    name: hash of all that it is made of; equal names, equal ids.
    bos_token, eos_token: what a chat template means by these, or None.
    chat_template: Jinja source, None where the tokenizer has none.
  """

  def __init__(self, path: str | os.PathLike[str]):
    path = pathlib.Path(path)
    settings = tokenizer_settings.read(path.parent)
    if path.suffix == '.json':
      tokenizer = tokenizer_json.read(path)
    else:
      tokenizer = tokenizer_sentencepiece.read(path, settings)
    self._tokenizer = tokenizer
    self.bos_token = settings.bos_token or tokenizer.begins_with
    self.eos_token = settings.eos_token or tokenizer.ends_with
    self.chat_template = settings.chat_template
    self.bos_id: int | None = _bos_id(tokenizer, settings, path)
    self.eos_id: int = _eos_id(tokenizer, settings, path)
    self.unk_id: int | None = tokenizer.unk_id
    self.size: int = 1 + max(
      tokenizer.num_text_ids - 1,
      self.eos_id,
      -1 if self.bos_id is None else self.bos_id,
      *_further_ids(tokenizer, settings),
    )
    parts = (
      tokenizer.digest,
      self.bos_id,
      self.eos_id,
      self.chat_template,
      sorted(settings.added_tokens.items()),
      sorted(settings.special_tokens),
      settings.legacy,
    )
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()
    self.name = f'{path.name}:{digest}'

  def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
    """Ids of each text, without BOS and EOS; specials in it are plain text.

    Many texts are read by several threads, without the GIL. Lone surrogates,
    which JSON escapes can spell and UTF-8 cannot, become U+FFFD.
    """
    return self._tokenizer.encode(texts)

  def encode_special(self, text: str) -> list[int]:
    """Ids of one text in which special tokens count, for chat templates."""
    return self._tokenizer.encode_special(text)

  def encode_chat(
    self,
    turns: Sequence[tuple[str, str]],
    *,
    add_generation_prompt: bool = True,
  ) -> list[int]:
    """Ids of (role, content) turns as the chat template writes them.

    Special tokens that a content spells are plain text. BOS is there where
    the template writes it.

    Raises:
      ValueError: there is no template, or it refuses these turns.
    """
    render = functools.partial(
      chat.render,
      self._template(),
      add_generation_prompt=add_generation_prompt,
      bos_token=self.bos_token,
      eos_token=self.eos_token,
    )
    return chat_tokens.encode(
      turns,
      render=render,
      encode_text=lambda text: self._tokenizer.encode([text])[0],
      encode_special=self.encode_special,
      special_tokens=self._tokenizer.special_ids,
    )

  def encode_chat_frame(self, user_text: str) -> tuple[list[int], list[int]]:
    """Ids before and after '{text}' when a user says `user_text`.

    Raises:
      ValueError: there is no template, it alters what the user says, or
        '{text}' is not there exactly once.
    """
    before, after = chat.frame(
      self._template(),
      user_text,
      bos_token=self.bos_token,
      eos_token=self.eos_token,
    )
    rest = tokenizer_lib.encode_rest(self.encode_special, after)
    return self.encode_special(before), rest

  def decode(self, ids: Sequence[int]) -> str:
    """Text of the ids; special tokens and ids past the end vanish."""
    return self._tokenizer.decode(ids)

  def sentinel_id(self, index: int) -> int:
    """Id of <extra_id_index>, which a T5 tokenizer.json has.

    Raises:
      ValueError: it is not there.
    """
    found = self._tokenizer.special_ids.get(f'<extra_id_{index}>')
    if found is None:
      raise ValueError(
        f'sentinel {index} asked for, the tokenizer has no <extra_id_{index}>:'
        ' span corruption needs the vocabulary of a T5'
      )
    return found

  def _template(self) -> str:
    if self.chat_template is None:
      raise ValueError(
        'the tokenizer has no chat template: take an instruction-tuned model,'
        ' or put a chat_template.jinja beside its tokenizer'
      )
    return self.chat_template


def _bos_id(
  tokenizer: Tokenizer, settings: Settings, path: pathlib.Path
) -> int | None:
  if settings.add_bos is None:
    token = tokenizer.begins_with
  elif settings.add_bos:
    token = settings.bos_token or tokenizer.begins_with
  else:
    token = None
  return None if token is None else _id_of(token, 'bos_token', tokenizer, path)


def _eos_id(
  tokenizer: Tokenizer, settings: Settings, path: pathlib.Path
) -> int:
  if settings.eos_token is not None:
    return _id_of(settings.eos_token, 'eos_token', tokenizer, path)
  if settings.eos_id is not None:
    return settings.eos_id
  for token in (tokenizer.ends_with, *_END_TOKENS):
    if token is not None and token in tokenizer.special_ids:
      return tokenizer.special_ids[token]
  raise UserError(
    f'{path}: nothing says which token ends a text; put a'
    ' tokenizer_config.json with "eos_token" beside it'
  )


def _id_of(
  token: str, name: str, tokenizer: Tokenizer, path: pathlib.Path
) -> int:
  ids = tokenizer.encode_special(token)
  if len(ids) != 1:
    raise UserError(
      f'{path.parent / "tokenizer_config.json"}: {name} is {token!r}, which is'
      f' {len(ids)} tokens of {path.name}, expected 1; take both files from the'
      ' same model'
    )
  return ids[0]


def _further_ids(tokenizer: Tokenizer, settings: Settings) -> list[int]:
  """Ids of the sentinels and of specials that the chat template writes."""
  template = settings.chat_template or ''
  return [
    index
    for token, index in tokenizer.special_ids.items()
    if token in template
    or token.startswith('<extra_id_')
    or (token == settings.bos_token and 'bos_token' in template)
    or (token == settings.eos_token and 'eos_token' in template)
  ]
