"""The judge and the loop of the study of active learning."""

import gzip
import json
import pathlib
import sys

import numpy as np
import pytest
import scipy.optimize

TOOLS = pathlib.Path(__file__).parent.parent.parent / 'tools'


@pytest.fixture
def study(monkeypatch):
  monkeypatch.syspath_prepend(str(TOOLS))
  import study_active_learning

  yield study_active_learning
  sys.modules.pop('study_active_learning')


@pytest.fixture
def task(study, tmp_path):
  """Rare texts in capitals among small ones."""
  rng = np.random.default_rng(0)
  rows = []
  for i in range(300):
    words = ' '.join(rng.choice(['red', 'sea', 'sun', 'oak'], 8))
    label = int(i % 6 == 0)
    text = words.upper() if label else words
    rows.append(json.dumps({'id': f'd{i}', 'text': text, 'label': label}))
  with gzip.open(tmp_path / 'task.jsonl.gz', 'wt') as file:
    file.write('\n'.join(rows))
  return study.read(tmp_path / 'task.jsonl.gz', 200)


def test_dual_judge_is_the_primal_one(study):
  rng = np.random.default_rng(1)
  rows, more = rng.normal(size=(2, 12, 3))
  label = np.arange(12) % 2

  def loss(x):
    margin = (2 * label - 1) * (rows @ x[:3] + x[3])
    return np.logaddexp(0, -margin).mean() + study._PENALTY * x[:3] @ x[:3]

  judge = study.learn(rows @ rows.T, label.astype(float))
  primal = scipy.optimize.minimize(loss, np.zeros(4), tol=1e-12).x
  found = judge(more @ rows.T)
  want = more @ primal[:3] + primal[3]
  assert np.corrcoef(found, want)[0, 1] > 0.99


def test_errors_fall_and_batches_never_repeat(study, task):
  assert len(task.label) == 200 and 0.05 < task.label.mean() < 0.3
  for near in (False, True):
    found = study.errors(task, 0, 20, 5, near)
    assert len(found) == 5
    assert found[-1] <= 0.02
  # The first batch is the same uniform draw.
  one, two = (study.errors(task, 3, 20, 1, near) for near in (False, True))
  assert one == two


def test_table_says_how_many_labels_are_as_good(study):
  spread = np.array([[0.0], [0.01], [-0.01]])
  plain = np.tile([0.4, 0.3, 0.2, 0.2], (3, 1)) + spread
  near = np.tile([0.4, 0.2, 0.1, 0.1], (3, 1))
  rows = study.report('x', 10, plain, near)
  assert rows[-1] == '| x | 40 | 20.0% | 10.0% | -10.0 ± 2.5 | 20 |'
  assert rows[0].endswith('|  |')
