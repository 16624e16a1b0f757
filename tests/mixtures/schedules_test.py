import numpy as np
import pytest

from jaxcurate.mixtures import schedules
from jaxcurate.types import Mixture


def mixture(**shares):
  return Mixture(tuple(shares), np.array(list(shares.values())))


def test_by_hand():
  made = schedules.make_schedule(
    {3: mixture(a=0.5, b=0.5), 1: mixture(b=0.2, c=0.8)}
  )
  assert made.domains == ('b', 'c', 'a')
  for step, expected in (
    (1, [0.2, 0.8, 0.0]),
    (2, [0.35, 0.4, 0.25]),
    (3, [0.5, 0.0, 0.5]),
    (1000, [0.5, 0.0, 0.5]),
  ):
    np.testing.assert_allclose(schedules.share_at(made, step), expected)


def test_before_the_first_step_and_between_neighbours():
  made = schedules.make_schedule({9: mixture(a=1.0), 10: mixture(b=1.0)})
  steps = [schedules.share_at(made, s).tolist() for s in (1, 9, 10, 11)]
  assert steps == [[1, 0], [1, 0], [0, 1], [0, 1]]


def test_every_step_sums_to_one():
  rng = np.random.default_rng(0)
  made = schedules.make_schedule(
    {
      step: mixture(**dict(zip('abcd', rng.dirichlet(np.ones(4)))))
      for step in (1, 17, 40)
    }
  )
  sums = [schedules.share_at(made, step).sum() for step in range(1, 60)]
  np.testing.assert_allclose(sums, 1.0)


def test_a_domain_without_a_share_is_dropped():
  made = schedules.make_schedule({1: mixture(a=1.0, b=0.0)})
  assert made.domains == ('a',)
  assert schedules.to_json(made) == {'1': {'a': 1.0}}


@pytest.mark.parametrize('steps', [(), (0,), (5, -1)])
def test_steps_are_counted_from_one(steps):
  with pytest.raises(ValueError, match='1 or above'):
    schedules.make_schedule({step: mixture(a=1.0) for step in steps})
