import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import jax
import numpy as np
import pyarrow.parquet as pq
import pytest

from jaxcurate.io.errors import UserError
from jaxcurate.train import evaluation, loop, metrics, optimizers
from jaxcurate.train.driver import Interrupted
from jaxcurate.train.program import StepSettings
from jaxcurate.train.progress import Plan
from jaxcurate.types import AnchorSet
from jaxcurate.weightings import adapt, uniform

SETTINGS = StepSettings(max_segments=2)


def held_out(tiny):
  """Both segments of row n belong to document doc-n; row 7 is padding."""
  return [
    evaluation.EvalBatch(
      tiny.make_batch(99),
      [f'doc-{row}' if row < 7 else None for row in range(8) for _ in '12'],
      ['xy'[row % 2] for row in range(8) for _ in '12'],
    )
  ]


def train(tiny, output, steps, *, batches=None, rate=0.05, **kwargs):
  plan = Plan(steps, log_every=5, eval_every=4, checkpoint_every=4)
  settings = {
    'network': tiny.make_network(),
    'batches': batches or tiny.Stream(),
    'optimizer': optimizers.make_optimizer(
      'adamw', schedule='constant', learning_rate=rate, warmup_steps=2
    ),
    'weighting': adapt.make(refresh_interval=3, center=True),
    'anchors': AnchorSet('anchors', (tiny.make_batch(7), tiny.make_batch(8))),
    'settings': SETTINGS,
    'plan': plan,
    'output': output,
    'progress': False,
    'eval_batches': held_out(tiny),
  }
  return loop.train(**{**settings, **kwargs})


def lines(folder):
  """The log without the fields that tell time."""
  return [
    {k: v for k, v in line.items() if k not in metrics.TIMING}
    for line in metrics.read_metrics(pathlib.Path(folder) / metrics.NAME)
  ]


@pytest.fixture(scope='module')
def whole(tiny, tmp_path_factory):
  """An uninterrupted run of 13 steps."""
  folder = tmp_path_factory.mktemp('whole')
  return folder, train(tiny, folder, 13, progress=True)


def assert_same_run(folder, state, whole):
  jax.tree.map(np.testing.assert_array_equal, state, whole[1])
  assert lines(folder) == lines(whole[0])
  tables = [pq.read_table(f / 'eval.parquet') for f in (folder, whole[0])]
  assert tables[0].equals(tables[1])


def test_the_log_has_what_readers_rely_on(whole):
  folder, state = whole
  assert int(state.step) == 13
  log = list(metrics.read_metrics(folder / metrics.NAME))
  train_lines = [line for line in log if 'loss' in line]
  assert [line['step'] for line in train_lines] == [1, 5, 10, 13]
  assert [line['step'] for line in log if 'eval/loss' in line] == [4, 8, 12, 13]
  expected = """
    step loss weighted_loss tokens flops seconds examples_per_second
    tokens_per_second learning_rate gradient_norm weights/mean weights/std
    weights/min weights/max weights/similarity_mean weights/similarity_std
    weights/effective_proportion nonfinite
  """.split()
  expected += [f'weights/similarity_hist/{i:02d}' for i in range(20)]
  assert set(train_lines[0]) == set(expected)
  last = train_lines[-1]
  assert last['loss'] < train_lines[0]['loss']
  assert 0.2689 <= last['weights/min'] <= last['weights/max'] <= 0.7311
  assert isinstance(last['tokens'], int)
  # At R = 3 the anchors are looked at before steps 1, 4, 7, 10 and 13.
  flops = [line['flops'] for line in train_lines]
  refreshes = [1, 2, 4, 5]
  steps = [1, 5, 10, 13]
  per_step, per_refresh = np.linalg.lstsq(
    np.stack([steps, refreshes], axis=1), np.array(flops)
  )[0]
  np.testing.assert_allclose(
    flops, per_step * np.array(steps) + per_refresh * np.array(refreshes)
  )
  assert per_step > per_refresh > 0
  evals = [line for line in log if 'eval/loss' in line]
  assert set(evals[0]) == {
    'step',
    'flops',
    'eval/loss',
    'eval/domain/x',
    'eval/domain/y',
  }
  table = pq.read_table(folder / 'eval.parquet').to_pydict()
  assert table['id'] == [f'doc-{n}' for n in range(7)]
  np.testing.assert_allclose(
    np.average(table['loss'], weights=table['tokens']), evals[-1]['eval/loss']
  )
  assert list((folder / 'tensorboard').iterdir())
  # Epochs of five batches of ten examples; the last one has only begun.
  ends = [line for line in log if 'epoch' in line]
  assert [(line['step'], line['epoch']) for line in ends] == [
    (5, 1), (10, 2), (13, 3)
  ]  # fmt: skip
  names = [f'epoch/similarity_hist/{i:02d}' for i in range(20)]
  assert [sum(map(line.get, names)) for line in ends] == [50, 50, 30]
  assert all(0.26 < line['epoch/effective_proportion'] < 0.74 for line in ends)


