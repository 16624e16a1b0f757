"""Fitted heads are at the minimum that Newton's method finds in float64."""

import numpy as np
import pytest

from jaxcurate.ops import ngrams
from jaxcurate.train import probe

RNG = np.random.default_rng(0)
N, WIDTH = 24, 3
TEXTS = [RNG.integers(3, 20, size=n) for n in RNG.integers(2, 9, size=N)]
INPUTS = probe.Inputs(
  pooled=RNG.normal(size=(N, WIDTH)),
  grams=ngrams.matrix(TEXTS, 1),
  length=np.log([len(text) for text in TEXTS]),
)
ALONE = np.arange(N)[:, None]
PAIRS = RNG.permuted(np.tile(np.arange(N), (40, 1)), axis=1)[:, :2]
GRADES = RNG.normal(5, 2, size=(N, 1))
LABELS = (GRADES > 5).astype(float)


def rate(head, inputs=INPUTS):
  """[N, C] ratings, as `ops.rating` defines them."""
  rated = inputs.pooled @ head['kernel'] + head['bias']
  rated = rated + inputs.length[:, None] * head['length']
  if inputs.grams is not None:
    rated = rated + inputs.grams @ head['ngrams']
  return rated


def slow_design():
  """Standardised inputs, one dense column after the other."""
  columns = [(x - x.mean()) / x.std() / np.sqrt(WIDTH) for x in INPUTS.pooled.T]
  length = INPUTS.length - INPUTS.length.mean()
  columns.append(0.3 * length / INPUTS.length.std())
  used = np.unique(INPUTS.grams.indices)
  return np.stack([*columns, *INPUTS.grams[:, used].toarray().T], axis=1)


def slow_ratings(loss, penalty, text, target):
  """Ratings of all texts at the minimum."""
  design = slow_design()
  rows = design[text[:, 0]]
  if text.shape[1] == 2:
    rows = rows - design[text[:, 1]]
  mean, scale = 0.0, 1.0
  if loss == 'squared':
    mean, scale = target.mean(), target.std()
  target = (target - mean) / scale
  rows = np.column_stack([rows, np.full(len(rows), loss != 'bradley_terry')])
  ridge = np.append(np.full(rows.shape[1] - 1, penalty), 1e-12)
  weights = np.zeros(rows.shape[1])
  for _ in range(30):
    rating = rows @ weights
    slope, curve = rating - target, np.ones_like(rating)
    if loss != 'squared':
      prob = 1 / (1 + np.exp(-rating))
      slope, curve = prob - target, prob * (1 - prob)
    weights -= np.linalg.solve(
      rows.T * curve @ rows + np.diag(ridge), rows.T @ slope + ridge * weights
    )
  return (design @ weights[:-1] + weights[-1]) * scale + mean


@pytest.mark.parametrize('penalty', [1.0, 0.1])
@pytest.mark.parametrize(
  'loss, text, target',
  [
    ('squared', ALONE, GRADES),
    ('binary', ALONE, LABELS),
    ('binary', ALONE, RNG.uniform(size=(N, 1))),
    ('bradley_terry', PAIRS, RNG.uniform(size=(40, 1))),
  ],
)
def test_against_newton(loss, text, target, penalty):
  made = probe.fit(
    INPUTS, text, target, loss=loss, penalties=(penalty,), state_norms=(1.0,)
  )
  expected = slow_ratings(loss, penalty, text, target[:, 0])
  found = rate(made.head)[:, 0]
  if loss == 'bradley_terry':  # differences alone mean something
    expected, found = expected - expected[0], found - found[0]
  np.testing.assert_allclose(found, expected, atol=2e-3 * np.std(expected))


def test_as_many_texts_as_you_like_are_solved_in_columns():
  few = INPUTS._replace(grams=None)
  made = probe.fit(few, ALONE, GRADES, loss='squared', penalties=(0.1,))
  twice = probe.fit(
    few, np.tile(ALONE, (2, 1)), np.tile(GRADES, (2, 1)), loss='squared',
    penalties=(0.2,),
  )  # fmt: skip
  np.testing.assert_allclose(rate(twice.head, few), rate(made.head, few), 1e-3)


def test_grades_may_be_on_any_scale():
  few = INPUTS._replace(grams=None)
  settings = {'loss': 'squared', 'penalties': (1.0, 0.1)}
  first = probe.fit(few, ALONE, GRADES, **settings)
  other = probe.fit(few, ALONE, 1000 * GRADES - 7, **settings)
  np.testing.assert_allclose(
    rate(other.head, few), 1000 * rate(first.head, few) - 7, rtol=1e-3
  )
  assert other.penalty == first.penalty


def test_pairs_may_be_turned():
  few, target = INPUTS._replace(grams=None), RNG.uniform(size=(40, 1))
  settings = {'loss': 'bradley_terry', 'penalties': (1.0, 0.1)}
  first = probe.fit(few, PAIRS, target, **settings)
  other = probe.fit(few, PAIRS[:, ::-1], 1 - target, **settings)
  np.testing.assert_allclose(
    rate(other.head, few), rate(first.head, few), atol=1e-3
  )


def test_noise_is_held_back_and_a_rule_is_not():
  rng = np.random.default_rng(3)
  pooled = rng.normal(size=(200, 4))
  inputs = probe.Inputs(pooled, None, np.zeros(200))
  text = np.arange(200)[:, None]
  penalties = (100.0, 0.01)
  noise = rng.integers(0, 2, size=(200, 1)).astype(float)
  made = probe.fit(inputs, text, noise, loss='binary', penalties=penalties)
  assert made.penalty == (100.0,) and made.loss[0] > 0.9 * np.log(2)
  rule = (pooled[:, :1] > 0).astype(float)
  made = probe.fit(inputs, text, rule, loss='binary', penalties=penalties)
  assert made.penalty == (0.01,) and made.loss[0] < 0.2
