"""Asking a model, its answers on disk, means and their errors."""

import math
import pathlib

import numpy as np
import pytest

from jaxcurate.evaluate import run_tasks
from jaxcurate.evaluate.continuations import LogLikelihood
from jaxcurate.evaluate.language_model import LanguageModel
from jaxcurate.evaluate.task import (
  Example,
  Generation,
  Task,
  choices,
  score_choices,
)
from jaxcurate.io.errors import UserError

# Likes short continuations; writes its prompt's last letters.
MODEL = LanguageModel(
  log_likelihoods=lambda asked: [
    LogLikelihood(-float(len(one.text)), one.text == ' a') for one in asked
  ],
  rolling=lambda texts: [0.0 for _ in texts],
  generate=lambda asked: [one.context[-one.max_tokens :] for one in asked],
  max_length=8,
)
EXAMPLES = [
  choices('0', 'c', ['a', 'bb'], 0, 'x'),
  choices('1', 'c', ['aa', 'b'], 0, 'y'),
  choices('2', 'c', ['a', 'bb'], 0, 'y'),
]
CHOICES = Task(lambda folder: EXAMPLES, score_choices)
WRITING = Task(
  lambda folder: [
    Example(str(n), (Generation('abc\n\u00fc', (), n),), 'c\n\u00fc')
    for n in (1, 3)
  ],
  lambda example, answers: {'exact': float(answers[0] == example.target)},
)
HERE = pathlib.Path()


def ask(task, model=MODEL):
  return run_tasks.ask('t', task, task.read(HERE), model)


def test_choices_by_hand():
  rows = ask(CHOICES)
  assert rows[0] == {
    'id': '0',
    'group': 'x',
    'answers': [[-2.0, True], [-3.0, False]],
    'metrics': {'acc': 1.0, 'acc_norm': 0.0},
  }
  assert [row['metrics']['acc'] for row in rows] == [1.0, 0.0, 1.0]


def test_generations_by_hand():
  rows = ask(WRITING)
  assert [row['answers'] for row in rows] == [['\u00fc'], ['c\n\u00fc']]
  assert [row['metrics'] for row in rows] == [{'exact': 0.0}, {'exact': 1.0}]


def test_rows_are_kept_as_they_are(tmp_path):
  assert run_tasks.kept_rows('t', tmp_path) is None
  assert run_tasks.all_kept(tmp_path) == {}
  rows = ask(WRITING)
  rows[0]['answers'] = ['line\u2028separator \ud800 \x85']
  run_tasks.keep_rows('t', rows, tmp_path)
  run_tasks.keep_rows('s', ask(CHOICES), tmp_path)
  assert run_tasks.kept_rows('t', tmp_path) == rows
  assert list(run_tasks.all_kept(tmp_path)) == ['s', 't']


def test_means_and_errors_by_hand():
  found = run_tasks.summary(ask(CHOICES))
  assert found['num_examples'] == 3
  assert found['metrics']['acc'] == {
    'mean': pytest.approx(2 / 3),
    'standard_error': pytest.approx(1 / 3),  # sqrt((1/3) / 3)
  }
  assert found['groups']['x']['metrics']['acc'] == {
    'mean': 1.0,
    'standard_error': None,
  }
  assert found['groups']['y']['num_examples'] == 2
  assert 'groups' not in run_tasks.summary(ask(WRITING))
  assert run_tasks.summary([]) == {'num_examples': 0, 'metrics': {}}


def test_errors_against_numpy():
  values = np.random.default_rng(0).random(50)
  found = run_tasks.mean_and_error(values.tolist())
  variance = np.sum((values - values.mean()) ** 2) / 49
  assert found['standard_error'] == pytest.approx(math.sqrt(variance / 50))
  assert run_tasks.mean_and_error([0.5] * 4)['standard_error'] == 0.0


@pytest.mark.parametrize(
  'limit, ids', [(None, '012'), (3, '012'), (9, '012'), (2, '01'), (1, '0')]
)
def test_some_examples_evenly_spread(limit, ids):
  found = run_tasks.examples_of('t', CHOICES, HERE, limit)
  assert ''.join(example.id for example in found) == ids


@pytest.mark.parametrize(
  'error', [KeyError('gold'), ValueError('x'), TypeError]
)
def test_a_row_that_is_not_as_expected(error):
  def read(folder):
    raise error

  with pytest.raises(UserError, match=r't: its files in .* again'):
    run_tasks.examples_of('t', Task(read, score_choices), HERE)


def test_what_a_reader_says_is_kept():
  def read(folder):
    raise UserError('a.xz: not there')

  with pytest.raises(UserError, match=r'^a\.xz: not there$'):
    run_tasks.examples_of('t', Task(read, score_choices), HERE)


@pytest.mark.parametrize('value', [math.nan, -math.inf])
def test_a_log_probability_that_is_not_finite(value):
  model = MODEL._replace(
    log_likelihoods=lambda asked: [LogLikelihood(value, False)] * len(asked)
  )
  with pytest.raises(UserError, match=r't: example 0 .*not finite.*float32'):
    ask(CHOICES, model)


def test_a_model_that_reads_too_little_is_told_with_the_task():
  def generate(asked):
    raise ValueError('an answer leaves no room: raise max_length')

  with pytest.raises(UserError, match=r't: an answer .* leave the task out'):
    ask(WRITING, MODEL._replace(generate=generate))
