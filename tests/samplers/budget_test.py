"""Budgets as users write them, and every way to write them wrong."""

import numpy as np
import pytest

from jaxcurate import types
from jaxcurate.ops import ids as ids_lib
from jaxcurate.samplers import budget as budget_lib


def candidates(num=10, score=None, ids=None, domain=None, tokens=None, unit=''):
  ids = np.array(ids or [f'doc{i}' for i in range(num)], object)
  num = len(ids)
  return types.Candidates(
    id=ids,
    id_hash=ids_lib.hash_ids(ids),
    score=np.zeros(num, np.float32) if score is None else np.float32(score),
    num_tokens=np.arange(1, num + 1, dtype=np.int32)
    if tokens is None
    else np.asarray(tokens, np.int32),
    domain=np.array(domain or [None] * num, object),
    unit=unit,
  )


@pytest.mark.parametrize(
  'text, amount, unit',
  [
    ('0.2', 0.2, 'documents'),
    ('.2', 0.2, 'documents'),
    ('1.', 1.0, 'documents'),
    ('1000', 1000, 'documents'),
    ('5000000t', 5_000_000, 'tokens'),
    ('0.2t', 0.2, 'tokens'),
    (' 7 ', 7, 'documents'),
  ],
)
def test_parse(text, amount, unit):
  budget = budget_lib.parse_budget(text)
  assert budget == budget_lib.Budget(amount, unit)
  assert isinstance(budget.amount, type(amount))
  assert budget_lib.parse_budget(str(budget)) == budget


@pytest.mark.parametrize(
  'text',
  ['', 't', '.', '.t', '-1', '1e6', '20%', '1_000', '0.2x', 'T', '0x10', 'nan'],
)
def test_malformed(text):
  with pytest.raises(ValueError, match='not understood; give a share'):
    budget_lib.parse_budget(text)


@pytest.mark.parametrize(
  'text, message',
  [
    ('0', 'budget 0 is below 1'),
    ('0t', 'budget 0t is below 1'),
    ('0.0', 'more than 0'),
    ('1.5', 'at most 1'),
    ('1.01t', 'at most 1'),
  ],
)
def test_out_of_range(text, message):
  with pytest.raises(ValueError, match=message):
    budget_lib.parse_budget(text)


@pytest.mark.parametrize(
  'text, limit',
  [('0.2', 2), ('3', 3), ('0.1t', 6), ('11t', 11), ('0.001', 1), ('1.0t', 55)],
)
def test_resolve(text, limit):
  cost, got = budget_lib.resolve_budget(
    budget_lib.parse_budget(text), candidates(10)
  )
  assert got == limit
  assert cost.sum() == (55 if 't' in text else 10)


@pytest.mark.parametrize('text, has', [('11', '10;'), ('56t', '55;')])
def test_budget_above_the_corpus_says_how_much_there_is(text, has):
  budget = budget_lib.parse_budget(text)
  with pytest.raises(ValueError, match=f'have only {has}'):
    budget_lib.resolve_budget(budget, candidates(10))


def test_scores_that_are_not_finite_are_counted_and_named():
  score = [0.0, np.nan, 1.0, np.inf]
  with pytest.raises(
    ValueError, match=r"2 of 4 .* first is id 'doc1' with nan"
  ):
    budget_lib.check_candidates(candidates(score=score, num=4))


def test_repeated_ids_are_named():
  with pytest.raises(ValueError, match="repeat an id, the first is id 'b'"):
    budget_lib.check_candidates(candidates(ids=['a', 'b', 'c', 'b']))


def test_no_candidates():
  with pytest.raises(ValueError, match='no candidates'):
    budget_lib.check_candidates(candidates(0))
