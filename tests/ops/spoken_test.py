"""Which token ids of a conversation the assistant has to say.

Chat templates: tests/scorers/training_examples_test.py.
"""

import numpy as np
import pytest

from jaxcurate.data.vocabulary import ByteVocabulary
from jaxcurate.ops import spoken

BYTES = ByteVocabulary()
TURNS = (
  ('system', 's'), ('user', 'ab'), ('assistant', 'c'), ('user', 'd'),
  ('assistant', 'ef'), ('user', 'g'),
)  # fmt: skip


def ids(text):
  return [byte + 3 for byte in text.encode()]


def test_answers_and_their_ends_are_said():
  found, said = spoken.written(TURNS, BYTES)
  assert found == [*ids('s\nab\nc'), 1, *ids('\nd\nef'), 1, *ids('\ng\n')]
  assert np.array(found)[said].tolist() == [*ids('c'), 1, *ids('ef'), 1]


def test_bos_comes_first_and_is_not_said():
  vocabulary = ByteVocabulary()
  vocabulary.bos_id = 2
  found, said = spoken.written(TURNS[1:3], vocabulary)
  assert (found[0], said[0]) == (2, False)
  assert (found[1:], said[1:]) == spoken.written(TURNS[1:3], BYTES)


def test_an_encoder_reads_all_before_the_last_answer():
  found = spoken.last_answer(TURNS, BYTES)
  assert found == (ids('s\nab\nc\nd'), ids('ef'))
  assert spoken.last_answer(TURNS[:2], BYTES) is None
  assert spoken.last_answer((), BYTES) is None
  assert spoken.last_answer(TURNS[2:3], BYTES) == ([], ids('c'))


@pytest.mark.parametrize('text', ['', 'b', ' b', '\n', 'so it is'])
def test_a_text_that_goes_on_is_the_rest_of_the_whole(text):
  assert spoken.following_ids(text, BYTES) == ids(text)


def test_nobody_speaks():
  found, said = spoken.written((('user', 'a'),), BYTES)
  assert found == ids('a\n') and not any(said)
  assert spoken.written((), BYTES) == ([], [])
