"""Names of tasks, groups, and permission to run code."""

import pytest

from jaxcurate.evaluate import tasks, tasks_choices
from jaxcurate.io.errors import UserError


def test_names_and_groups_each_once():
  chosen = tasks.chosen(['mmlu', 'choices', 'arc_easy'], run_code=False)
  assert list(chosen) == ['mmlu', *tasks_choices.TASKS]
  assert chosen['arc_easy'] is tasks.KNOWN['arc_easy']


def test_eleven_of_adapts_fifteen_and_boolq():
  assert len(tasks.GROUPS['choices']) == 12


@pytest.mark.parametrize('names', [['arc'], ['arc_easy', ''], ['ARC_easy']])
def test_an_unknown_name_lists_the_known(names):
  with pytest.raises(UserError, match=r'known: arc_challenge, .*choices'):
    tasks.chosen(names, run_code=False)


def test_no_name():
  with pytest.raises(UserError, match='names none'):
    tasks.chosen([], run_code=False)


def test_code_runs_only_where_allowed():
  with pytest.raises(UserError, match=r'humaneval: runs programs .*--run_code'):
    tasks.chosen(['humaneval', 'mmlu'], run_code=False)
  assert list(tasks.chosen(['mbpp'], run_code=True)) == ['mbpp']
