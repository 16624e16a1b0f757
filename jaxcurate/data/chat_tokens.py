"""Token ids of a conversation, whose contents cannot forge special tokens.

A template's string is encoded with special tokens counting. Where a content
spells one itself, private-use marks go around it before the template sees it,
and what stands between marks is encoded as plain text (transformers 5 calls
this `sanitize_control_tokens`).
"""

from collections.abc import Callable, Iterable
import re

from jaxcurate.data.chat import Turns
from jaxcurate.data.tokenizer import encode_rest

# Private use; contents lose them, and `chat.frame` uses others.
_START, _END = '\ue010', '\ue011'
_MARKS = re.compile(f'[{_START}{_END}]')


def encode(
  turns: Turns,
  *,
  render: Callable[[Turns], str],
  encode_text: Callable[[str], list[int]],
  encode_special: Callable[[str], list[int]],
  special_tokens: Iterable[str],
) -> list[int]:
  """Ids of the turns as `render` writes them.

  Args:
    turns: (role, content) of each.
    render: turns -> one string with special tokens in it.
    encode_text: text -> ids, special tokens in it being plain text.
    encode_special: text -> ids, special tokens in it counting.
    special_tokens: all of them.

  Raises:
    ValueError: as `render` does.
  """
  contents = '\n'.join(content for _, content in turns)
  spelt = [token for token in special_tokens if token in contents]
  if not spelt:
    return encode_special(render(turns))
  spelt.sort(key=len, reverse=True)
  pattern = re.compile('|'.join(map(re.escape, spelt)))

  def mark(content: str) -> str:
    content = _MARKS.sub('', content)
    return pattern.sub(f'{_START}\\g<0>{_END}', content)

  rendered = render([(role, mark(content)) for role, content in turns])
  first, *parts = re.split(f'{_START}([^{_START}{_END}]*){_END}', rendered)
  ids = encode_special(first)
  for place, part in enumerate(parts):
    # A template that cut a marked token apart leaves a lone mark behind.
    part = _MARKS.sub('', part)
    ids += encode_rest(encode_special if place % 2 else encode_text, part)
  return ids
