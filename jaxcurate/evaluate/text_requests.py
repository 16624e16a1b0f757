"""From texts to the token ids of a request, as lm-evaluation-harness has it.

Followed to the letter (lm_eval 0.4, api/model.py and models/huggingface.py),
so that numbers can be compared: spaces that end a context go to the
continuation; a decoder encodes both together and cuts where the context alone
ends; an encoder-decoder encodes them apart, with EOS after the context.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from jaxcurate.evaluate.continuation_rows import Pair
from jaxcurate.types import ChatVocabulary, Vocabulary


class Encoder(NamedTuple):
  """How texts become ids.

  Attributes:
    ids: texts -> ids, no token added.
    causal: of a decoder-only network.
    begin: what the tokenizer puts before every text.
    end: what it puts after every text that an encoder reads.
    alone: stands for a context that is empty.
  """

  ids: Callable[[Sequence[str]], list[list[int]]]
  causal: bool
  begin: tuple[int, ...]
  end: tuple[int, ...]
  alone: int


def make_encoder(
  vocabulary: Vocabulary, *, causal: bool, special_tokens: bool = False
) -> Encoder:
  """The encoder of a vocabulary.

  Args:
    vocabulary: of the network.
    causal: whether the network is decoder-only.
    special_tokens: whether special tokens that a text spells count, as in the
      harness, where chat templates are written out; else they are text.
  """
  alone = vocabulary.eos_id if vocabulary.bos_id is None else vocabulary.bos_id
  ids = vocabulary.encode_batch
  if isinstance(vocabulary, ChatVocabulary):
    encode_special = vocabulary.encode_special
    if vocabulary.bos_id is None and vocabulary.bos_token is not None:
      [alone] = encode_special(vocabulary.bos_token)
    if special_tokens:

      def ids(texts: Sequence[str]) -> list[list[int]]:
        return [encode_special(text) for text in texts]

  begin = () if vocabulary.bos_id is None else (vocabulary.bos_id,)
  return Encoder(
    ids=ids,
    causal=causal,
    begin=begin if causal else (),
    end=() if causal else (vocabulary.eos_id,),
    alone=alone,
  )


def encode_texts(encoder: Encoder, texts: Sequence[str]) -> list[list[int]]:
  """Ids of texts as the network reads them, BOS or EOS included.

  Args:
    encoder: of `make_encoder`.
    texts: one that spells BOS itself gets no second one.
  """
  begin, end = list(encoder.begin), list(encoder.end)
  return [
    ids + end if begin and ids[:1] == begin else begin + ids + end
    for ids in encoder.ids(texts)
  ]


def encode_pairs(
  encoder: Encoder, pairs: Sequence[tuple[str, str]]
) -> list[Pair]:
  """Ids of contexts and continuations; no context is empty.

  Where the ends of a context and the beginning of its continuation become one
  token, so that nothing is left of the continuation, it begins with that
  token. (The harness stops there.)

  Args:
    encoder: of `make_encoder`.
    pairs: (context, continuation).
  """
  pairs = [_spaces_moved(*pair) for pair in pairs]
  contexts = _encoded(lambda t: encode_texts(encoder, t), (c for c, _ in pairs))
  plain = _encoded(
    encoder.ids, (t for c, t in pairs if not (c and encoder.causal))
  )
  whole = _encoded(
    lambda t: encode_texts(encoder, t),
    (c + t for c, t in pairs if c and encoder.causal),
  )
  found: list[Pair] = []
  for context, continuation in pairs:
    before = contexts[context] if context else [encoder.alone]
    if not context:
      after = plain[continuation]
      if after[:1] == before:
        after = after[1:]
    elif encoder.causal:
      both = whole[context + continuation]
      after = both[len(before) :]
      if not after and continuation:
        shared = _shared_length(before, both)
        before, after = before[:shared], both[shared:]
    else:
      after = plain[continuation]
    found.append((before or [encoder.alone], after))
  return found


def windows(ids: Sequence[int], alone: int, max_length: int) -> list[Pair]:
  """A text in pieces of which every token is predicted exactly once.

  All but the first token of a window have as much before them as fits.

  Args:
    ids: of the whole text, may be empty.
    alone: what the first token is predicted from.
    max_length: tokens the network reads at a time.

  Returns:
    (context, continuation) of each window.

  >>> windows(range(10, 15), 0, 3)
  [([0], [10, 11, 12]), ([11, 12], [13, 14])]
  """
  ids = list(ids)
  found: list[Pair] = []
  if ids:
    found.append(([alone], ids[:max_length]))
  for start in range(max_length, len(ids), max_length):
    end = min(start + max_length, len(ids))
    found.append((ids[end - max_length - 1 : start], ids[start:end]))
  return found


def _spaces_moved(context: str, continuation: str) -> tuple[str, str]:
  kept = context.rstrip()
  return kept, context[len(kept) :] + continuation


def _encoded(
  encode: Callable[[Sequence[str]], list[list[int]]], texts: Iterable[str]
) -> dict[str, list[int]]:
  """Ids by text, each text encoded once."""
  unique = list(dict.fromkeys(texts))
  return dict(zip(unique, encode(unique), strict=True))


def _shared_length(first: Sequence[int], second: Sequence[int]) -> int:
  """How many ids two lists have in common from the start."""
  for length, (a, b) in enumerate(zip(first, second, strict=False)):
    if a != b:
      return length
  return min(len(first), len(second))