def test_a_resumed_run_repeats_an_uninterrupted_one(tiny, tmp_path, whole):
  class Stopping(tiny.Stream):
    """Sends SIGTERM while batch 6 is made, as a scheduler might."""

    def __next__(self):
      if self.position == 5:
        os.kill(os.getpid(), signal.SIGTERM)
      return super().__next__()

  before = signal.getsignal(signal.SIGTERM)
  with pytest.raises(Interrupted, match='stopped at step 6 of 13'):
    train(tiny, tmp_path, 13, batches=Stopping())
  assert signal.getsignal(signal.SIGTERM) == before
  # What a killed run leaves after its last checkpoint.
  with (tmp_path / metrics.NAME).open('a') as file:
    file.write(json.dumps({'step': 10, 'loss': 0.0}) + '\n{"step": 11')
  state = train(tiny, tmp_path, 13)
  assert_same_run(tmp_path, state, whole)
  again = train(tiny, tmp_path, 13)  # nothing left to do
  assert_same_run(tmp_path, again, whole)


SCRIPT = """
import sys, time
sys.path.insert(0, sys.argv[1])
import conftest, loop_test

class Slow(conftest.Stream):
  def __next__(self):
    if self.position >= 9:
      time.sleep(600)
    return super().__next__()

loop_test.train(conftest, sys.argv[2], 13, batches=Slow())
"""


def test_a_killed_run_goes_on_from_its_last_whole_checkpoint(
  tiny, tmp_path, whole
):
  here = pathlib.Path(__file__).parent
  process = subprocess.Popen([sys.executable, '-c', SCRIPT, here, tmp_path])
  deadline = time.time() + 120
  while not (tmp_path / 'checkpoints' / '8').exists():
    assert process.poll() is None
    assert time.time() < deadline
    time.sleep(0.05)
  process.send_signal(signal.SIGKILL)
  process.wait()
  state = train(tiny, tmp_path, 13)
  assert_same_run(tmp_path, state, whole)


def test_a_loss_that_is_not_finite_stops_the_run(tiny, tmp_path):
  with pytest.raises(UserError) as caught:
    train(tiny, tmp_path, 13, rate=1e30, weighting=uniform.make())
  message = str(caught.value)
  assert message.startswith('step ')
  assert 'losses or gradients were infinite or NaN, 10 may be' in message
  assert "documents 'document " not in message  # the batches have no ids
  assert 'clip_norm' in message


def test_wrong_requests_are_refused(tiny, tmp_path, whole):
  with pytest.raises(UserError, match='give it with --anchors'):
    train(tiny, tmp_path, 3, anchors=None)
  with pytest.raises(UserError, match='data end before step 3'):
    train(tiny, tmp_path, 3, batches=tiny.Stream(limit=2), eval_batches=())
  with pytest.raises(UserError, match='already at step 13, but --steps is 3'):
    train(tiny, whole[0], 3)


def test_it_trains_outside_the_main_thread_too(tiny, tmp_path):
  states = []
  thread = threading.Thread(
    target=lambda: states.append(train(tiny, tmp_path, 1))
  )
  thread.start()
  thread.join()
  assert int(states[0].step) == 1
