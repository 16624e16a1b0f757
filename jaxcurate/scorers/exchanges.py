"""Conversations as exchanges: what was asked, and what was answered."""

from collections.abc import Mapping, Sequence
import re
from typing import NamedTuple

from jaxcurate.types import Document


class Exchange(NamedTuple):
  """What a user said, and what the assistant said to it; '' for nothing."""

  instruction: str
  response: str


def of_document(document: Document) -> list[Exchange]:
  """The exchanges of a document, none of one that is no conversation.

  Every turn of the user begins an exchange; system prompts belong to none.

  Args:
    document: `turns` is read.

  >>> turns = (('user', 'Hi'), ('assistant', 'Ho'), ('user', 'Bye'))
  >>> of_document(Document('a', 'Hi Ho Bye', None, turns=turns))
  ... # doctest: +NORMALIZE_WHITESPACE
  [Exchange(instruction='Hi', response='Ho'),
   Exchange(instruction='Bye', response='')]
  """
  found: list[Exchange] = []
  for role, content in document.turns or ():
    if role == 'user':
      found.append(Exchange(content, ''))
    elif role == 'assistant':
      last = found.pop() if found else Exchange('', '')
      parts = [part for part in (last.response, content) if part]
      found.append(last._replace(response='\n'.join(parts)))
  return found


def fill(template: str, values: Mapping[str, str]) -> str:
  """The template with its `{name}` replaced; braces in values are text.

  Args:
    template: with names of `values` in braces.
    values: name -> text.

  >>> fill('{a}, {b}!', {'a': '{b}', 'b': 'x'})
  '{b}, x!'
  """
  names = '|'.join(map(re.escape, values))
  return re.sub(f'{{({names})}}', lambda found: values[found[1]], template)


def check_template(template: str, names: Sequence[str]) -> None:
  """Refuses a template that lacks a place, or has one twice.

  Args:
    template: the template.
    names: of the places, in the order in which they must come.

  Raises:
    ValueError: says which.
  """
  for name in names:
    count = template.count(f'{{{name}}}')
    if count != 1:
      raise ValueError(
        f'template has {{{name}}} {count} times, expected once:'
        f' {template[:60]!r}'
      )
  places = [template.index(f'{{{name}}}') for name in names]
  if places != sorted(places):
    order = ', '.join(f'{{{name}}}' for name in names)
    raise ValueError(f'template must have {order} in this order')
