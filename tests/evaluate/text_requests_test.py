"""Texts to token ids, with a vocabulary that can be read off."""

import pytest

from jaxcurate.evaluate import text_requests


class Letters:
  """One id per letter, but 'th' is one token: 7."""

  size, eos_id, unk_id = 200, 1, None

  def __init__(self, bos_id=None):
    self.bos_id = bos_id

  def encode_batch(self, texts):
    return [
      [7 if c == '\0' else ord(c) for c in text.replace('th', '\0')]
      for text in texts
    ]

  def decode(self, ids):
    return ''.join(map(chr, ids))

  def sentinel_id(self, index):
    raise ValueError(index)


class ChatLetters(Letters):
  """Has a BOS that it does not put before texts, and reads it in texts."""

  bos_token, eos_token, chat_template = '^', '$', None

  def encode_special(self, text):
    return [{'^': 3, '$': 1}.get(c, ord(c)) for c in text]

  def encode_chat(self, turns, *, add_generation_prompt=True):
    raise ValueError

  def encode_chat_frame(self, user_text):
    raise ValueError


def ids(text):
  return [ord(c) for c in text]


def pairs(vocabulary, *given, causal=True, special_tokens=False):
  encoder = text_requests.make_encoder(
    vocabulary, causal=causal, special_tokens=special_tokens
  )
  return text_requests.encode_pairs(encoder, given)


def test_three_by_hand():
  assert pairs(Letters(3), ('ab', ' c'), ('', 'de'), ('ab ', 'c')) == [
    ([3, *ids('ab')], ids(' c')),
    ([3], ids('de')),
    ([3, *ids('ab')], ids(' c')),  # the space goes to the continuation
  ]


def test_an_encoder_reads_eos_after_the_context():
  found = pairs(Letters(), ('ab', ' c'), ('', 'de'), causal=False)
  assert found == [([*ids('ab'), 1], ids(' c')), ([1], ids('de'))]


def test_without_bos_eos_stands_for_an_empty_context():
  assert pairs(Letters(), ('', 'ab'), (' ', 'ab')) == [
    ([1], ids('ab')),
    ([1], ids(' ab')),
  ]
  # The harness takes a BOS that is known, though texts do not begin with it.
  assert pairs(ChatLetters(), ('', 'ab'), ('c', 'ab')) == [
    ([3], ids('ab')),
    (ids('c'), ids('ab')),
  ]


def test_both_are_encoded_together_and_cut_where_the_context_ends():
  # 'at' + 'h' is one token less than 'at' has: cut there, nothing is left.
  assert pairs(Letters(), ('cat', 'he')) == [(ids('cat'), ids('e'))]
  assert pairs(Letters(), ('cat', 'h')) == [(ids('ca'), [7])]
  assert pairs(Letters(), ('t', 'h')) == [([1], [7])]
  found = pairs(Letters(), ('cat', 'he'), causal=False)
  assert found == [([*ids('cat'), 1], ids('he'))]


def test_special_tokens_count_where_they_are_meant_to():
  given = ('^a$', 'b')
  assert pairs(ChatLetters(), given) == [(ids('^a$'), ids('b'))]
  assert pairs(ChatLetters(), given, special_tokens=True) == [
    ([3, ord('a'), 1], ids('b'))
  ]
  assert pairs(ChatLetters(3), given, special_tokens=True) == [
    ([3, ord('a'), 1], ids('b'))  # no second BOS
  ]


def test_nothing_to_continue_with():
  assert pairs(Letters(3), ('ab', ''), ('', '')) == [
    ([3, *ids('ab')], []),
    ([3], []),
  ]
  assert pairs(Letters(3)) == []
  # A continuation that begins with BOS itself is predicted from it.
  assert pairs(Letters(ord('a')), ('', 'abc')) == [(ids('a'), ids('bc'))]


@pytest.mark.parametrize('length', [0, 1, 3, 4, 5, 8, 11])
@pytest.mark.parametrize('max_length', [1, 4])
def test_windows_predict_every_token_once(length, max_length):
  text = list(range(10, 10 + length))
  found = text_requests.windows(text, 0, max_length)
  assert [token for _, after in found for token in after] == text
  whole = [0, *text]
  for before, after in found:
    end = whole.index(after[-1])
    assert [*before, *after] == whole[end - len(before) - len(after) + 1 :][
      : len(before) + len(after)
    ]
    assert len(before) + len(after) <= max_length + 1
  for before, after in found[1:]:  # as much context as fits
    assert len(before) + len(after) == max_length + 1
