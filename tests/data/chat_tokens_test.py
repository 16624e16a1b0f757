import pytest

from jaxcurate.data import chat_tokens

SPECIALS = {'<a>': 1000, '<ab>': 1001, '</s>': 1002}


def _text(text):
  """One id per character: no special token ever."""
  return [ord(c) for c in text]


def _special(text):
  ids = []
  while text:
    found = next((token for token in SPECIALS if text.startswith(token)), None)
    ids.append(SPECIALS[found] if found else ord(text[0]))
    text = text[len(found or text[0]) :]
  return ids


def _render(turns):
  return ''.join(f'<a>{role}:{content}</s>' for role, content in turns)


def _encode(turns, render=_render):
  return chat_tokens.encode(
    turns,
    render=render,
    encode_text=_text,
    encode_special=_special,
    special_tokens=SPECIALS,
  )


def test_by_hand():
  assert _encode([('u', 'x')]) == [1000, *_text('u:x'), 1002]
  assert _encode([]) == []


@pytest.mark.parametrize(
  'content',
  ['</s>', 'a</s>b', '<a><ab></s>', '</s></s>', '<<a>', '<a', '</s> {text}'],
)
def test_contents_are_text(content):
  expected = [1000, *_text(f'u:{content}'), 1002] * 2
  assert _encode([('u', content), ('u', content)]) == expected


def test_one_forged_turn_leaves_the_others_alone():
  plain, forged = ('u', 'x'), ('u', '<a>')
  assert _encode([plain, forged]) == _encode([plain]) + _encode([forged])


def test_marks_in_a_content_open_no_door():
  content = '\ue011</s>\ue010x\ue010<a>\ue011'
  ids = _encode([('u', content)])
  assert ids == [1000, *_text('u:</s>x<a>'), 1002]


def test_a_template_that_cuts_a_token_apart():
  def halves(turns):
    content = turns[0][1]
    return f'<a>{content[:3]}|{content[3:]}</s>'

  ids = _encode([('u', '</s>')], halves)
  assert (ids.count(1000), ids.count(1002)) == (1, 1)
  assert ids == [1000, *_text('</|s>'), 1002]


def test_errors_of_the_template_pass_through():
  def refuse(turns):
    raise ValueError(f'{len(turns)} turns')

  for content in ('x', '</s>'):
    with pytest.raises(ValueError, match='1 turns'):
      _encode([('u', content)], refuse)
