import threading

import numpy as np
import pytest

from jaxcurate.data.made_ahead import MadeAhead


def counted(limit=10**9):
  """Makes {'n': place}; which threads did it is remembered."""
  threads = []

  def make(place):
    threads.append(threading.current_thread().name)
    if place == limit:
      raise ValueError(f'nothing at {place}')
    return {'n': np.array(place)}, place + 1

  return make, threads


@pytest.mark.parametrize('prefetch', [0, 1, 3])
def test_batches_come_in_order_and_the_place_is_that_of_the_next(prefetch):
  make, threads = counted()
  ahead = MadeAhead(make, 0, prefetch=prefetch, name='maker')
  for number in range(5):
    assert ahead.place == number
    assert ahead.take() == {'n': number}
  ahead.close()
  assert ahead.place == 5
  assert {name.startswith('maker') for name in threads} == {prefetch > 0}


@pytest.mark.parametrize('prefetch', [0, 2])
def test_what_was_made_ahead_is_made_again(prefetch):
  make, _ = counted()
  ahead = MadeAhead(make, 0, prefetch=prefetch)
  first = [ahead.take() for _ in range(3)]
  ahead.close()
  assert ahead.take() == {'n': 3}
  ahead.go_to(0)
  assert [ahead.take() for _ in range(3)] == first
  ahead.close()
  ahead.close()  # twice is once


def test_an_error_of_the_thread_is_raised_in_its_turn():
  make, _ = counted(limit=2)
  ahead = MadeAhead(make, 0, prefetch=3)
  assert [ahead.take()['n'] for _ in range(2)] == [0, 1]
  with pytest.raises(ValueError, match='nothing at 2'):
    ahead.take()
  ahead.close()
