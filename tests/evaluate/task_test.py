"""Multiple choice: its requests, and which answer counts."""

import numpy as np
import pytest

from jaxcurate.evaluate import task
from jaxcurate.evaluate.continuations import LogLikelihood
from jaxcurate.evaluate.task import Continuation


def answers(*log_probs):
  return [LogLikelihood(log_prob, False) for log_prob in log_probs]


def test_three_by_hand():
  example = task.choices('7', 'Two and two', ['are four', 'is'], 0, 'sums')
  assert example.requests == (
    Continuation('Two and two', ' are four'),
    Continuation('Two and two', ' is'),
  )
  assert example[0] == '7' and example[2:] == (0, 'sums')
  # -4 / 8 characters is more than -2 / 2.
  found = task.score_choices(example, answers(-4.0, -2.0))
  assert found == {'acc': 0.0, 'acc_norm': 1.0}
  found = task.score_choices(example, answers(-1.0, -2.0))
  assert found == {'acc': 1.0, 'acc_norm': 1.0}
  found = task.score_choices(example, answers(-9.0, -2.0))
  assert found == {'acc': 0.0, 'acc_norm': 0.0}


@pytest.mark.parametrize('seed', range(5))
def test_against_numpy(seed):
  rng = np.random.default_rng(seed)
  options = ['x' * n for n in rng.integers(1, 30, 4)]
  log_probs = -10 * rng.random(4)
  target = int(rng.integers(4))
  found = task.score_choices(
    task.choices('0', 'c', options, target), answers(*log_probs.tolist())
  )
  per_character = log_probs / [len(option) for option in options]
  assert found == {
    'acc': float(np.argmax(log_probs) == target),
    'acc_norm': float(np.argmax(per_character) == target),
  }


def test_of_equal_ones_the_first_counts():
  first, second = (task.choices('0', 'c', ['ab', 'cd'], i) for i in (0, 1))
  equal = answers(-3.0, -3.0)
  assert task.score_choices(first, equal) == {'acc': 1.0, 'acc_norm': 1.0}
  assert task.score_choices(second, equal) == {'acc': 0.0, 'acc_norm': 0.0}


def test_an_empty_option():
  example = task.choices('0', 'c', ['', 'ab'], 0)
  found = task.score_choices(example, answers(-3.0, -4.0))
  assert found == {'acc': 1.0, 'acc_norm': 0.0}
