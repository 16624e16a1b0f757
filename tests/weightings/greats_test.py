from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.ops.dense_gradients import DenseGradients
from jaxcurate.types import Preconditioner, Signals, TrainingShapes
from jaxcurate.weightings import greats

# Two equal examples along the target, one across, one against it.
ROWS = np.array([[2.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [2.0, 0.0]])
TARGET = np.array([3.0, 1.0])


def signals(rows, mask=None, rate=None):
  mask = np.ones(len(rows), bool) if mask is None else mask
  known = None
  if rate is not None:
    ones = {'w': jnp.ones(rows.shape[1])}
    known = Preconditioner(
      scale=ones,
      momentum=None,
      momentum_decay=jnp.float32(0),
      learning_rate=jnp.float32(rate),
      updates=jnp.int32(0),
    )
  return Signals(
    mask_E=jnp.asarray(mask),
    step=jnp.int32(1),
    gradients=DenseGradients({'w': jnp.asarray(rows, jnp.float32)}),
    preconditioner=known,
  )


def started(weighting, target):
  target = {'w': jnp.asarray(target, jnp.float32)}
  shapes = jax.eval_shape(lambda: target)
  anchors = Signals(
    mask_E=jnp.ones(2, bool), step=jnp.int32(1), mean_gradient=target
  )
  return weighting.refresh(anchors, weighting.init(TrainingShapes(4, shapes)))


def slow_greats(rows, target, size, rate):
  """The authors' loop in float64: scores less the products with the chosen."""
  scores = rate * rows @ target
  interaction = rate**2 * rows @ rows.T
  picked = []
  for _ in range(size):
    best = int(np.argmax(scores))
    picked.append(best)
    scores = scores - interaction[best]
    scores[best] = -np.inf
  return sorted(picked)


def test_by_hand():
  # <g, g*> = 6, 1, -3, 6. With lr = 1 a second copy brings 6 - 4 = 2, more
  # than 1; with lr = 2 it brings 12 - 16 = -4, less than 2.
  for rate, expected in ((1.0, [2, 0, 0, 2]), (2.0, [2, 2, 0, 0])):
    weighting = greats.make(learning_rate=rate)
    weights, state, info = jax.jit(weighting.update)(
      signals(ROWS), started(weighting, TARGET)
    )
    np.testing.assert_allclose(weights, expected)
    assert [int(info['kept']), int(state['fallbacks'])] == [2, 0]
  # The rate may be the optimizer's, and the full number is always kept: after
  # those two the opposite brings -6 + 8, still more than the copy.
  weighting = greats.make(keep=0.75)
  assert weighting.needs == {'gradients', 'preconditioner'}
  weights, _, _ = jax.jit(weighting.update)(
    signals(ROWS, rate=2.0), started(weighting, TARGET)
  )
  np.testing.assert_allclose(weights, [4 / 3, 4 / 3, 4 / 3, 0], rtol=1e-6)


def test_against_the_authors_loop():
  rng = np.random.default_rng(0)
  weighting = greats.make(keep=0.4)
  update: Any = jax.jit(weighting.update)
  differ = 0
  for _ in range(10):
    rows, target = rng.normal(size=(12, 6)) + 0.5, rng.normal(size=6) + 0.5
    weights, _, _ = update(signals(rows, rate=0.3), started(weighting, target))
    kept = np.flatnonzero(weights).tolist()
    assert kept == slow_greats(rows, target, 5, 0.3)
    differ += kept != sorted(np.argsort(-rows @ target)[:5].tolist())
  assert differ > 2  # not only the top by alignment
  assert update._cache_size() == 1


def test_masks_and_fallbacks():
  weighting = greats.make(learning_rate=1.0)
  update: Any = jax.jit(weighting.update)
  mask = np.arange(4) > 0
  state = started(weighting, TARGET)
  spoiled = np.where(mask[:, None], ROWS, np.nan)
  weights, _, _ = update(signals(spoiled, mask), state)
  np.testing.assert_allclose(weights, [0, 1.5, 0, 1.5])  # 3 of 2
  zero = started(weighting, 0 * TARGET)
  broken = np.where(mask[:, None], ROWS, np.inf)
  for given, before in ((signals(ROWS), zero), (signals(broken), state)):
    weights, after, _ = update(given, before)
    np.testing.assert_array_equal(weights, 1)
    assert int(after['fallbacks']) == 1
  weights, after, _ = update(signals(ROWS, mask & False), state)
  np.testing.assert_array_equal(weights, 0)
  assert int(after['fallbacks']) == 0


def test_what_is_missing_or_out_of_range_is_named():
  weighting = greats.make()
  with pytest.raises(ValueError, match='lack preconditioner'):
    weighting.update(signals(ROWS), started(weighting, TARGET))
  bare = Signals(mask_E=jnp.ones(4, bool), step=jnp.int32(1))
  with pytest.raises(ValueError, match='lack gradients'):
    weighting.update(bare, started(weighting, TARGET))
  with pytest.raises(ValueError, match=r'learning_rate is 0\.0'):
    greats.make(learning_rate=0.0)
  with pytest.raises(ValueError, match=r'keep is 2\.0'):
    greats.make(keep=2.0)
