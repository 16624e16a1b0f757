from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.ops.dense_gradients import DenseGradients
from jaxcurate.types import Preconditioner, Signals, TrainingShapes
from jaxcurate.weightings import filter_then_weight as method

# Two equal examples along the target, one across, one against it.
ROWS = np.array([[2.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [2.0, 0.0]])
TARGET = np.array([3.0, 1.0])
VANILLA = {
  'optimizer_aware': False,
  'target_scale': 1.0,
  'max_weight': None,
  'fixed_total': False,
}
FIXED = {'fixed_total': True, 'ridge': 1e-5}


def signals(rows, mask=None, known=None):
  mask = np.ones(len(rows), bool) if mask is None else mask
  return Signals(
    mask_E=jnp.asarray(mask),
    step=jnp.int32(1),
    gradients=DenseGradients({'w': jnp.asarray(rows, jnp.float32)}),
    preconditioner=known,
  )


def started(weighting, target):
  target = jnp.asarray(target, jnp.float32)
  shapes = {'w': jax.ShapeDtypeStruct(target.shape, jnp.float32)}
  state = weighting.init(TrainingShapes(4, shapes))
  anchors = Signals(
    mask_E=jnp.ones(2, bool),
    step=jnp.int32(1),
    mean_gradient={'w': target},
    mean_loss=jnp.float32(0),
  )
  return weighting.refresh(anchors, state)


def adam_like(scale, momentum, updates=1000):
  return Preconditioner(
    scale=scale,
    momentum=momentum,
    momentum_decay=jnp.float32(0.9),
    learning_rate=jnp.float32(0.1),
    updates=jnp.int32(updates),
  )


def weigh(settings, rows=ROWS, target=TARGET, known=None, mask=None):
  weighting = method.make(**settings)
  update: Any = jax.jit(weighting.update)
  return update(signals(rows, mask, known), started(weighting, target))


@pytest.mark.parametrize(
  'settings, expected',
  [
    # z = g / 2, so that Q = 1 and b = 3 for the pair, 1/4 and 1/2 across: the
    # copy brings nothing after weight 3, here cut to 5/2, and across 2 fits.
    # Times n / k = 2.
    ({'filter': 'greedy', 'ridge': 0.0, 'max_weight': 2.5}, [5, 4, 0, 0]),
    # By alignment and by gains with unit weights (5/2, then 3/2) both copies
    # are kept; a ridge gives them the same weight, 3/2.
    ({'filter': 'topk', 'ridge': 1e-4}, [3, 0, 0, 3]),
    ({'filter': 'greats', 'reweight': False}, [2, 0, 0, 2]),
    # All kept, z = g / 4: the pair shares 2 * 3 and the opposite is out.
    ({'keep': 1.0, 'ridge': 1e-5}, [3, 4, 0, 3]),
    # Weights that sum to k = 2: with 1 for a copy the other is the next best.
    ({**FIXED, 'filter': 'greedy'}, [2, 0, 0, 2]),
    # What the bound leaves of a sum of 4 goes across, not the other way.
    ({**FIXED, 'keep': 1.0, 'max_weight': 1.5}, [1.5, 1, 0, 1.5]),
  ],
)
def test_by_hand(settings, expected):
  weights, state, info = weigh({**VANILLA, **settings, 'iterations': 300})
  np.testing.assert_allclose(weights, expected, atol=5e-3)
  assert int(state['fallbacks']) == 0
  assert int(info['kept']) == np.sum(np.array(expected) > 0)
  update = np.array(expected) @ ROWS / 4  # the step's mean gradient
  length = np.linalg.norm
  cosine = update @ TARGET / length(update) / length(TARGET)
  np.testing.assert_allclose(info['cosine'], cosine, atol=1e-3)
  # Uniform weights: (3/4, 1/4), a misfit of 5.625 / 10.
  misfit = length(update - TARGET) ** 2 / 10
  np.testing.assert_allclose(info['predicted_gain'], 0.5625 - misfit, atol=2e-3)
  bounded = {(5, 4): 0.5, (3, 4): 0.25, (1.5, 1): 0.75}
  share = bounded.get(tuple(expected[:2]), 0)
  np.testing.assert_allclose(info['at_bounds'], share)


def test_stage_2_never_loses_to_unit_weights_of_stage_1():
  rng = np.random.default_rng(1)
  rows = jnp.asarray(rng.normal(size=(40, 8, 12)) + 0.7, jnp.float32)
  target = jnp.asarray(rng.normal(size=(40, 12)) + 0.7, jnp.float32)
  scale = jnp.asarray(rng.uniform(0.2, 3, (40, 12)), jnp.float32)
  momentum = jnp.asarray(rng.normal(size=(40, 12)) + 0.3, jnp.float32)
  pair = [
    method.make(reweight=reweight, ridge=0.0, keep=0.4)
    for reweight in (True, False)
  ]
  state = started(pair[0], np.zeros(12))

  @jax.jit
  @jax.vmap
  def gains(rows, target, scale, momentum):
    given = Signals(
      mask_E=jnp.ones(8, bool),
      step=jnp.int32(1),
      gradients=DenseGradients({'w': rows}),
      preconditioner=adam_like({'w': scale}, {'w': momentum}),
    )
    aimed = {**state, 'target': {'w': target}}
    return [one.update(given, aimed)[2]['predicted_gain'] for one in pair]

  solved, unit = (np.asarray(x) for x in gains(rows, target, scale, momentum))
  assert (solved >= unit - 1e-5).all()
  assert np.mean(solved > unit + 1e-3) > 0.5


def test_fallbacks_are_uniform_and_counted():
  weighting = method.make(warmup_updates=10)
  update: Any = jax.jit(weighting.update)
  mask = np.array([True, True, True, False])

  def run(rows=ROWS, target=TARGET, updates=10, mask=mask):
    known = adam_like({'w': jnp.ones(2)}, {'w': jnp.zeros(2)}, updates)
    state = started(weighting, target)
    weights, state, info = update(signals(rows, mask, known), state)
    assert all(np.isfinite(x) for x in info.values())
    return np.asarray(weights), int(state['fallbacks'])

  uniform = [1, 1, 1, 0]
  weights, fallbacks = run()
  assert fallbacks == 0 and not np.allclose(weights, uniform)
  cases: list[dict] = [
    {'target': np.zeros(2)},
    {'target': np.array([np.nan, 0.0])},  # never taken: still zero
    {'rows': np.where(np.arange(4)[:, None] == 1, np.inf, ROWS)},
    {'rows': 0 * ROWS},
    {'rows': np.abs(ROWS), 'target': -TARGET},  # nothing points there
  ]
  for case in cases:
    weights, fallbacks = run(**case)
    np.testing.assert_array_equal(weights, uniform)
    assert fallbacks == 1
  # Young moments: uniform by plan, so not counted.
  weights, fallbacks = run(updates=9)
  np.testing.assert_array_equal(weights, uniform)
  assert fallbacks == 0
  # What is masked may be anything.
  spoiled = np.where(mask[:, None], ROWS, np.nan)
  np.testing.assert_allclose(run(rows=spoiled)[0], run()[0])
  weights, fallbacks = run(mask=np.zeros(4, bool))
  np.testing.assert_array_equal(weights, 0)
  assert fallbacks == 0
  # One real example is all that can be kept: only stage 2 is left.
  weights, _ = run(mask=np.arange(4) == 0)
  assert weights[0] > 0 and (weights[1:] == 0).all()
  assert update._cache_size() == 1


def test_needs_and_missing_signals_are_named():
  aware, plain = method.make(), method.make(optimizer_aware=False)
  assert aware.needs == {'gradients', 'preconditioner'}
  assert plain.needs == {'gradients'}
  assert aware.anchor_needs == {'mean_gradient', 'mean_loss'}
  assert plain.anchor_needs == {'mean_gradient'}
  assert aware.batch_coupled
  with pytest.raises(ValueError, match='lack preconditioner'):
    aware.update(signals(ROWS), started(aware, TARGET))
  bare = Signals(mask_E=jnp.ones(4, bool), step=jnp.int32(1))
  with pytest.raises(ValueError, match='lack gradients'):
    plain.update(bare, started(plain, TARGET))


@pytest.mark.parametrize(
  'settings, message',
  [
    ({'keep': 0.0}, r'keep is 0\.0'),
    ({'max_weight': 0.0}, r'max_weight is 0\.0'),
    ({'max_weight': 0.5}, 'fixed_total = False'),
    ({'ridge': -1.0}, r'ridge is -1\.0'),
    ({'iterations': 0}, 'iterations 0'),
    ({'target_scale': 0.0}, r'scale is 0\.0'),
  ],
)
def test_bad_settings_are_refused(settings, message):
  with pytest.raises(ValueError, match=message):
    method.make(**settings)
