"""Shares against their expectation, and what must not matter."""

import numpy as np
import pytest

from jaxcurate.ops.ids import hash_ids
from jaxcurate.samplers import draw, my_sampler
from jaxcurate.samplers.budget import Budget
from jaxcurate.types import Candidates


def candidates(scores):
  ids = np.array([f'doc{i}' for i in range(len(scores))], object)
  return Candidates(
    id=ids,
    id_hash=hash_ids(ids),
    score=np.float32(scores),
    num_tokens=np.full(len(ids), 10, np.int32),
    domain=np.array([None] * len(ids), object),
  )


def test_share_of_the_first_draw_by_hand():
  pool = candidates(np.log([3.0, 1.0]))
  trials = 2000
  picks = [my_sampler.sample(s, pool, Budget(1)).id[0] for s in range(trials)]
  share = np.mean([pick == 'doc0' for pick in picks])
  # P = 3 / (3 + 1); four standard errors.
  assert abs(share - 0.75) < 4 * np.sqrt(0.75 * 0.25 / trials)


def test_totals_average_to_the_truth():
  pool = candidates(np.linspace(-1, 1, 20))
  totals = []
  for seed in range(1000):
    kept = my_sampler.sample(seed, pool, Budget(6))
    totals.append(np.sum(kept.count / kept.expected_count))
  error = np.std(totals) / np.sqrt(len(totals))
  assert abs(np.mean(totals) - 20) < 4 * error


def test_row_order_does_not_matter():
  pool = candidates(np.linspace(-1, 1, 20))
  shuffled = draw.take_rows(pool, np.random.default_rng(0).permutation(20))
  first = my_sampler.sample(7, pool, Budget(5))
  second = my_sampler.sample(7, shuffled, Budget(5))
  assert set(first.id) == set(second.id)


def test_low_temperature_takes_the_best():
  pool = candidates(np.arange(10))
  kept = my_sampler.sample(0, pool, Budget(3), temperature=1e-3)
  assert set(kept.id) == {'doc7', 'doc8', 'doc9'}


def test_one_candidate_is_kept_with_certainty():
  kept = my_sampler.sample(0, candidates([0.5]), Budget(1.0))
  assert kept.expected_count.tolist() == [1.0]


def test_bad_temperature_is_refused():
  with pytest.raises(ValueError, match='temperature is 0'):
    my_sampler.sample(0, candidates([0.5]), Budget(1), temperature=0.0)
