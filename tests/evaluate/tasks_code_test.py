"""HumanEval and MBPP: prompts, and programs that pass their tests."""

import pytest

from jaxcurate.evaluate import tasks_code
from jaxcurate.evaluate.task import Generation

MBPP = [
  {
    'task_id': i,
    'text': f'Write f that adds {i}.',
    'code': f'def f(x):\n  return x + {i}',
    'test_list': [f'assert f({x}) == {x + i}' for x in range(3)],
    'test_setup_code': 'import math',
  }
  for i in (2, 3, 4, 5, 11, 510, 511)
]


def mbpp_prompt(row):
  tests = '\n'.join(row['test_list'])
  return (
    'You are an expert Python programmer, and here is your task:'
    f' {row["text"]} Your code should pass these tests:\n\n{tests}\n[BEGIN]\n'
  )


@pytest.fixture
def mbpp(pack, json_lines):
  return tasks_code.read_mbpp(pack('mbpp.jsonl.xz', json_lines(*MBPP)))


@pytest.fixture
def humaneval(pack, json_lines):
  row = {
    'task_id': 'HumanEval/0',
    'prompt': 'def add(a, b):\n  """a + b"""\n',
    'entry_point': 'add',
    'test': 'def check(f):\n  assert f(1, 2) == 3\n',
    'canonical_solution': '  return a + b\n',
  }
  [found] = tasks_code.read_humaneval(
    pack('HumanEval.jsonl.gz', json_lines(row))
  )
  return found


def test_mbpp_prompt_by_hand(mbpp):
  assert [example.id for example in mbpp] == ['11', '510']
  shots = [f'{mbpp_prompt(row)}{row["code"]}\n[DONE]\n\n' for row in MBPP[:3]]
  context = ''.join(shots) + mbpp_prompt(MBPP[4])
  assert mbpp[0].requests == (Generation(context, ('[DONE]',), 256),)


def test_humaneval_prompt_by_hand(humaneval):
  stops = ('\nclass', '\ndef', '\n#', '\nif', '\nprint')
  prompt = 'def add(a, b):\n  """a + b"""\n'
  assert humaneval.requests == (Generation(prompt, stops, 1024),)
  assert humaneval.id == 'HumanEval/0'


@pytest.mark.parametrize(
  'answer, passes',
  [
    ('  return a + b', 1.0),
    ('  return a - b', 0.0),
    ('  return a +', 0.0),
    ('  import sys; sys.exit(0)', 0.0),
    ('', 0.0),  # a docstring alone: None
  ],
)
def test_humaneval_score(humaneval, answer, passes):
  assert tasks_code.score_humaneval(humaneval, [answer]) == {'pass@1': passes}


def test_mbpp_score(mbpp):
  assert mbpp[0].target.startswith('import math\nassert f(0) == 11\n')
  for code, passes in ((MBPP[4]['code'], 1.0), (MBPP[5]['code'], 0.0)):
    assert tasks_code.score_mbpp(mbpp[0], [code]) == {'pass@1': passes}
