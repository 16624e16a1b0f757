"""What a tokenizer file does, whatever its format."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple


class Tokenizer(NamedTuple):
  """A tokenizer file as functions.

  Attributes:
    digest: of the file.
    encode: texts -> ids of each; no text becomes a special token.
    encode_special: text -> ids; special tokens that it spells count.
    decode: ids -> text; special tokens and ids past the end vanish.
    special_ids: special token -> id.
    num_text_ids: 1 + the largest id that a text can become.
    unk_id: None where every text can be spelt.
    begins_with: the special token that the file puts before every text.
    ends_with: the one that it puts, or keeps, for the end.
  """

  digest: str
  encode: Callable[[Sequence[str]], list[list[int]]]
  encode_special: Callable[[str], list[int]]
  decode: Callable[[Sequence[int]], str]
  special_ids: Mapping[str, int]
  num_text_ids: int
  unk_id: int | None
  begins_with: str | None
  ends_with: str | None


_MARKS = ('\n', 'a', '.')


def encode_rest(encode: Callable[[str], list[int]], text: str) -> list[int]:
  """Ids of a text that goes on after another one.

  SentencePiece puts a space where a text begins; here none may come in, so
  the text is encoded after a character that it does not merge with.

  Args:
    encode: text -> ids.
    text: may be empty.
  """
  for mark in _MARKS:
    head, both = encode(mark), encode(mark + text)
    if both[: len(head)] == head:
      return both[len(head) :]
  return encode(text)
