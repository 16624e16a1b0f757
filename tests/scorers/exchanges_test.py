"""Conversations as exchanges, and templates that hold them."""

import pytest

from jaxcurate.scorers import exchanges
from jaxcurate.types import Document


def of_turns(*turns):
  return exchanges.of_document(Document('a', 'text', None, turns=turns))


def test_turns_pair_up():
  assert of_turns(
    ('system', 'Be kind.'),
    ('user', 'Hi'),
    ('assistant', 'Ho'),
    ('user', 'More'),
    ('assistant', 'and'),
    ('assistant', 'more'),
    ('user', 'Bye'),
  ) == [('Hi', 'Ho'), ('More', 'and\nmore'), ('Bye', '')]


def test_who_speaks_first_and_who_is_not_answered():
  assert of_turns(('assistant', 'Ho')) == [('', 'Ho')]
  assert of_turns(('user', 'a'), ('user', 'b')) == [('a', ''), ('b', '')]
  assert of_turns(('system', 'Be kind.')) == []
  assert exchanges.of_document(Document('a', 'text', None)) == []


def test_braces_in_a_value_are_text():
  values = {'instruction': '{output} {x}', 'output': '{instruction}'}
  assert (
    exchanges.fill('{x} {instruction}|{output}', values)
    == '{x} {output} {x}|{instruction}'
  )


@pytest.mark.parametrize(
  'template, message',
  [
    ('{b}', '{a} 0 times'),
    ('{a} {a} {b}', '{a} 2 times'),
    ('{b} then {a}', '{a}, {b} in this order'),
  ],
)
def test_templates_are_checked(template, message):
  exchanges.check_template('{a} then {b} {c}', ['a', 'b'])
  with pytest.raises(ValueError, match=message):
    exchanges.check_template(template, ['a', 'b'])
