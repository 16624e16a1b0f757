import pytest

from jaxcurate.data.tokenizer import encode_rest


def _with_dummy_space(text):
  """Like SentencePiece: a space where the text begins, runs of \\n merged."""
  ids, text = [], f' {text}' if text else ''
  while text:
    size = 2 if text.startswith('\n\n') else 1
    ids.append(sum(map(ord, text[:size])))
    text = text[size:]
  return ids


@pytest.mark.parametrize(
  ('text', 'ids'),
  [('b', [98]), (' b', [32, 98]), ('', []), ('\nb', [10, 98])],
)
def test_no_space_comes_in(text, ids):
  assert encode_rest(_with_dummy_space, text) == ids


def test_an_encoder_without_the_habit_is_left_as_it_is():
  def encode(text):
    return list(text.encode())

  for text in ('b', ' b', '\n\n', ''):
    assert encode_rest(encode, text) == encode(text)


def test_where_every_mark_merges_the_text_is_encoded_as_it_stands():
  assert encode_rest(lambda text: [len(text)], 'abc') == [3]
