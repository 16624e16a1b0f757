import io

import numpy as np
import pytest
import tqdm

from jaxcurate.io.errors import UserError
from jaxcurate.train import checkpoint, metrics
from jaxcurate.train.progress import IN_FLIGHT, Plan, StepLog, Totals


def test_plan_by_hand():
  plan = Plan(steps=13)
  every = [step for step in range(1, 14) if plan.is_last_or_every(step, 5)]
  assert every == [5, 10, 13]
  last = [step for step in range(1, 14) if plan.is_last_or_every(step, None)]
  assert last == [13]


def step_metrics(losses, nonfinite=(0, 0)):
  members = len(losses)
  return {
    'loss': np.array(losses, np.float32),
    'weighted_loss': np.array(losses, np.float32),
    'gradient_norm': np.ones(members, np.float32),
    'tokens': np.arange(1, members + 1) * 100,
    'examples': np.full(members, 4),
    'nonfinite': np.array(nonfinite),
  }


@pytest.fixture
def make_log(tmp_path):
  checkpoints = checkpoint.Checkpoints(tmp_path / 'c', max_to_keep=1)
  writers = [metrics.MetricsWriter(tmp_path / str(k), step=0) for k in (0, 1)]
  bar = tqdm.tqdm(total=25, file=io.StringIO())

  def make(totals=None):
    totals = totals or Totals.begin(2)
    plan = Plan(25, log_every=10)
    return StepLog(
      plan, checkpoints, writers, totals, bar, lambda number: f'doc {number}'
    )

  yield make
  for writer in writers:
    writer.close()
  checkpoints.close()
  bar.close()


def lines(folder):
  return list(metrics.read_metrics(folder / metrics.NAME))


def test_logged_steps_and_running_sums(make_log, tmp_path):
  log = make_log()
  for step in range(1, 26):
    log.add(step, step_metrics([2.0, 3.0]), 1000.0)
  log.drain()
  for member in (0, 1):
    written = lines(tmp_path / str(member))
    assert [line['step'] for line in written] == [1, 10, 20, 25]
    assert [line['loss'] for line in written] == [2.0 + member] * 4
    assert [line['flops'] for line in written] == [1e3, 1e4, 2e4, 2.5e4]
    tokens = [100 * (member + 1) * step for step in (1, 10, 20, 25)]
    assert [line['tokens'] for line in written] == tokens
    assert all(line['examples_per_second'] > 0 for line in written)
    seconds = [line['seconds'] for line in written]
    assert seconds == sorted(seconds)
  assert log.totals.examples == [100, 100]


def test_sums_go_on_from_a_checkpoint(make_log, tmp_path):
  log = make_log(Totals([900, 1800], [36, 36], 9e3, 5.0))
  log.add(10, step_metrics([2.0, 3.0]), 1000.0)
  log.drain()
  (line,) = lines(tmp_path / '1')
  assert (line['tokens'], line['flops']) == (2000, 1e4)
  assert line['seconds'] > 5.0


def test_metrics_are_fetched_late(make_log, tmp_path):
  log = make_log()
  for step in range(1, IN_FLIGHT + 1):
    log.add(step, step_metrics([2.0, 3.0]), 0.0)
  assert lines(tmp_path / '0') == []
  log.add(IN_FLIGHT + 1, step_metrics([2.0, 3.0]), 0.0)
  assert [line['step'] for line in lines(tmp_path / '0')] == [1]


def test_a_run_bears_some_losses_that_are_not_finite(make_log, tmp_path):
  log = make_log()
  one = {'nonfinite/high': np.array([0, 1]), 'nonfinite/low': np.array([0, 2])}
  for step in range(1, 11):
    log.add(step, step_metrics([2.0, 3.0], [0, 1]) | one, 0.0)
  log.drain()
  first, last = lines(tmp_path / '1')
  assert (first['step'], last['step'], last['nonfinite']) == (1, 10, 1)
  assert not any(name.startswith('nonfinite/') for name in last)
  log.add(11, step_metrics([2.0, 3.0], [0, 1]) | one, 0.0)
  with pytest.raises(UserError) as caught:
    log.drain()
  assert str(caught.value).startswith(
    'step 11: 11 losses or gradients of member 1 were infinite or NaN, 10 may'
    f" be (documents 'doc {2**32 + 2}', ...); no checkpoint was made; lower"
  )
