import datetime
import json
import pathlib

import pytest

from jaxcurate.data import chat

GOLDENS = json.loads(
  (pathlib.Path(__file__).parent / 'goldens' / 'chats.json').read_text()
)
SIMPLE = (
  "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}"
  '{% if add_generation_prompt %}[assistant]{% endif %}'
)


def _render(template, turns, *, add_generation_prompt=False, **options):
  return chat.render(
    template,
    turns,
    add_generation_prompt=add_generation_prompt,
    bos_token=options.pop('bos_token', '<s>'),
    eos_token=options.pop('eos_token', '</s>'),
    **options,
  )


def _frame(template, user_text):
  return chat.frame(template, user_text, bos_token='<s>', eos_token='</s>')


def test_by_hand():
  turns = [('user', 'Hi'), ('assistant', 'Ho')]
  assert _render(SIMPLE, turns) == '[user]Hi[assistant]Ho'
  asked = _render(SIMPLE, turns[:1], add_generation_prompt=True)
  assert asked == '[user]Hi[assistant]'
  assert _frame(SIMPLE, 'a {text} b') == ('[user]a ', ' b[assistant]')


@pytest.mark.parametrize('name', sorted(GOLDENS['templates']))
def test_chats_as_transformers_renders_them(name):
  """Written by tools/make_chat_goldens.py; see there when to rewrite."""
  template = GOLDENS['templates'][name]
  cases = [case for case in GOLDENS['cases'] if case['template'] == name]
  assert len(cases) == 10
  for case in cases:
    turns = [tuple(turn) for turn in case['turns']]
    prompt = case['add_generation_prompt']
    if case['failure'] is None:
      found = _render(template, turns, add_generation_prompt=prompt)
      assert found == case['rendered']
    else:
      with pytest.raises(ValueError, match=case['failure'][:30]):
        _render(template, turns, add_generation_prompt=prompt)


@pytest.mark.parametrize('name', ['chatml', 'headers', 'turns', 'inst'])
def test_a_frame_and_its_text_are_the_chat(name):
  template = GOLDENS['templates'][name]
  prompt = 'Judge this.\n###\n{text}\n###\nYes or no?'
  before, after = _frame(template, prompt)
  text = 'Some {{ text }} <|im_end|>'
  said = [('user', prompt.replace('{text}', text))]
  whole = _render(template, said, add_generation_prompt=True)
  assert before + text + after == whole


def test_the_day_does_not_count():
  template = "{{ strftime_now('%d %b %Y') }}"
  assert _render(template, []) == '26 Jul 2024'
  date = datetime.datetime(2030, 1, 2)
  assert _render(template, [], date=date) == '02 Jan 2030'


def test_tokens_that_are_none_are_undefined():
  template = "{{ 'no' if bos_token is not defined else bos_token }}"
  assert _render(template, [], bos_token=None) == 'no'
  assert _render('a{{ eos_token }}b', [], eos_token=None) == 'ab'


@pytest.mark.parametrize(
  ('template', 'message'),
  [
    ('{% for %}', 'end of statement'),
    ("{{ raise_exception('only two turns') }}", 'roles user: only two turns'),
    ("{{ messages[0]['content'] + 1 }}", 'str'),
    ('{{ 1 // 0 }}', 'zero'),
    ('{{ nothing.at.all }}', 'nothing'),
    ('{{ messages.__class__.__mro__ }}', 'unsafe'),
    ('{{ messages.append(1) }}', 'unsafe'),
    ("{{ 'a'.split('') }}", 'empty separator'),
    ('{{ range(10 ** 9) | list }}', 'Range too big'),
  ],
)
def test_broken_and_hostile_templates_end_in_one_error(template, message):
  with pytest.raises(ValueError, match=message) as error:
    _render(template, [('user', 'Hi')])
  assert str(error.value).startswith('the chat template fails on turns')


@pytest.mark.parametrize(
  'template',
  [
    "{{ messages[0]['content'] | upper }}",
    "{{ messages[0]['content'][:9] }}",
    "{{ messages[0]['content'] }}{{ messages[0]['content'] }}",
    "{{ messages[0]['content'] | replace('a', 'e') }}",
    'nothing said',
  ],
)
def test_frames_of_templates_that_alter_the_text(template):
  with pytest.raises(ValueError, match='changes, repeats or drops'):
    _frame(template, 'Say: what about {text} and so on?')


@pytest.mark.parametrize('prompt', ['', 'no text', '{text}{text}'])
def test_a_prompt_has_one_text(prompt):
  with pytest.raises(ValueError, match='times, expected 1'):
    _frame(SIMPLE, prompt)
