import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.types import Signals, TrainingShapes
from jaxcurate.weightings import column


def signals(scores, mask=None):
  mask = np.ones(len(scores), bool) if mask is None else mask
  return Signals(
    mask_E=jnp.asarray(mask),
    step=jnp.int32(1),
    score_E=jnp.asarray(scores, jnp.float32),
  )


def weights_of(scores, mask=None, **settings):
  weighting = column.make(**settings)
  state = weighting.init(TrainingShapes(1))
  return weighting.update(signals(scores, mask), state)


def sigmoid(z):
  return 1 / (1 + np.exp(-np.asarray(z, np.float64)))


@pytest.mark.parametrize(
  'settings, expected',
  [
    # Mean 2, standard deviation sqrt(8 / 3) of 0, 2, 4.
    ({}, sigmoid([-np.sqrt(1.5), 0, np.sqrt(1.5)])),
    ({'moments': (1.0, 2.0)}, sigmoid([-0.5, 0.5, 1.5])),
    ({'scale': 'raw', 'temperature': 2.0}, sigmoid([0, 1, 2])),
    ({'scale': 'raw', 'gate': 'none'}, [0, 2, 4]),
    ({'scale': 'min_max', 'gate': 'none'}, [0, 0.5, 1]),
    ({'scale': 'min_max', 'gate': 'none', 'bounds': (1.0, 3.0)}, [0, 0.5, 1]),
    ({'scale': 'min_max', 'bounds': (0.0, 8.0)}, sigmoid([0, 0.25, 0.5])),
    ({'scale': 'raw', 'gate': 'none', 'clip': (0.5, 3.0)}, [0.5, 2, 3]),
  ],
)
def test_by_hand(settings, expected):
  weights, _, info = weights_of([0.0, 2.0, 4.0], **settings)
  np.testing.assert_allclose(weights, expected, atol=1e-6)
  assert float(info['score_mean']) == 2.0


@pytest.mark.parametrize('scale', ['standard', 'min_max'])
def test_follows_all_scores_so_far(scale):
  rng = np.random.default_rng(0)
  weighting = column.make(scale=scale)
  assert weighting.batch_coupled
  state = weighting.init(TrainingShapes(1))
  update, seen = jax.jit(weighting.update), []
  for _ in range(4):
    scores = rng.normal(100.0, 3.0, 16)
    mask = rng.uniform(size=16) < 0.6
    weights, state, _ = update(signals(scores, mask), state)
    seen.extend(np.float32(scores[mask]))
    if scale == 'standard':
      scaled = (scores - np.mean(seen)) / np.std(seen)
    else:
      scaled = (scores - min(seen)) / (max(seen) - min(seen))
    expected = np.where(mask, sigmoid(scaled), 0.0)
    np.testing.assert_allclose(weights, expected, atol=2e-5)


def test_given_bounds_and_moments_keep_no_state():
  for settings in (
    {'scale': 'raw'},
    {'scale': 'min_max', 'bounds': (0.0, 1.0)},
    {'scale': 'standard', 'moments': (0.0, 1.0)},
  ):
    weighting = column.make(**settings)
    assert not weighting.batch_coupled
    assert weighting.init(TrainingShapes(1)) == {}


def test_degenerate_scores_are_finite():
  equal, _, _ = weights_of([3.0, 3.0])
  np.testing.assert_array_equal(equal, 0.5)
  equal, _, _ = weights_of([3.0], scale='min_max', gate='none')
  np.testing.assert_array_equal(equal, 0.5)
  negative, _, _ = weights_of([-1.0, 2.0], scale='raw', gate='none')
  np.testing.assert_array_equal(negative, [0.0, 2.0])
  # A missing score counts nowhere; a masked one is never read.
  for settings in ({}, {'scale': 'min_max'}):
    weights, state, info = weights_of(
      [1.0, np.nan, 5.0, np.inf], [True, True, True, False], **settings
    )
    alone, same, _ = weights_of([1.0, 5.0], **settings)
    np.testing.assert_allclose(weights, [alone[0], 0, alone[1], 0], atol=1e-6)
    jax.tree.map(np.testing.assert_allclose, state, same)
    assert int(info['without_score']) == 1
    masked, state, _ = weights_of([np.nan], [False], **settings)
    assert masked.tolist() == [0.0]
    assert not any(np.isnan(x) for x in jax.tree.leaves(state))


@pytest.mark.parametrize(
  'settings, message',
  [
    ({'temperature': -1.0}, 'temperature is -1.0, expected at least 0'),
    (
      {'gate': 'none', 'scale': 'raw', 'temperature': 0.5},
      "gate 'none' has none",
    ),
    ({'gate': 'none'}, "takes the scale 'raw' or 'min_max'"),
    ({'bounds': (0.0, 1.0)}, "the scale 'min_max' .it is 'standard'"),
    ({'scale': 'min_max', 'bounds': (1.0, 1.0)}, 'expected lowest < highest'),
    ({'moments': (0.0, 0.0)}, 'a standard deviation above 0'),
    ({'scale': 'raw', 'moments': (0.0, 1.0)}, "the scale 'standard'"),
    ({'clip': (0.9, 0.1)}, r'clip is \(0.9, 0.1\)'),
  ],
)
def test_bad_settings_are_refused(settings, message):
  with pytest.raises(ValueError, match=message):
    column.make(**settings)


def test_a_batch_without_scores_is_refused():
  weighting = column.make(scale='raw')
  bare = Signals(mask_E=jnp.ones(1, bool), step=jnp.int32(1))
  with pytest.raises(ValueError, match='the signals lack score'):
    weighting.update(bare, {})
