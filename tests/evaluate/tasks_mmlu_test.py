"""MMLU: five shots of the same subject, letters as answers."""

import csv
import io

import pytest

from jaxcurate.evaluate import run_tasks, tasks_mmlu
from jaxcurate.evaluate.task import Continuation
from jaxcurate.io.errors import UserError


def text(*rows):
  buffer = io.StringIO()
  csv.writer(buffer).writerows(rows)
  return buffer.getvalue()


def row(question, answer):
  return [question, 'w', 'x', 'y', 'z', answer]


def asked(question):
  return f'{question}\nA. w\nB. x\nC. y\nD. z\nAnswer:'


def archive(*test_rows):
  shots = [row(f'dev {i}', 'ABCDAB'[i]) for i in range(6)]
  return {
    'data/dev/world_history_dev.csv': text(*shots),
    'data/test/world_history_test.csv': text(*test_rows),
    'data/val/world_history_val.csv': text(row('never', 'A')),
  }


def test_prompt_by_hand(pack):
  folder = pack('mmlu.zip', archive(row(' Who,\nwhen? ', 'C')))
  [example] = tasks_mmlu.read(folder)
  shots = ''.join(
    f'{asked(f"dev {i}")} {letter}\n\n' for i, letter in enumerate('ABCDA')
  )
  context = (
    'The following are multiple choice questions (with answers) about world'
    f' history.\n\n{shots}{asked("Who," + chr(10) + "when?")}'
  )
  assert example.requests == tuple(
    Continuation(context, f' {letter}') for letter in 'ABCD'
  )
  assert example.target == 2
  assert (example.id, example.group) == ('world_history/0', 'world_history')


@pytest.mark.parametrize(
  'bad', [['only', 'three', 'fields'], row('letter', 'E'), []]
)
def test_a_row_that_is_not_one(pack, bad):
  folder = pack('mmlu.zip', archive(bad))
  with pytest.raises(UserError, match=r'mmlu: .*not as expected'):
    run_tasks.examples_of('mmlu', tasks_mmlu.TASKS['mmlu'], folder)
