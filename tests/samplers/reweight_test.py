"""Re-weighting: copies in proportion to clipped, tempered weights."""

import numpy as np
import pytest

from jaxcurate.ops import ids as ids_lib
from jaxcurate.samplers import reweight
from jaxcurate.samplers.budget import parse_budget
from jaxcurate.types import Candidates


def pool(score, num_tokens=None):
  ids = np.array([f'doc-{i}' for i in range(len(score))], object)
  tokens = np.ones(len(score)) if num_tokens is None else num_tokens
  return Candidates(
    id=ids,
    id_hash=ids_lib.hash_ids(ids),
    score=np.array(score, np.float32),
    num_tokens=np.array(tokens, np.int32),
    domain=np.full(len(score), None),
    unit='weighted sum of log P(yes)',
  )


def random_pool(size, seed=0):
  rng = np.random.default_rng(seed)
  return pool(rng.normal(scale=2, size=size), rng.integers(1, 100, size))


def counts_by_id(selection):
  return dict(zip(selection.id, selection.count.tolist(), strict=True))


def test_three_weights_and_counts_by_hand():
  # exp(s - mean) = 1/2, 1, 2; of 7 copies they get 1, 2 and 4.
  candidates = pool(np.log([1, 2, 4]))
  weight = reweight.weights(candidates.score, 1.0, (0.1, 10.0))
  np.testing.assert_allclose(weight, [0.5, 1, 2], rtol=1e-6)
  drawn = reweight.sample(0, candidates, parse_budget('3'), clip=(0.1, 10.0))
  expected = dict(zip(drawn.id, drawn.expected_count, strict=True))
  assert drawn.count.sum() == 3
  assert expected['doc-2'] == pytest.approx(3 * 4 / 7)
  assert counts_by_id(drawn)['doc-2'] in (1, 2)
  assert drawn.design == 'random'


@pytest.mark.parametrize('budget', ['40', '1000t'])
def test_expected_counts_are_a_slow_float64_normalisation(budget):
  candidates, amount = random_pool(200), parse_budget(budget)
  cost = candidates.num_tokens if amount.unit == 'tokens' else np.ones(200)
  score = candidates.score.astype(np.float64)
  weight = np.exp((score - score.mean()) / 3)
  weight = np.minimum(np.maximum(weight, 0.5), 2.0)
  slow = amount.amount * weight / (weight * cost).sum()
  drawn = reweight.sample(
    3, candidates, amount, temperature=3.0, clip=(0.5, 2.0)
  )
  row = {name: i for i, name in enumerate(candidates.id)}
  for name, count, expected in zip(
    drawn.id, drawn.count, drawn.expected_count, strict=True
  ):
    assert expected == pytest.approx(slow[row[name]], rel=1e-12)
    assert count in (np.floor(expected), np.ceil(expected))


def test_mean_counts_over_seeds_are_the_expected_ones():
  candidates, trials = random_pool(12), 1500
  total = dict.fromkeys(candidates.id, 0)
  slow = (
    6 * (w := reweight.weights(candidates.score, 1.0, (0.25, 4.0))) / w.sum()
  )
  for seed in range(trials):
    drawn = reweight.sample(seed, candidates, parse_budget('6'))
    for name, count in counts_by_id(drawn).items():
      total[name] += count
  # A count is its expectation rounded up or down: a Bernoulli at most.
  p = slow % 1
  bound = 4 * np.sqrt(p * (1 - p) / trials) + 1e-9
  mean = np.array(list(total.values())) / trials
  assert (abs(mean - slow) <= bound).all()


def test_token_budgets_are_met_within_the_longest_document():
  candidates = random_pool(300)
  tokens = dict(zip(candidates.id, candidates.num_tokens.tolist(), strict=True))
  for seed in range(50):
    for budget in (50, 1000, 9000):
      drawn = reweight.sample(seed, candidates, parse_budget(f'{budget}t'))
      total = sum(tokens[i] * c for i, c in counts_by_id(drawn).items())
      assert abs(total - budget) <= candidates.num_tokens.max()


def test_high_scores_are_repeated_and_row_order_is_nothing():
  score = np.zeros(50)
  score[7] = 9.0
  candidates = pool(score)
  first = reweight.sample(5, candidates, parse_budget('40'))
  assert counts_by_id(first)['doc-7'] in (
    3,
    4,
  )  # 40 * 4 / (4 + 49 * 0.835) = 3.56
  order = np.random.default_rng(1).permutation(50)
  turned = Candidates(
    id=candidates.id[order],
    id_hash=candidates.id_hash[order],
    score=candidates.score[order],
    num_tokens=candidates.num_tokens[order],
    domain=candidates.domain[order],
  )
  again = reweight.sample(5, turned, parse_budget('40'))
  assert counts_by_id(first) == counts_by_id(again)


def test_equal_scores_and_one_document():
  drawn = reweight.sample(0, pool(np.full(9, -3.0)), parse_budget('4'))
  assert drawn.count.tolist() == [1] * 4
  np.testing.assert_allclose(drawn.expected_count, 4 / 9)
  alone = reweight.sample(0, pool([-3.0]), parse_budget('1'))
  assert alone.id.tolist() == ['doc-0']
  assert alone.expected_count.tolist() == [1.0]


@pytest.mark.parametrize(
  'settings',
  [{'temperature': 0.0}, {'clip': (0.0, 1.0)}, {'clip': (2.0, 1.0)}],
)
def test_bad_settings_are_explained(settings):
  with pytest.raises(ValueError, match='expected a temperature above 0'):
    reweight.sample(0, pool([0.0, 1.0]), parse_budget('1'), **settings)
