import numpy as np
import pytest

from jaxcurate.data.rows import (
  Bad,
  Fields,
  everything,
  to_row,
  to_vector,
)
from jaxcurate.types import Document

FIELDS = Fields()


def test_a_full_row_by_hand():
  raw = {'text': 'Hello.', 'id': 'd7', 'domain': 'news', 'extra': 3}
  assert to_row(raw, FIELDS, 'f:0') == Document('d7', 'Hello.', 'news', None)


@pytest.mark.parametrize(
  ('given', 'kept'),
  [
    ('own', 'own'),
    (b'own', 'own'),
    (0, '0'),
    (-3, '-3'),
    (2**70, str(2**70)),
    (np.int64(5), '5'),
    (None, 'f:0'),
    ('', 'f:0'),
  ],
)
def test_ids(given, kept):
  row = to_row({'text': 'x', 'id': given}, FIELDS, 'f:0')
  assert isinstance(row, Document)
  assert row.id == kept


@pytest.mark.parametrize('given', [1.0, True, ['a'], {'a': 1}])
def test_ids_that_are_neither_text_nor_numbers(given):
  found = to_row({'text': 'x', 'id': given}, FIELDS, 'f:0')
  assert isinstance(found, Bad)
  assert found.reason == 'bad id'


def test_domains_may_be_missing_or_numbers():
  domains = [
    to_row({'text': 'x', **given}, FIELDS, 'f:0').domain
    for given in ({}, {'domain': None}, {'domain': 4}, {'domain': 'web'})
  ]
  assert domains == [None, None, '4', 'web']


def test_columns_by_other_names():
  fields = Fields(text='content', id='key', domain='source', vector='v')
  raw = {'content': 'x', 'key': 'k', 'source': 's', 'v': [1, 2]}
  row = to_row(raw, fields, 'f:0', 2)
  assert row[:3] == ('k', 'x', 's')
  assert row.vector.dtype == np.float32
  assert to_row({'text': 'x'}, fields, 'f:0').detail == (
    "no 'content'; fields present: text"
  )
  assert 'fields present: none' in to_row({}, fields, 'f:0').detail


@pytest.mark.parametrize('space', ['', ' ', '\n\t\r', '\u3000\u2003', '\xa0'])
def test_whitespace_is_empty(space):
  assert to_row({'text': space}, FIELDS, 'f:0').reason == 'empty'
  assert isinstance(to_row({'text': space + '.'}, FIELDS, 'f:0'), Document)


def test_text_is_kept_as_it_is():
  text = ' \ufeff# heading ###\r\n\ttabs, \u202e and 😀 \x07'
  assert to_row({'text': text}, FIELDS, 'f:0').text == text
  assert to_row({'text': text.encode()}, FIELDS, 'f:0').text == text


def test_places_of_bad_characters():
  assert to_row({'text': 'ab\0c'}, FIELDS, 'f:0') == (
    'NUL byte',
    'at character 2',
  )
  assert to_row({'text': 'é\udc80'}, FIELDS, 'f:0') == (
    'invalid unicode',
    'lone surrogate U+DC80 at character 1',
  )
  assert to_row({'text': b'ab\xe9c'}, FIELDS, 'f:0') == (
    'invalid UTF-8',
    'byte 0xe9 at byte 2',
  )


def test_good_rows_can_always_be_encoded_and_hashed():
  from jaxcurate.ops.ids import hash_ids

  rng = np.random.default_rng(0)
  codes = rng.integers(0, 0x11000, 3000)
  good = 0
  for code in codes:
    found = to_row({'text': f'a{chr(code)}', 'id': chr(code)}, FIELDS, 'f:0')
    if isinstance(found, Document):
      good += 1
      assert found.text.encode('utf-8').decode('utf-8') == found.text
      hash_ids([found.id])
    else:
      assert code == 0 or 0xD800 <= code < 0xE000
  assert good > 2500


@pytest.mark.parametrize(
  ('value', 'detail'),
  [
    (None, 'has shape ()'),
    ([], 'has shape (0,)'),
    ([[1.0], [2.0]], 'has shape (2, 1)'),
    ('abc', 'not a list of numbers: abc'),
    ([1, 'x'], "not a list of numbers: [1, 'x']"),
    ([[1], [2, 3]], 'not a list of numbers'),
    ([1.0, float('inf')], 'holds NaN or infinity'),
    ([1e60, 0.0], 'holds NaN or infinity'),  # too large for float32
    ([1.0, 2.0, 3.0], 'has 3 numbers, the first row has 2'),
  ],
)
@pytest.mark.filterwarnings('ignore:overflow')
def test_bad_vectors(value, detail):
  found = to_vector(value, 2)
  assert isinstance(found, Bad)
  assert found.reason == 'bad vector'
  assert found.detail.startswith(detail)


def test_the_plan_for_everything():
  wanted, until = everything(5)
  assert wanted
  assert until > 10**12


def test_turns_where_they_are_asked_for():
  raw = {'prompt': 'Hi', 'completion': 'Ho', 'id': 'a'}
  assert to_row(raw, FIELDS, 'f:0') == (
    'missing text field',
    "no 'text'; fields present: completion, id, prompt (a conversation:"
    ' --turns reads it)',
  )
  fields = Fields(turns=True)
  turns = (('user', 'Hi'), ('assistant', 'Ho'))
  expected = Document('a', 'Hi\n\nHo', None, None, turns)
  assert to_row(raw, fields, 'f:0') == expected
  # What the turns say is the text, whatever stands in the column.
  assert to_row({**raw, 'text': 'x'}, fields, 'f:0') == expected
  assert to_row({'text': 'x'}, fields, 'f:0') == Document('f:0', 'x', None)
  assert to_row({'prompt': ''}, fields, 'f:0') == (
    'missing text field',
    "no 'text' and no conversation; fields present: prompt",
  )
  empty = {**raw, 'completion': ''}
  assert to_row(empty, fields, 'f:0').reason == 'empty turn'
