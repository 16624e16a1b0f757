"""Instructions with answers, and conversations, as turns.

The layout is known from a row's columns:

  messages, conversations, conversation: a list of {role, content} (OpenAI) or
    {from, value} (ShareGPT), with `system` beside it or not
  instruction, output or response, input or context or neither (Alpaca, Dolly)
  instruction, instances with one {input, output} (Self-Instruct)
  prompt, completion or response
  question, answer or response, rationale or none (FLAN's chains of thought,
    where the answer follows its rationale; OpenOrca with `system_prompt`)
  text, role, replies (an Open Assistant message), prompt with these (a tree):
    of the thread that goes on with the best-ranked reply each time

Columns that are null are not there.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxcurate.data import cells
from jaxcurate.data.cells import Bad

Turns = tuple[tuple[str, str], ...]  # (role, content)

_LISTS = ('messages', 'conversations', 'conversation')
# Column of what is asked -> columns of what may go with it, and of answers.
_ASKED = {
  'instruction': (('input', 'context'), ('output', 'response')),
  'prompt': ((), ('completion', 'response')),
  'question': ((), ('answer', 'response')),
}
_SYSTEM = ('system', 'system_prompt')
COLUMNS = (
  *_LISTS,
  *_SYSTEM,
  *_ASKED,
  *(name for more, answers in _ASKED.values() for name in (*more, *answers)),
  *('rationale', 'instances', 'text', 'role'),
  *('replies', 'message_id', 'parent_id'),
)
_ROLES = {
  **dict.fromkeys(('system', 'developer'), 'system'),
  **dict.fromkeys(('user', 'human', 'prompter'), 'user'),
  **dict.fromkeys(('assistant', 'gpt', 'chatgpt', 'model', 'bot'), 'assistant'),
}


def to_turns(raw: Mapping[str, Any]) -> Turns | Bad | None:
  """Turns of a row, why it has none, or None for a row of no known layout.

  Args:
    raw: column -> value.

  >>> to_turns({'prompt': 'Hi', 'completion': 'Ho'})
  (('user', 'Hi'), ('assistant', 'Ho'))
  >>> to_turns({'prompt': 'Hi', 'completion': ''}).reason
  'empty turn'
  >>> to_turns({'text': 'plain'})
  """
  found = {name: _listed(raw, name) for name in _LISTS}
  found |= {name: _asked(raw, name) for name in _ASKED}
  found['replies'] = _thread(raw)
  found = {name: turns for name, turns in found.items() if turns is not None}
  if len(set(found.values())) > 1:
    return Bad(
      'ambiguous conversation',
      f'columns {" and ".join(map(repr, found))} say different things',
    )
  return next(iter(found.values()), None)


def text_of(turns: Turns) -> str:
  r"""Contents of the turns, joined by blank lines.

  >>> text_of((('user', 'Hi'), ('assistant', 'Ho')))
  'Hi\n\nHo'
  """
  return '\n\n'.join(content for _, content in turns)


def _listed(raw: Mapping[str, Any], name: str) -> Turns | Bad | None:
  messages = raw.get(name)
  if messages is None:
    return None
  if not isinstance(messages, list) or not messages:
    return Bad('broken conversation', f'{name!r} is no list of turns')
  turns = []
  for place, message in enumerate(messages):
    if not isinstance(message, dict):
      return Bad('broken conversation', f'turn {place} is no object')
    # Parquet gives a missing key as null.
    role = message.get('role') or message.get('from')
    content = message.get('content')
    content = message.get('value') if content is None else content
    turns.append((role, _joined_parts(content)))
  return _checked(_with_system(raw, turns))


def _joined_parts(content: Any) -> Any:
  """Text of OpenAI's content parts; anything else is as it was."""
  if not isinstance(content, list):
    return content
  parts = [
    part['text']
    for part in content
    if isinstance(part, dict) and isinstance(part.get('text'), str)
  ]
  return ''.join(parts) if len(parts) == len(content) else content


