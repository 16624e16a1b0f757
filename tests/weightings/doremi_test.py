import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.types import Signals, TrainingShapes
from jaxcurate.weightings import doremi

SHAPES = TrainingShapes(4, domains=('books', 'code', 'web'))
STEADY = doremi.make(step_size=0.5, smoothing=0.1)
update = jax.jit(STEADY.update)


def signals_of(losses, reference, ids, domains, mask=None):
  """Signals of rows of packed examples; every real token is a target."""
  ids = np.asarray(ids)
  mask = np.ones(len(domains), bool) if mask is None else np.asarray(mask, bool)
  return Signals(
    mask_E=jnp.asarray(mask),
    step=jnp.int32(1),
    token_loss_BxT=jnp.asarray(losses, np.float32),
    target_mask_BxT=jnp.asarray(ids > 0),
    reference_token_loss_BxT=jnp.asarray(reference, np.float32),
    domain_E=jnp.asarray(domains, np.int32),
    batch={'decoder_segment_ids': jnp.asarray(ids)},
  )


def random_signals(seed):
  rng = np.random.default_rng(seed)
  ids = np.array([[1] * 3 + [2] * 3, [1] * 4 + [0] * 2, [1] * 6, [0] * 6])
  mask = [True, True, True, False, True, False, False, False]
  return signals_of(
    *rng.uniform(1, 5, (2, 4, 6)), ids, rng.integers(0, 3, 8), mask
  )


def test_by_hand():
  # Two domains. Of code: max(3 - 1, 0), max(1 - 2, 0), mean 1; of web: 0, 1.5
  # and 1.5, mean 1. Of books nothing. Weights of domains: 1/3 each, then
  # exp(0.5 * (0, 1, 1)), normalised and smoothed.
  signals = signals_of(
    [[3, 1, 4], [4, 7, np.nan]],
    [[1, 2, 5], [2.5, 5.5, np.nan]],
    [[1, 1, 2], [1, 1, 0]],
    [1, 2, 2, -1],
    [True, True, True, False],
  )
  weights, state, info = update(signals, STEADY.init(SHAPES))
  np.testing.assert_allclose(state['gain_M'], [0.0, 1.0, 1.0], rtol=1e-6)
  high = 0.9 * np.exp(0.5) / (1 + 2 * np.exp(0.5)) + 0.1 / 3
  np.testing.assert_allclose(np.exp(state['log_weight_M'])[1:], high, rtol=1e-6)
  # Shares of tokens 2/5 and 3/5: code weighs 3/2 times web, mean 1 by token.
  np.testing.assert_allclose(weights, [1.25, 5 / 6, 5 / 6, 0], rtol=1e-5)
  assert int(info['domains_present']) == 2


def test_against_the_algorithm_in_float64():
  state = STEADY.init(SHAPES)
  alpha, last, alphas, seen = np.full(3, 1 / 3), np.zeros(3), [], np.zeros(3)
  for seed in range(6):
    signals = random_signals(seed)
    weights, state, _ = update(signals, state)
    ids = np.asarray(signals.batch['decoder_segment_ids'])
    example = 2 * np.arange(4)[:, None] + ids - 1
    domain = np.asarray(signals.domain_E)[example]
    real = (ids > 0) & np.asarray(signals.mask_E)[example]
    excess = np.asarray(signals.token_loss_BxT, np.float64)
    excess = np.maximum(excess - signals.reference_token_loss_BxT, 0)
    for d in range(3):
      inside = real & (domain == d)
      seen[d] += inside.sum()
      last[d] = excess[inside].mean() if inside.any() else last[d]
    alpha = alpha * np.exp(0.5 * last)
    alpha = 0.9 * alpha / alpha.sum() + 0.1 / 3
    alphas.append(alpha)
    ratio = np.where(
      real, (alpha * seen.sum() / np.maximum(seen, 1))[domain], 0
    )
    expected = ratio * real.sum() / ratio.sum()
    found = np.where(ids > 0, np.asarray(weights)[example], 0.0)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
  np.testing.assert_allclose(
    state['mean_weight_M'], np.mean(alphas, 0), rtol=1e-5
  )


def test_a_domain_that_stays_behind_gains_weight():
  weighting, state = doremi.make(), None
  state = weighting.init(SHAPES)
  step = jax.jit(weighting.update)
  signals = signals_of(
    np.full((3, 2), 3.0), [[3.0, 3.0], [2.9, 2.9], [4.0, 4.0]],
    np.ones((3, 2), int), [0, 1, 2],
  )  # fmt: skip
  for _ in range(100):
    weights, state, info = step(signals, state)
  assert weights.argmax() == 1 and float(info['domain_max']) > 0.99
  assert float(info['domain_min']) >= 1e-3 / 3 * 0.999
  np.testing.assert_allclose(weights.mean(), 1.0, rtol=1e-5)


def test_degenerate_batches():
  state = STEADY.init(SHAPES)
  signals = random_signals(0)
  nothing = dataclasses.replace(signals, mask_E=jnp.zeros(8, bool))
  weights, same, info = update(nothing, state)
  assert not weights.any()
  jax.tree.map(np.testing.assert_array_equal, same, state)
  assert all(np.isfinite(value) for value in info.values())
  # No domain anywhere: plain training.
  homeless = dataclasses.replace(signals, domain_E=jnp.full(8, -1))
  weights, same, _ = update(homeless, state)
  assert weights.tolist() == signals.mask_E.astype(float).tolist()
  jax.tree.map(np.testing.assert_array_equal, same, state)
  # A reference that is nowhere finite says nothing, but shares are counted.
  blind = dataclasses.replace(
    signals, reference_token_loss_BxT=jnp.full((4, 6), np.inf)
  )
  weights, state, _ = update(blind, state)
  assert not state['gain_M'].any() and np.isfinite(weights).all()
  # One example of one domain weighs 1.
  alone = dataclasses.replace(signals, mask_E=jnp.arange(8) == 4)
  assert update(alone, state)[0].tolist() == [0, 0, 0, 0, 1, 0, 0, 0]


def test_bad_requests_are_refused():
  with pytest.raises(ValueError, match='smoothing is -1'):
    doremi.make(smoothing=-1.0)
  with pytest.raises(ValueError, match='step_size is -1'):
    doremi.make(step_size=-1.0)
  with pytest.raises(ValueError, match='the corpus names none'):
    doremi.make().init(TrainingShapes(4))
  for name in ('token_loss_BxT', 'reference_token_loss_BxT', 'domain_E'):
    lacking = dataclasses.replace(random_signals(0), **{name: None})
    with pytest.raises(ValueError, match='the signals lack'):
      STEADY.update(lacking, STEADY.init(SHAPES))
