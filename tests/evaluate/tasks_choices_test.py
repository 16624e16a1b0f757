"""Prompts of the zero-shot tasks, each from one made-up row."""

import pytest

from jaxcurate.evaluate import run_tasks, tasks_choices
from jaxcurate.evaluate.continuations import LogLikelihood
from jaxcurate.evaluate.task import Continuation
from jaxcurate.io.errors import UserError

FOUNDRY, OLMO = 'llm_foundry_local_data.tar.xz', 'olmo_oe_eval_requests.tar.xz'
PLAIN = {'query': 'Two and', 'choices': ['two', 'a stone'], 'gold': 1}
LISTED = 'A. w\nB. x y\nC. v\nD. z\n'
LOGIQA = f'Context: All\nare.\nQuestion: Which?\nChoices: {LISTED}'
# task: (archive, member, row, context, continuations, target)
ROWS = {
  'arc_easy': (
    FOUNDRY, 'world_knowledge/arc_easy.jsonl',
    {**PLAIN, 'query': 'Question: 1?'},
    'Question: 1?\nAnswer:', ['two', 'a stone'], 1,
  ),
  'arc_challenge': (
    FOUNDRY, 'world_knowledge/arc_challenge.jsonl',
    {**PLAIN, 'query': 'Question: 1?'},
    'Question: 1?\nAnswer:', ['two', 'a stone'], 1,
  ),
  'openbookqa': (
    FOUNDRY, 'commonsense_reasoning/openbook_qa.jsonl', PLAIN,
    'Two and', ['two', 'a stone'], 1,
  ),
  'lambada_openai': (
    FOUNDRY, 'language_understanding/lambada_openai.jsonl',
    {'context': 'She said to', 'continuation': 'Ann'},
    'She said to', ['Ann'], 'Ann',
  ),
  'logiqa': (
    FOUNDRY, 'symbolic_problem_solving/logi_qa.jsonl',
    {'query': LOGIQA, 'choices': [], 'gold': 3},
    f'Passage: All\nare.\nQuestion: Which?\nChoices:\n{LISTED}Answer:',
    ['w', 'x y', 'v', 'z'], 3,
  ),
  'boolq': (
    OLMO, 'boolq/rc_0shot',
    {'query': 'T -- It is.\nQuestion: is it?\nAnswer:',
     'choices': ['yes', 'no'], 'gold': 0},
    'T -- It is.\nQuestion: is it?\nAnswer:', ['yes', 'no'], 0,
  ),
  'copa': (
    OLMO, 'copa/rc_0shot', PLAIN, 'Two and', ['two', 'a stone'], 1,
  ),
  'hellaswag': (
    OLMO, 'hellaswag/rc_5shot', PLAIN, 'Two and', ['two', 'a stone'], 1,
  ),
  'piqa': (
    OLMO, 'piqa/rc_0shot',
    {'goal': 'Open it.', 'sol1': 'Pull.', 'sol2': 'Push.', 'label': 0},
    'Question: Open it.\nAnswer:', ['Pull.', 'Push.'], 0,
  ),
  'sciq': (
    OLMO, 'sciq/rc_0shot',
    {'support': '\nIt is so.', 'question': 'Is it?', 'correct_answer': 'yes',
     'distractor1': 'a', 'distractor2': 'b', 'distractor3': 'c'},
    'It is so.\nQuestion: Is it?\nAnswer:', ['a', 'b', 'c', 'yes'], 3,
  ),
  'social_iqa': (
    OLMO, 'socialiqa/rc_0shot',
    {'context': 'He left.', 'question': 'Why?', 'answerA': 'a',
     'answerB': 'b', 'answerC': 'c', 'label': '2'},
    'Q: He left. Why?\nA:', ['a', 'b', 'c'], 1,
  ),
}  # fmt: skip


@pytest.fixture
def read(pack, json_lines):
  """(task, archive, member, rows) -> examples."""

  def call(name, archive, member, *rows):
    if archive == OLMO:
      member += '/requests.jsonl'
      rows = [
        {'doc_id': i, 'idx': idx, 'doc': row}
        for i, row in enumerate(rows)
        for idx in (0, 1)  # a line per choice
      ] + [{'doc_id': 1_000_000, 'idx': 0, 'doc': {}}]
    folder = pack(archive, {member: json_lines(*rows)})
    return run_tasks.examples_of(name, tasks_choices.TASKS[name], folder)

  return call


@pytest.mark.parametrize('name', ROWS)
def test_prompt_by_hand(read, name):
  archive, member, row, context, options, target = ROWS[name]
  first, second = read(name, archive, member, row, row)
  assert (first.id, second.id) == ('0', '1')
  assert first.target == target
  assert first.requests == tuple(
    Continuation(context, f' {option}') for option in options
  )


def test_every_task_is_here():
  assert {*ROWS, 'winogrande'} == set(tasks_choices.TASKS)


def test_winogrande_reads_the_end_after_either_word(read):
  row = {
    'sentence': "Ann thanked Bo because _ 's help was good.",
    'option1': 'Ann',
    'option2': 'Bo',
    'answer': '2',
  }
  [example] = read('winogrande', OLMO, 'winogrande/rc_0shot', row)
  assert example.requests == (
    Continuation('Ann thanked Bo because Ann', " 's help was good."),
    Continuation('Ann thanked Bo because Bo', " 's help was good."),
  )
  answers = [LogLikelihood(-5.0, False), LogLikelihood(-4.0, False)]
  score = tasks_choices.TASKS['winogrande'].score
  assert score(example, answers) == {'acc': 1.0}
  assert score(example, answers[::-1]) == {'acc': 0.0}


def test_the_last_word_must_be_what_greedy_decoding_writes(read):
  archive, member, row, *_ = ROWS['lambada_openai']
  [example] = read('lambada_openai', archive, member, row)
  score = tasks_choices.score_last_word
  for greedy in (True, False):
    found = score(example, [LogLikelihood(-2.5, greedy)])
    assert found == {'acc': float(greedy), 'log_prob': -2.5}


@pytest.mark.parametrize(
  'name, change',
  [
    ('logiqa', {'query': 'Context: no choices'}),
    ('arc_easy', {'query': None, 'choices': None}),
    ('social_iqa', {'label': 'B'}),
  ],
)
def test_a_row_that_is_laid_out_otherwise(read, name, change):
  archive, member, row, *_ = ROWS[name]
  with pytest.raises(UserError, match=rf'{name}: .*not as expected.*again'):
    read(name, archive, member, row | change)


@pytest.mark.parametrize('name', ['arc_easy', 'piqa'])
def test_no_rows(read, name):
  with pytest.raises(UserError, match=f'{name}: .*no rows'):
    read(name, *ROWS[name][:2])