def _asked(raw: Mapping[str, Any], name: str) -> Turns | Bad | None:
  asked, (more, answers) = raw.get(name), _ASKED[name]
  if asked is None or isinstance(asked, dict):
    return None
  if name == 'instruction' and raw.get('instances') is not None:
    instance = _of_one_instance(raw)
    if isinstance(instance, Bad):
      return instance
    raw = instance
  answer, further = _one_of(raw, answers), _one_of(raw, more)
  if answer is None:
    return None
  for value in (answer, further):
    if isinstance(value, Bad):
      return value
  if name == 'question' and raw.get('rationale') is not None:
    answer = _joined(raw['rationale'], answer)
  turns = [('user', _joined(asked, further)), ('assistant', answer)]
  return _checked(_with_system(raw, turns))


def _of_one_instance(raw: Mapping[str, Any]) -> Mapping[str, Any] | Bad:
  instances = raw['instances']
  if isinstance(instances, list) and len(instances) == 1:
    if isinstance(instances[0], dict):
      return {**raw, **instances[0]}
  return Bad('ambiguous conversation', "'instances' is no list of one object")


def _one_of(raw: Mapping[str, Any], names: Sequence[str]) -> Any:
  """The value of these columns, where they agree; None where there is none."""
  values = {name: raw[name] for name in names if raw.get(name) is not None}
  first = next(iter(values.values()), None)
  if any(value != first for value in values.values()):
    return Bad(
      'ambiguous conversation', f'{" and ".join(map(repr, values))} differ'
    )
  return first


def _joined(first: Any, second: Any) -> Any:
  """Two cells with a blank line between; one of them where it is alone."""
  cleaned = [cells.string(value) for value in (first, second)]
  bad = next((value for value in cleaned if isinstance(value, Bad)), None)
  parts = [str(value) for value in cleaned if value not in (None, '')]
  return bad or '\n\n'.join(parts)


def _with_system(
  raw: Mapping[str, Any], turns: Sequence[tuple[Any, Any]]
) -> list[tuple[Any, Any]]:
  said = next((raw[name] for name in _SYSTEM if raw.get(name)), None)
  if said is None or turns[0][0] == 'system':
    return list(turns)
  return [('system', said), *turns]


def _thread(raw: Mapping[str, Any]) -> Turns | Bad | None:
  message = raw.get('prompt')
  if not isinstance(message, dict):
    if raw.get('role') is None or not {'replies', 'message_id'} & set(raw):
      return None
    message = raw
    if raw.get('parent_id') is not None:
      return Bad('broken conversation', 'a reply without what it replies to')
  turns = []
  while message is not None:
    turns.append((message.get('role'), message.get('text')))
    replies = [
      reply
      for reply in message.get('replies') or ()
      if isinstance(reply, dict) and not reply.get('deleted')
    ]
    message = min(replies, key=_rank, default=None)
  return _checked(turns)


def _rank(reply: Mapping[str, Any]) -> tuple[bool, int]:
  """Rank 0 is the best; without ranks the first reply is taken."""
  rank = reply.get('rank')
  return (False, rank) if isinstance(rank, int) else (True, 0)


def _checked(turns: Sequence[tuple[Any, Any]]) -> Turns | Bad:
  checked = []
  for place, (role, content) in enumerate(turns):
    name = cells.string(role)
    known = _ROLES.get(name) if isinstance(name, str) else None
    if known is None:
      return Bad(
        'unknown role',
        f'turn {place} is of {role!r}; known: {", ".join(sorted(_ROLES))}',
      )
    text = content if isinstance(content, Bad) else cells.string(content)
    if isinstance(text, Bad):
      return Bad('broken turn', f'turn {place} ({known}): {text.reason}')
    if text is None or not str(text).strip():
      return Bad('empty turn', f'turn {place} ({known}) says nothing')
    checked.append((known, str(text)))
  return tuple(checked)
