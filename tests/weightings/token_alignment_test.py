from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.types import Preconditioner, Signals, TrainingShapes
from jaxcurate.weightings import filter_then_weight

# Two rows of three targets; the first row holds two examples.
IDS = np.array([[1, 1, 2], [1, 1, 0]])
MASK = np.array([True, True, True, False])
# Products with the target (1, -1), by row: 3, -1, 2; 0, 1, padding.
GRADIENTS = np.array([[[3, 0], [0, 1], [1, -1]], [[1, 1], [1, 0], [9, -9]]])


@flax.struct.dataclass
class Rows:
  """Gradients of targets, held one by one."""

  gradients_BxTxP: jax.Array

  def dot(self, direction):
    return self.gradients_BxTxP @ direction['w']


def weigh(settings, gradients=GRADIENTS, target=(1, -1), mask=MASK, scale=None):
  given: dict = {'keep': 0.4, 'optimizer_aware': scale is not None}
  weighting = filter_then_weight.make(**given | settings, level='tokens')
  shapes = {'w': jax.ShapeDtypeStruct((2,), jnp.float32)}
  state = weighting.init(TrainingShapes(4, shapes))
  assert weighting.refresh is not None
  anchors = Signals(
    mask_E=jnp.ones(2, bool),
    step=jnp.int32(1),
    mean_gradient={'w': jnp.asarray(target, jnp.float32)},
  )
  known = None
  if scale is not None:
    known = Preconditioner(
      scale={'w': jnp.asarray(scale, jnp.float32)},
      momentum=None,
      momentum_decay=jnp.float32(0),
      learning_rate=jnp.float32(0.1),
      updates=jnp.int32(5),
    )
  signals = Signals(
    mask_E=jnp.asarray(mask),
    step=jnp.int32(1),
    target_mask_BxT=jnp.asarray(IDS > 0),
    token_gradients=Rows(jnp.asarray(gradients, jnp.float32)),
    preconditioner=known,
    batch={'decoder_segment_ids': jnp.asarray(IDS)},
  )
  update: Any = jax.jit(weighting.update)
  weights, state, info = update(signals, weighting.refresh(anchors, state))
  assert int(info['fallbacks']) == int(state['fallbacks'])
  return np.asarray(weights), info


def test_by_hand():
  # ceil(0.4 * 5) = 2 of 5 real targets, each of weight 5 / 2.
  weights, info = weigh({})
  np.testing.assert_allclose(weights, [[2.5, 0, 2.5], [0, 0, 0]])
  assert int(info['kept']) == 2 and int(info['fallbacks']) == 0
  np.testing.assert_allclose(info['aligned'], 3 / 5)
  # P = (1, 4): products 3, -4, 5; -3, 1.
  weights, _ = weigh({'warmup_updates': 5, 'keep': 0.2}, scale=(1, 4))
  np.testing.assert_allclose(weights, [[0, 0, 5], [0, 0, 0]])
  # Four of five: only three help, and a fixed total takes the next best too.
  weights, _ = weigh({'keep': 0.8})
  np.testing.assert_allclose(weights, [[1.25, 0, 1.25], [1.25, 1.25, 0]])
  weights, _ = weigh({'keep': 0.8, 'fixed_total': False})
  np.testing.assert_allclose(weights, [[1.25, 0, 1.25], [0, 1.25, 0]])


def test_fallbacks_are_uniform_and_counted():
  uniform = [[1, 1, 1], [1, 1, 0]]
  broken = GRADIENTS.astype(float)
  broken[0, 1] = np.nan
  cases: list[dict] = [
    {'target': (0, 0)},
    {'gradients': -np.abs(GRADIENTS) * [1, -1]},  # nothing points there
    {'gradients': broken},
  ]
  for case in cases:
    weights, info = weigh({}, **case)
    np.testing.assert_array_equal(weights, uniform)
    assert int(info['fallbacks']) == 1
  # Young moments: by plan, so not counted.
  weights, info = weigh({'warmup_updates': 6}, scale=(1, 1))
  np.testing.assert_array_equal(weights, uniform)
  assert int(info['fallbacks']) == 0
  # The targets of masked examples are never read: here those of the NaN.
  masked = np.array([False, True, True, False])
  weights, _ = weigh({}, gradients=broken, mask=masked)
  np.testing.assert_allclose(weights, [[0, 0, 1.5], [0, 1.5, 0]])
  weights, info = weigh({}, mask=MASK & False)
  np.testing.assert_array_equal(weights, 0)
  assert int(info['fallbacks']) == 0


def test_needs_and_missing_signals_are_named():
  aware = filter_then_weight.make(level='tokens')
  assert aware.needs == {
    'token_gradients',
    'token_loss',
    'batch',
    'preconditioner',
  }
  assert aware.batch_coupled and aware.anchor_needs == {'mean_gradient'}
  bare = Signals(mask_E=jnp.ones(4, bool), step=jnp.int32(1))
  with pytest.raises(ValueError, match='lack token_gradients'):
    aware.update(bare, {'target': {}, 'fallbacks': jnp.int32(0)})
