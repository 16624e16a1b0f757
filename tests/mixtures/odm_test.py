import math

import numpy as np
import pytest

from jaxcurate.mixtures import odm

UNIFORM = np.full(4, 0.25)


def test_three_numbers_by_hand():
  # sqrt(ln 2 / (2 * 2)) = 0.416277; sqrt(ln 2 / 2) = 0.588705, capped at 1/2.
  np.testing.assert_allclose(odm.exploration(2, 2), 0.416277, rtol=1e-5)
  assert odm.exploration(1, 2) == odm.exploration(0, 2) == 0.5
  rule = odm.make(warmup_steps=0)
  state = rule.update(
    rule.init(np.array([0.5, 0.5])),
    np.array([0.5, 0.5]),
    np.array([4.0, 2.0]),
    np.array([0.75, 0.25]),
  )
  # 0.1 * 0.75 * 4 / 0.5 = 0.6; 0.1 * 0.25 * 2 / 0.5 = 0.1
  np.testing.assert_allclose(state['reward'], [0.6, 0.1])
  # e_2 = 0.416277, e_1 = 0.5: softmax(0.3, 0.05) = 0.562177, 0.437823
  share = rule.share(state, 2)
  np.testing.assert_allclose(share, [0.510411, 0.489589], atol=2e-6)


def slow(rewards, step, smallest):
  """Algorithm 1, one number at a time."""
  count = len(rewards)

  def epsilon(t):
    if t == 0:
      return 1 / count
    value = min(1 / count, math.sqrt(math.log(count) / (count * t)))
    return min(max(smallest, value), 1 / count)

  scores = [math.exp(epsilon(step - 1) * reward) for reward in rewards]
  return [
    (1 - count * epsilon(step)) * score / sum(scores) + epsilon(step)
    for score in scores
  ]


@pytest.mark.parametrize('num, smallest', [(2, 0.0), (7, 0.03), (40, 0.03)])
def test_against_one_number_at_a_time(num, smallest):
  rng = np.random.default_rng(num)
  rule = odm.make(
    smoothing=0.8, warmup_steps=3, min_exploration=smallest, reward_scale=2.0
  )
  start = rng.dirichlet(np.ones(num))
  state, rewards = rule.init(start), [0.0] * num
  for step in range(1, 60):
    share = rule.share(state, step)
    expected = start if step <= 3 else slow(rewards, step, smallest)
    np.testing.assert_allclose(share, expected, rtol=1e-12)
    loss = rng.uniform(1, 9, num)
    part = rng.dirichlet(np.ones(num)) * (rng.random(num) < 0.5)
    for d in range(num):
      if part[d] > 0:
        gain = 2.0 * part[d] * loss[d] / share[d]
        rewards[d] = 0.8 * rewards[d] + 0.2 * gain
    state = rule.update(state, share, loss, part)
  np.testing.assert_allclose(state['reward'], rewards, rtol=1e-12)


def test_hard_domains_gain_and_none_vanishes():
  rule = odm.make(warmup_steps=0, reward_scale=15.0, min_exploration=0.03)
  state, loss = rule.init(UNIFORM), np.array([9.0, 3.0, 1.0, 1.0])
  share = UNIFORM
  for step in range(1, 400):
    share = rule.share(state, step)
    np.testing.assert_allclose(share.sum(), 1.0)
    assert share.min() >= 0.03 - 1e-12
    state = rule.update(state, share, loss, share)
  assert share[0] > share[1] > share[2] == share[3]


def test_what_is_not_known_changes_nothing():
  rule = odm.make(warmup_steps=0)
  state = rule.update(rule.init(UNIFORM), UNIFORM, UNIFORM * 8, UNIFORM)
  nothing = np.zeros(4)
  assert rule.update(state, UNIFORM, nothing, nothing) == state
  bad = np.array([np.nan, np.inf, 0.0, 0.0])
  part = np.array([0.5, 0.5, 0.0, 0.0])
  assert rule.update(state, UNIFORM, bad, part) == state
  none = rule.update(state, np.array([0.0, 0.0, 0.5, 0.5]), UNIFORM, part)
  assert none == state


def test_one_domain_and_equal_ones():
  rule = odm.make(warmup_steps=0)
  one = np.ones(1)
  state = rule.update(rule.init(one), one, one * 5, one)
  for step in (1, 2, 1000):
    assert rule.share(state, step).tolist() == [1.0]
  state = rule.update(rule.init(UNIFORM), UNIFORM, np.full(4, 5.0), UNIFORM)
  np.testing.assert_allclose(rule.share(state, 9), UNIFORM)


@pytest.mark.parametrize(
  'setting, message',
  [
    ({'smoothing': 1.0}, 'smoothing is 1.0'),
    ({'warmup_steps': -1}, 'warmup_steps is -1'),
    ({'min_exploration': -0.1}, 'min_exploration is -0.1'),
    ({'reward_scale': 0.0}, 'reward_scale is 0.0'),
  ],
)
def test_settings_out_of_range(setting, message):
  with pytest.raises(ValueError, match=message):
    odm.make(**setting)
