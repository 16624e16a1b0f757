"""Ratings of texts that are trained, by a pass that a hand can follow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.train import judge
from jaxcurate.types import Features, Scorer


def windows(params, head, batch, num_segments):
  """rating = slope * x; `tokens` are in the batch."""
  del head
  assert batch['x'].shape[1] == num_segments and 'text' not in batch
  return {
    'rating': (params['slope'] * batch['x'])[..., None],
    'tokens': batch['tokens'],
  }


def features(apply):
  return Features(
    name='toy', examples=lambda documents, tokens: [], encoder_length=8,
    decoder_length=0, apply=apply, combine=lambda out: out,
  )  # fmt: skip


READING = judge.Reading(features(lambda *_: {}), windows)
HEAD = {'length': jnp.array([0.5]), 'bias': jnp.array([-1.0])}
PARAMS = {'network': {'slope': jnp.float32(2.0)}, 'head': HEAD}
BATCH = {
  'x': np.array([[1.0, 3.0, 9.0], [2.0, 4.0, 9.0]], np.float32),
  'tokens': np.array([[3.0, 1.0, 0.0], [1.0, 2.0, 0.0]], np.float32),
  'text': np.array([[0, 1, -1], [0, 1, -1]], np.int32),
}
BATCH = jax.tree.map(jnp.asarray, BATCH)


def test_three_texts_by_hand():
  # (3 * 2 + 1 * 4) / 4 = 2.5 and (1 * 6 + 2 * 8) / 3 = 22 / 3; text 2 is empty.
  found = judge.rate_texts(READING, PARAMS, BATCH, 3)
  expected = [2.5 + 0.5 * np.log(4) - 1, 22 / 3 + 0.5 * np.log(3) - 1, -1]
  np.testing.assert_allclose(found[:, 0], expected, rtol=1e-6)
  bare = judge.rate_texts(READING, {**PARAMS, 'head': {}}, BATCH, 3)
  np.testing.assert_allclose(bare[:, 0], [2.5, 22 / 3, 0], rtol=1e-6)


def test_pairs_are_differences():
  batch = {**BATCH, 'target': jnp.array([[1.0]])}
  one = judge.rate_items(READING, 'bradley_terry', PARAMS, batch)
  gap = 2.5 - 22 / 3 + 0.5 * np.log(4 / 3)
  np.testing.assert_allclose(one, [[gap]], rtol=1e-6)
  loss = judge.mean_loss(READING, 'bradley_terry', PARAMS, batch)
  np.testing.assert_allclose(loss, np.log1p(np.exp(-gap)), rtol=1e-6)


def slow_mean_loss(batch, loss):
  """In float64, text by text; pairs are the first and the second half."""
  num_items = len(batch['target'])
  sides = 2 if loss == 'bradley_terry' else 1
  rating = np.zeros(sides * num_items)
  for text in range(len(rating)):
    own = batch['text'] == text
    n = np.float64(batch['tokens'][own])
    rated = 2.0 * np.float64(batch['x'][own])
    total = max(n.sum(), 1.0)
    rating[text] = n @ rated / total + 0.5 * np.log(total) - 1
  if sides == 2:
    rating = rating[:num_items] - rating[num_items:]
  t = np.float64(batch['target'][:, 0])
  if loss == 'squared':
    each = (rating - t) ** 2 / 2
  else:
    each = np.log1p(np.exp(-np.abs(rating))) + np.maximum(rating, 0)
    each = each - t * rating
  return np.nanmean(each)


@pytest.mark.parametrize(
  'loss, num_rows',
  [('binary', 5), ('binary', 33), ('squared', 70), ('bradley_terry', 70)],
)
def test_against_numpy_in_however_many_blocks(loss, num_rows):
  rng = np.random.default_rng(num_rows)
  shape = (num_rows, 3)
  target = rng.uniform(size=(10, 1)).astype(np.float32)
  target[4] = np.nan
  batch = {
    'x': rng.normal(size=shape).astype(np.float32),
    'tokens': rng.integers(1, 9, size=shape).astype(np.float32),
    'text': rng.integers(-1, 20, size=shape).astype(np.int32),
    'target': target,
  }

  expected = slow_mean_loss(batch, loss)
  batch = jax.tree.map(jnp.asarray, batch)

  def mean(slope):
    params = {**PARAMS, 'network': {'slope': slope}}
    return judge.mean_loss(READING, loss, params, batch)

  both = jax.jit(jax.value_and_grad(mean))
  value, slope = both(jnp.float32(2.0))
  np.testing.assert_allclose(value, expected, rtol=1e-5)
  step = 1e-2
  above, below = (both(jnp.float32(x))[0] for x in (2.0 + step, 2.0 - step))
  numeric = (above - below) / (2 * step)
  np.testing.assert_allclose(slope, numeric, rtol=2e-2, atol=1e-4)


@pytest.mark.parametrize('prob', [0.2, 0.5, 0.999])
def test_a_yes_is_trained_at_its_log_odds(prob):
  def apply(params, batch, num_segments):
    return {
      'log_yes': jnp.full((1, 1), jnp.log(prob)),
      'text_tokens': jnp.ones((1, 1)),
    }

  scorer = Scorer(columns={'ask_llm': 'log P(yes)'}, features=features(apply))
  rated = judge.read_answer(scorer).windows({}, {}, {}, 1)
  assert rated['rating'].shape == (1, 1, 1)
  np.testing.assert_allclose(
    rated['rating'], np.log(prob / (1 - prob)), rtol=1e-4, atol=1e-6
  )


def test_a_certain_yes_stays_finite():
  def apply(params, batch, num_segments):
    return {'log_yes': params, 'text_tokens': jnp.ones((1, 2))}

  scorer = Scorer(columns={'ask_llm': 'log P(yes)'}, features=features(apply))
  rate = judge.read_answer(scorer).windows
  log_yes = jnp.array([[0.0, -80.0]])
  value, slope = jax.value_and_grad(
    lambda x: rate(x, {}, {}, 2)['rating'].sum()
  )(log_yes)
  assert np.isfinite(value) and np.isfinite(slope).all()
