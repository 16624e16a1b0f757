import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.types import Signals, TrainingShapes
from jaxcurate.weightings import rho_1


def signals_of(losses, reference, ids, mask=None):
  """Signals of rows of packed examples; every real token is a target."""
  ids = np.asarray(ids)
  size = len(ids) * max(ids.max(), 1)
  return Signals(
    mask_E=jnp.asarray(np.ones(size, bool) if mask is None else mask),
    step=jnp.int32(1),
    token_loss_BxT=jnp.asarray(losses, np.float32),
    target_mask_BxT=jnp.asarray(ids > 0),
    reference_token_loss_BxT=jnp.asarray(reference, np.float32),
    batch={'decoder_segment_ids': jnp.asarray(ids)},
  )


@functools.cache
def update_of(**settings):
  weighting = rho_1.make(**settings)
  assert weighting.batch_coupled and weighting.init(TrainingShapes(4)) == {}
  return jax.jit(weighting.update)


def weights_of(signals, **settings):
  weights, _, info = update_of(**settings)(signals, {})
  return np.asarray(weights), info


def test_by_hand():
  # Five targets, excess 2, -1, 1 | 0, 3: of them ceil(0.6 * 5) = 3, at 5 / 3.
  weights, info = weights_of(
    signals_of(
      [[3.0, 1.0, 2.0, np.nan], [7.0, 4.0, np.nan, np.inf]],
      [[1.0, 2.0, 1.0, np.nan], [7.0, 1.0, np.nan, 0.0]],
      [[1, 1, 1, 0], [1, 1, 0, 0]],
    )
  )
  expected = [[5 / 3, 0, 5 / 3, 0], [0, 5 / 3, 0, 0]]
  np.testing.assert_allclose(weights, expected, rtol=1e-6)
  assert int(info['kept']) == 3
  assert float(info['excess_loss']) == 1.0
  assert float(info['excess_loss_kept']) == 2.0


def test_against_the_paper_in_float64():
  rng = np.random.default_rng(0)
  losses, reference = rng.uniform(1, 9, (2, 4, 8))
  ids = np.array([[1] * 8, [1] * 5 + [2] * 3, [1] * 3 + [0] * 5, [0] * 8])
  real = ids > 0
  kept = int(np.ceil(0.6 * real.sum()))
  best = np.argsort(np.where(real, reference - losses, np.inf), axis=None)
  paper = losses.reshape(-1)[best[:kept]].mean()
  signals = signals_of(losses, reference, ids)
  weights, _ = weights_of(signals)
  step = (weights * losses).sum() / real.sum()  # what the train step computes
  np.testing.assert_allclose(step, paper, rtol=1e-6)


def test_targets_of_masked_examples_do_not_take_part():
  # Row 0 holds two examples; the first has a loss that is not finite.
  losses = [[9.0, np.inf, 1.0, 2.0], [3.0, 0.0, 0.0, 0.0]]
  ids = [[1, 1, 2, 2], [1, 0, 0, 0]]
  signals = signals_of(
    losses, np.zeros((2, 4)), ids, [False, True, True, False]
  )
  weights, _ = weights_of(signals, share=0.3)
  assert weights.tolist() == [[0, 0, 0, 0], [3, 0, 0, 0]]


def test_degenerate_batches():
  ids = np.array([[1, 1, 0, 0], [1, 0, 0, 0]])
  signals = signals_of(np.ones((2, 4)), np.ones((2, 4)), ids)
  weights, _ = weights_of(signals)  # equal: the first two of three
  assert weights.tolist() == [[1.5, 1.5, 0, 0], [0, 0, 0, 0]]
  nothing = dataclasses.replace(signals, mask_E=jnp.zeros(2, bool))
  weights, info = weights_of(nothing)
  assert not weights.any()
  assert all(np.isfinite(value) for value in info.values())
  unknown = dataclasses.replace(
    signals, reference_token_loss_BxT=jnp.full((2, 4), np.nan)
  )
  assert weights_of(unknown)[0].sum() == 3.0


@pytest.mark.parametrize('share', [0.0, 1.5])
def test_bad_requests_are_refused(share):
  with pytest.raises(ValueError, match=f'share is {share}'):
    rho_1.make(share=share)
  signals = signals_of(np.ones((1, 2)), np.ones((1, 2)), [[1, 1]])
  for name in ('token_loss_BxT', 'reference_token_loss_BxT', 'batch'):
    with pytest.raises(ValueError, match='the signals lack'):
      rho_1.make().update(dataclasses.replace(signals, **{name: None}), {})
