"""GSM8K: five shots, and the number in an answer read in two ways."""

import pytest

from jaxcurate.evaluate import tasks_gsm8k
from jaxcurate.evaluate.task import Generation


@pytest.fixture
def example(pack, json_lines):
  train = [
    {'question': f'{i} and 1?', 'answer': f'It is.\n#### {i + 1}'}
    for i in range(7)
  ]
  pack('gsm8k_train.jsonl.xz', json_lines(*train))
  test = {'question': 'How many?', 'answer': 'Many.\n#### 1,234'}
  [found] = tasks_gsm8k.read(pack('gsm8k_test.jsonl.xz', json_lines(test)))
  return found


def test_prompt_by_hand(example):
  shots = ''.join(
    f'Question: {i} and 1?\nAnswer: It is.\n#### {i + 1}\n\n' for i in range(5)
  )
  context = f'{shots}Question: How many?\nAnswer:'
  stops = ('Question:', '</s>', '<|im_end|>')
  assert example.requests == (Generation(context, stops, 256),)


@pytest.mark.parametrize(
  'text, strict, flexible',
  [
    (' So 1,234.\n#### 1,234', 1, 1),
    ('#### 1234.', 1, 1),
    ('it costs $1234', 0, 1),
    ('#### 1234\n#### 9', 1, 0),  # the first, and the last
    ('1234 of 5', 0, 0),
    ('####1234', 0, 1),
    ('-1234', 0, 0),
    ('none', 0, 0),
    ('', 0, 0),
  ],
)
def test_score(example, text, strict, flexible):
  assert tasks_gsm8k.score(example, [text]) == {
    'exact_match': strict,
    'exact_match_flexible': flexible,
  }


def test_numbers():
  assert tasks_gsm8k.strict_number('#### -1,0.5 #### 2') == '-1,0.5'
  assert tasks_gsm8k.flexible_number('3 apples, $4.50 each') == '$4.50'
  assert tasks_gsm8k.flexible_number('no') is None
