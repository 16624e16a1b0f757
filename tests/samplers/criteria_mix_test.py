"""The union of several criteria's selections."""

import dataclasses

import numpy as np
import pytest

from jaxcurate import types
from jaxcurate.ops import ids as ids_lib
from jaxcurate.samplers import budget as budget_lib
from jaxcurate.samplers import criteria_mix, draw, top_k


def pool(scores, tokens=None):
  num = len(next(iter(scores.values())))
  ids = np.array([f'doc{i}' for i in range(num)], object)
  scores = {name: np.array(s, np.float32) for name, s in scores.items()}
  return types.Candidates(
    id=ids,
    id_hash=ids_lib.hash_ids(ids),
    score=next(iter(scores.values())),
    num_tokens=np.array(tokens or [1] * num, np.int32),
    domain=np.full(num, None, object),
    scores=scores,
  )


def kept(candidates, budget, seed=0):
  amount = budget_lib.parse_budget(budget)
  return criteria_mix.sample(seed, candidates, amount).id.tolist()


def test_by_hand():
  candidates = pool({'a': [9, 8, 1, 0, 2], 'b': [9, 0, 8, 1, 2]})
  # doc0 leads both; doc1 and doc2 are second in one; doc4 is third in both.
  assert kept(candidates, '1') == ['doc0']
  assert kept(candidates, '3')[0] == 'doc0'
  assert set(kept(candidates, '3')) == {'doc0', 'doc1', 'doc2'}
  assert kept(candidates, '4')[3] == 'doc4'
  # In tokens: doc1 takes the rest of a's part before doc4 comes.
  long = pool({'a': [9, 8, 1, 0, 2], 'b': [9, 0, 8, 1, 2]}, [1, 5, 1, 1, 1])
  assert set(kept(long, '7t')) == {'doc0', 'doc1', 'doc2'}
  assert kept(long, '8t')[3] == 'doc4'


def test_is_the_union_of_the_selections_of_each_criterion():
  rng = np.random.default_rng(0)
  scores = {name: rng.normal(size=100) for name in 'abc'}
  candidates = pool(scores)
  each = [set(np.argsort(-scores[name])[:20].tolist()) for name in scores]
  union = {f'doc{i}' for i in set.union(*each)}
  assert set(kept(candidates, str(len(union)))) == union
  for size in ('5', '50', '100'):
    assert len(kept(candidates, size)) == int(size)


def test_order_of_criteria_and_rows_and_their_scale_mean_nothing():
  rng = np.random.default_rng(1)
  a, b = rng.integers(0, 9, 60), rng.normal(size=60)
  candidates = pool({'a': a, 'b': b})
  expected = kept(candidates, '20', seed=3)
  assert kept(pool({'b': np.exp(b), 'a': 10.0 * a - 7}), '20', 3) == expected
  turned = draw.take_rows(candidates, rng.permutation(60))
  assert kept(turned, '20', seed=3) == expected


def test_one_criterion_is_top_k():
  candidates = pool({'a': np.random.default_rng(2).integers(0, 9, 40)})
  amount = budget_lib.parse_budget('0.3')
  best = top_k.sample(5, candidates, amount).id.tolist()
  assert kept(candidates, '0.3', seed=5) == best
  alone = dataclasses.replace(candidates, scores={})
  assert kept(alone, '0.3', seed=5) == best


@pytest.mark.parametrize('constant', [0.0, 3.0])
def test_equal_scores_and_one_document(constant):
  candidates = pool({'a': [constant] * 5, 'b': [constant] * 5})
  assert len(kept(candidates, '2')) == 2
  assert kept(pool({'a': [constant]}), '1') == ['doc0']
