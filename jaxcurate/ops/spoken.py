"""Conversations as token ids, and which of them the assistant has to say.

Training on instructions learns what the assistant says and reads the rest
(LESS, arXiv 2402.04333, section 4.1; so do Open-Instruct and Alpaca). What
trains and what scores a document as training would see it share this file.
"""

from collections.abc import Sequence

from jaxcurate.types import ChatVocabulary, Vocabulary

Turns = Sequence[tuple[str, str]]  # (role, content)

_ASSISTANT = 'assistant'
_MARKS = ('\n', 'a', '.')


def written(
  turns: Turns, vocabulary: Vocabulary
) -> tuple[list[int], list[bool]]:
  """Ids of all turns for a decoder, and which the assistant has to say.

  By the chat template where there is one; else turn after turn, a line break
  between them and EOS after what the assistant says. BOS begins them where
  the vocabulary has one.

  Args:
    turns: (role, content) of each.
    vocabulary: the model's.

  Raises:
    ValueError: the chat template refuses these turns.

  >>> from jaxcurate.data.vocabulary import ByteVocabulary
  >>> written((('user', 'a'), ('assistant', 'b')), ByteVocabulary())
  ([100, 13, 101, 1, 13], [False, False, True, True, False])
  """
  if isinstance(vocabulary, ChatVocabulary) and vocabulary.chat_template:
    return _by_template(turns, vocabulary)
  ids = [] if vocabulary.bos_id is None else [vocabulary.bos_id]
  spoken = [False] * len(ids)
  line_break = following_ids('\n', vocabulary)
  contents = vocabulary.encode_batch([content for _, content in turns])
  for (role, _), content in zip(turns, contents, strict=True):
    speaks = role == _ASSISTANT
    own = [*content, vocabulary.eos_id] if speaks else content
    ids += [*own, *line_break]
    spoken += [speaks] * len(own) + [False] * len(line_break)
  return ids, spoken


def last_answer(
  turns: Turns, vocabulary: Vocabulary
) -> tuple[list[int], list[int]] | None:
  """What an encoder reads and a decoder says: the last answer, after the rest.

  Args:
    turns: (role, content) of each.
    vocabulary: the model's.

  Returns:
    Ids of what comes before, contents joined by line breaks, and of the last
    answer, both without EOS; None where nobody answers.
  """
  places = [i for i, (role, _) in enumerate(turns) if role == _ASSISTANT]
  if not places:
    return None
  before = '\n'.join(content for _, content in turns[: places[-1]])
  prompt, answer = vocabulary.encode_batch([before, turns[places[-1]][1]])
  return prompt, answer


def following_ids(text: str, vocabulary: Vocabulary) -> list[int]:
  """Ids of a text that goes on after another one.

  A vocabulary may put a space where a text begins; here none may come in, so
  the text is encoded after a character that it does not merge with.

  Args:
    text: may be empty.
    vocabulary: the model's.
  """
  for mark in _MARKS:
    head, both = vocabulary.encode_batch([mark, mark + text])
    if both[: len(head)] == head:
      return both[len(head) :]
  return vocabulary.encode_batch([text])[0]


def _by_template(
  turns: Turns, vocabulary: ChatVocabulary
) -> tuple[list[int], list[bool]]:
  ids = vocabulary.encode_chat(turns, add_generation_prompt=False)
  spoken = [False] * len(ids)
  for index, (role, _) in enumerate(turns):
    if role != _ASSISTANT:
      continue
    start = _shared(ids, vocabulary.encode_chat(turns[:index])) if index else 0
    done = turns[: index + 1]
    end = _shared(
      ids, vocabulary.encode_chat(done, add_generation_prompt=False)
    )
    spoken[start:end] = [True] * (end - start)
  return ids, spoken


def _shared(whole: Sequence[int], start: Sequence[int]) -> int:
  """How many ids two sequences have in common at their start."""
  pairs = zip(whole, start, strict=False)
  same = (index for index, (a, b) in enumerate(pairs) if a != b)
  return next(same, min(len(whole), len(start)))
