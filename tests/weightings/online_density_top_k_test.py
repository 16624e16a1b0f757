import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.types import Signals, TrainingShapes
from jaxcurate.weightings import online_density_top_k

FEW = {'num_rows': 64, 'num_buckets': 512}


@pytest.fixture(scope='module')
def drawing():
  """Twelve states in 4 dimensions, and the jitted update of keep = 0.4."""
  pooled = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
  return pooled, *started()


def started(**settings):
  weighting = online_density_top_k.make(keep=0.4, **FEW, **settings)
  state = jax.jit(lambda: weighting.init(TrainingShapes(4)))()
  return jax.jit(weighting.update), state


def signals(pooled, mask=None, step=1):
  mask = np.ones(len(pooled), bool) if mask is None else mask
  return Signals(
    mask_E=jnp.asarray(mask),
    step=jnp.int32(step),
    decoder_pooled_ExD=jnp.asarray(pooled, jnp.float32),
  )


def test_by_hand(drawing):
  # ceil(0.4 * 12) = 5 of 12 weigh 12 / 5; of 6 real ones, 3 weigh 2.
  pooled, update, state = drawing
  weights, _, info = update(signals(pooled), state)
  assert sorted(np.asarray(weights)) == pytest.approx([0.0] * 7 + [2.4] * 5)
  assert int(info['kept']) == 5
  mask = np.arange(12) % 2 == 0
  spoiled = np.where(mask[:, None], pooled, np.nan)
  weights, _, info = update(signals(spoiled, mask), state)
  assert sorted(np.asarray(weights)) == [0.0] * 9 + [2.0] * 3
  assert (np.asarray(weights)[~mask] == 0).all()
  weights, state, info = update(signals(spoiled, np.zeros(12, bool)), state)
  np.testing.assert_array_equal(weights, 0.0)
  assert int(info['kept']) == 0
  assert float(state['sketch_RxK'].sum()) == 0.0


def test_a_draw_belongs_to_seed_step_and_example(drawing):
  pooled, update, state = drawing
  weights = np.asarray(update(signals(pooled), state)[0])
  order = np.random.default_rng(1).permutation(12)
  moved = update(signals(pooled[order]), state)[0]
  np.testing.assert_array_equal(moved, weights[order])
  draws = {
    np.asarray(update(signals(pooled, step=step), state)[0]).tobytes()
    for step in range(1, 9)
  }
  assert len(draws) > 4
  update, state = started(seed=1)
  assert (np.asarray(update(signals(pooled), state)[0]) != weights).any()


def test_copies_are_drawn_like_others():
  """Draws without replacement in proportion to 1 / density, two alike."""
  inverse = np.array([1.5, 1.5, 3.0, 1.0])
  signature = jnp.array([5, 5, 6, 7], jnp.uint32)
  copy = online_density_top_k.copies(signature, jnp.ones(4, bool))
  assert copy.tolist() == [0, 1, 0, 0]
  trials = 4_000
  keys = jax.vmap(jax.random.fold_in, (None, 0))(
    jax.random.key(0), jnp.arange(trials)
  )
  noise = jax.jit(jax.vmap(online_density_top_k.gumbel, (0, None, None)))(
    keys, signature, copy
  )
  first_two = np.argsort(-(np.asarray(noise) + np.log(inverse)), axis=1)[:, :2]
  p = inverse / inverse.sum()
  for pair in itertools.permutations(range(4), 2):
    expected = p[pair[0]] * p[pair[1]] / (1 - p[pair[0]])
    found = (first_two == pair).all(axis=1).mean()
    error = np.sqrt(expected * (1 - expected) / trials)
    assert abs(found - expected) < 4 * error, pair


def test_the_only_example_is_kept(drawing):
  pooled, update, state = drawing
  weights, _, _ = update(signals(pooled, np.arange(12) == 3), state)
  assert np.flatnonzero(weights).tolist() == [3]
  assert float(weights[3]) == 1.0


@pytest.mark.parametrize(
  'settings, message',
  [
    ({'keep': 0.0}, 'is 0.0, expected above 0 and at most 1'),
    ({'decay': 0.0}, 'decay is 0.0'),
  ],
)
def test_bad_settings_are_refused(settings, message):
  with pytest.raises(ValueError, match=message):
    online_density_top_k.make(**settings)
