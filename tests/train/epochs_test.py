"""What a weighting adds up, logged by epoch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.train import epochs, metrics
from jaxcurate.train.state import TrainState
from jaxcurate.types import Tally


def between(before, after, domains):
  # Counts wrap around: the dtypes of the sums must have survived.
  more = np.subtract(after['seen_M'], before['seen_M'])
  return dict(zip(domains, more.astype(float).tolist())) if more.any() else {}


TALLY = Tally(lambda state: {'seen_M': state['seen_M']}, between)


def state(*seen):
  kept = {'seen_M': jnp.array(seen, jnp.uint32), 'more': jnp.ones(3)}
  return TrainState(0, {}, {}, kept)


class Run:
  """The log of a run of given epochs after each step, for every member."""

  def __init__(
    self, folder, made, start, *, population=False, step=0, begun=None
  ):
    members = len(made[0])
    self.writers = [
      metrics.MetricsWriter(folder / str(m), step=step) for m in range(members)
    ]
    self.folders, self.made, self.step = folder, made, step
    sums = epochs.sums_of(TALLY, ['a', 'b'], population=population)
    self.log = epochs.EpochLog(
      sums, lambda: self.made[self.step], self.writers, start, begun
    )

  def advance(self, after, last=False):
    self.step += 1
    write = self.log.line(after, self.step, last=last)
    if write is not None:
      write()

  def lines(self, member=0):
    for writer in self.writers:
      writer.sync()
    path = self.folders / str(member) / metrics.NAME
    return list(metrics.read_metrics(path))


def test_by_hand(tmp_path):
  made = [[0], [0], [1], [3], [3]]
  run = Run(tmp_path, made, state(0, 0))
  run.advance(state(1, 0))
  assert run.lines() == []
  run.advance(state(2, 3))
  run.advance(state(7, 3))  # a batch of two epochs and more
  run.advance(state(7, 4), last=True)
  assert run.lines() == [
    {'step': 2, 'epoch': 1, 'epoch/a': 2, 'epoch/b': 3},
    {'step': 3, 'epoch': 3, 'epoch/a': 5, 'epoch/b': 0},
    {'step': 4, 'epoch': 4, 'epoch/a': 0, 'epoch/b': 1},
  ]


def test_a_run_that_goes_on_knows_where_its_epoch_began(tmp_path):
  made = [[0], [1], [1], [2]]
  end = np.uint32(2**32 - 2)
  run = Run(tmp_path, made, state(0, 0))
  run.advance(state(end, 1))
  run.advance(state(1, 2), last=True)
  position = run.log.position()
  assert position == {'seen_M': [[int(end), 1]]}
  again = Run(tmp_path, made, state(1, 2), step=2, begun=position)
  again.advance(state(2, 2))
  assert [line for line in again.lines() if line['step'] == 3] == [
    {'step': 3, 'epoch': 2, 'epoch/a': 4, 'epoch/b': 1}
  ]
  # An older checkpoint does not say: what came before it is left out.
  older = Run(tmp_path, made, state(1, 2), step=2)
  older.advance(state(2, 2))
  assert older.lines()[-1]['epoch/a'] == 1


def test_members_have_epochs_of_their_own(tmp_path):
  made = [[0, 0], [1, 0], [1, 1]]

  def both(*seen):
    return jax.tree.map(lambda *x: jnp.stack(x), *[state(*s) for s in seen])

  run = Run(tmp_path, made, both((0, 0), (0, 0)), population=True)
  run.advance(both((1, 0), (2, 0)))
  run.advance(both((4, 0), (9, 0)))
  assert [line['epoch/a'] for line in run.lines(0)] == [1]
  assert [line['epoch/a'] for line in run.lines(1)] == [9]
  assert run.log.position() == {'seen_M': [[1, 0], [9, 0]]}


@pytest.mark.parametrize('population', [False, True])
def test_sums_outlive_the_state(population):
  sums = epochs.sums_of(TALLY, [], population=population)
  before = state(5, 6)
  read = sums.read(before)
  jax.tree.map(lambda x: x.delete(), before.weighting_state)
  np.testing.assert_array_equal(np.ravel(read['seen_M']), [5, 6])


def test_without_a_tally_or_examples_there_is_nothing(tmp_path):
  assert epochs.sums_of(None, [], population=False) is None
  run = Run(tmp_path, [[0], [1]], state(3, 3))
  run.advance(state(3, 3), last=True)
  assert run.lines() == []
