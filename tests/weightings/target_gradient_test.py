import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.types import Signals, TrainingShapes
from jaxcurate.weightings import target_gradient

SHAPES = TrainingShapes(4, {'a': jax.ShapeDtypeStruct((2,), jnp.bfloat16)})


def anchors(*values):
  return Signals(
    mask_E=jnp.ones(3, bool),
    step=jnp.int32(1),
    mean_gradient={'a': jnp.array(values, jnp.bfloat16)},
  )


def test_running_mean_by_hand():
  state = target_gradient.init(SHAPES)
  refresh = jax.jit(lambda s, state: target_gradient.refresh(s, state, 0.75))
  state = refresh(anchors(4.0, -8.0), state)
  assert state['target']['a'].tolist() == [4.0, -8.0]  # the first as it is
  assert state['target']['a'].dtype == jnp.float32
  state = refresh(anchors(0.0, 8.0), state)
  assert state['target']['a'].tolist() == [3.0, -4.0]
  # A gradient that is not finite moves nothing.
  state = refresh(anchors(1.0, np.nan), state)
  assert state['target']['a'].tolist() == [3.0, -4.0]
  assert int(state['refreshes']) == 2


def test_broken_first_gradient_does_not_count_as_the_first():
  state = target_gradient.init(SHAPES)
  state = target_gradient.refresh(anchors(np.inf, 0.0), state, 0.5)
  assert state['target']['a'].tolist() == [0.0, 0.0]
  state = target_gradient.refresh(anchors(2.0, 4.0), state, 0.5)
  assert state['target']['a'].tolist() == [2.0, 4.0]


def test_finish_scales_counts_and_describes():
  mask = jnp.array([True, True, True, False])
  state = target_gradient.init(SHAPES)
  given = jnp.array([3.0, 0.0, 1.0, 0.0]), mask, jnp.int32(2)
  weights, state, info = target_gradient.finish(*given, jnp.array(True), state)
  np.testing.assert_allclose(weights, [4.5, 0, 1.5, 0])  # times 3 / 2
  assert int(info['kept']) == 2
  np.testing.assert_allclose(info['ess'], 6**2 / (4.5**2 + 1.5**2))
  assert int(info['fallbacks']) == 0
  weights, state, info = target_gradient.finish(*given, jnp.array(False), state)
  np.testing.assert_array_equal(weights, [1, 1, 1, 0])
  assert [int(info['kept']), int(info['fallbacks'])] == [3, 1]
  # Nothing to weigh is nothing to fall back from.
  weights, state, info = target_gradient.finish(
    jnp.zeros(4), mask & False, jnp.int32(0), jnp.array(False), state
  )
  np.testing.assert_array_equal(weights, 0)
  assert [float(info['ess']), int(info['fallbacks'])] == [0.0, 1]


def test_what_is_missing_is_named():
  with pytest.raises(ValueError, match="needs the parameters' shapes"):
    target_gradient.init(TrainingShapes(4))
  bare = Signals(mask_E=jnp.ones(1, bool), step=jnp.int32(1))
  with pytest.raises(ValueError, match='lack mean_gradient'):
    target_gradient.refresh(bare, target_gradient.init(SHAPES), 0.0)


@pytest.mark.parametrize(
  'settings, message',
  [
    ({'keep': 0.0}, r'keep is 0\.0'),
    ({'keep': 1.5}, r'keep is 1\.5'),
    ({'refresh_interval': 0}, 'refresh_interval is 0'),
    ({'target_decay': 1.0}, r'target_decay is 1\.0'),
  ],
)
def test_bad_settings_are_refused(settings, message):
  given = {'keep': 0.5, 'refresh_interval': 1, 'target_decay': 0.0, **settings}
  with pytest.raises(ValueError, match=message):
    target_gradient.check(**given)
