"""BIG-Bench Hard: prompts and the answer within a chain of thought."""

import json

import pytest

from jaxcurate.evaluate import run_tasks, tasks_bbh
from jaxcurate.evaluate.task import Generation
from jaxcurate.io.errors import UserError

CANARY = 'canary GUID x\n-----\n'


def archive(**tasks):
  files = {}
  for name, inputs in tasks.items():
    files[f'cot-prompts/{name}.txt'] = f'{CANARY}About {name}.\n\nQ: 1\nA: 2.\n'
    rows = [{'input': text, 'target': text.upper()} for text in inputs]
    files[f'bbh/{name}.json'] = json.dumps({'examples': rows})
  return files


def test_prompt_by_hand(pack):
  first, *rest = tasks_bbh.read(
    pack('bbh.tar.xz', archive(b=['x', 'y'], a=['not True']))
  )
  context = (
    "About a.\n\nQ: 1\nA: 2.\n\nQ: not True\nA: Let's think step by step.\n"
  )
  assert first.requests == (Generation(context, ('</s>', 'Q', '\n\n'), 1024),)
  assert (first.id, first.target, first.group) == ('a/0', 'NOT TRUE', 'a')
  assert [example.id for example in rest] == ['b/0', 'b/1']


@pytest.mark.parametrize(
  'text, expected',
  [
    ('So the answer is (B).', '(B)'),
    ('the answer is  valid.\nNo, the answer is invalid.', 'valid'),
    ('the answer is 24', '2'),  # as in the harness: the last is a full stop
    ('I do not know.', None),
    ('', None),
  ],
)
def test_answers(text, expected):
  assert tasks_bbh.answer(text) == expected


def test_score(pack):
  [example] = tasks_bbh.read(pack('bbh.tar.xz', archive(a=['yes'])))
  for text, expected in (('the answer is YES.', 1.0), ('YES', 0.0), ('', 0.0)):
    assert tasks_bbh.score(example, [text]) == {'exact_match': expected}


def test_a_task_without_prompt_is_named(pack):
  files = archive(a=['x'])
  files['bbh/c.json'] = files['bbh/a.json']
  folder = pack('bbh.tar.xz', files)
  with pytest.raises(UserError, match=r"bbh: .*not as expected.*'c'"):
    run_tasks.examples_of('bbh', tasks_bbh.TASKS['bbh'], folder)
