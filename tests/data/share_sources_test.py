import json

import numpy as np
import pytest

from jaxcurate.data.share_sources import LearntShares, Losses, ScheduledShares
from jaxcurate.mixtures import odm, schedules
from jaxcurate.types import Mixture

START = np.array([0.75, 0.25])


def learnt(**options):
  rule = odm.make(warmup_steps=2, reward_scale=15.0)
  return LearntShares(rule, ('a', 'b'), START, **{'lag': 3, **options})


def losses(batch):
  rng = np.random.default_rng(batch)
  return Losses(rng.uniform(50, 99, 2).tolist(), [20.0, 5.0])


def run(source, memory, batches):
  """Shares of batches, each with the losses of those before it."""
  shares = []
  for batch in batches:
    known = {b: losses(b) for b in range(1, batch)}
    share, memory = source.share(batch, memory, known)
    shares.append(share)
  return np.array(shares), memory


def test_shares_follow_the_rule_so_many_batches_late():
  source, rule = learnt(), odm.make(warmup_steps=2, reward_scale=15.0)
  shares, memory = run(source, source.begin(1), range(1, 9))
  state = rule.init(START)
  for batch in range(1, 9):
    if batch > 3:
      nll, targets = map(np.array, losses(batch - 3))
      state = rule.update(
        state, shares[batch - 4], nll / targets, targets / 25.0
      )
    np.testing.assert_array_equal(shares[batch - 1], rule.share(state, batch))
  assert not np.allclose(shares[-1], START)
  np.testing.assert_allclose(memory['mean'], shares.mean(axis=0))
  np.testing.assert_array_equal(memory['asked'], shares[-3:])


def test_a_memory_that_was_saved_goes_on_bit_for_bit():
  source = learnt()
  whole, end = run(source, source.begin(1), range(1, 13))
  first, memory = run(learnt(), source.begin(1), range(1, 7))
  memory = json.loads(json.dumps(memory))
  second, memory = run(learnt(), memory, range(7, 13))
  np.testing.assert_array_equal(whole, np.concatenate([first, second]))
  assert memory == end


def test_a_rule_that_begins_later_reads_no_losses_from_before():
  source = learnt()
  memory = source.begin(100)
  for batch in (100, 101, 102):
    _, memory = source.share(batch, memory, {})
  with pytest.raises(ValueError, match='batch 103 follows the losses of batch'):
    source.share(103, memory, {})


def test_sources_say_what_they_are():
  assert learnt().describe()['start'] == {'a': 0.75, 'b': 0.25}
  assert learnt().describe()['odm']['reward_scale'] == 15.0
  schedule = schedules.make_schedule({1: Mixture(('a', 'b'), START)})
  plain = ScheduledShares(schedule)
  assert (plain.lag, plain.begin(1)) == (0, None)
  assert plain.share(5, None, {})[0].tolist() == START.tolist()
  assert plain.describe() == {'1': {'a': 0.75, 'b': 0.25}}
