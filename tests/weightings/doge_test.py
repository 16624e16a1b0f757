import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.ops.dense_gradients import DenseGradients
from jaxcurate.types import Signals, TrainingShapes
from jaxcurate.weightings import doge

SHAPES = TrainingShapes(
  4, {'kernel': np.zeros((2, 3))}, domains=('books', 'code', 'web')
)
PAPER = doge.make(step_size=0.5, smoothing=0.1, formula='paper')
update = jax.jit(PAPER.update)


def signals_of(gradients, domains, mask=None):
  mask = np.ones(len(domains), bool) if mask is None else np.asarray(mask, bool)
  gradients = np.asarray(gradients, np.float32).reshape(len(domains), 2, 3)
  return Signals(
    mask_E=jnp.asarray(mask),
    step=jnp.int32(1),
    domain_E=jnp.asarray(domains, np.int32),
    gradients=DenseGradients({'kernel': jnp.asarray(gradients)}),
  )


def random_signals(seed):
  rng = np.random.default_rng(seed)
  mask = rng.uniform(size=8) < 0.8
  gradients = np.where(mask[:, None], rng.normal(size=(8, 6)), 0.0)
  return signals_of(gradients, rng.integers(-1, 3, 8), mask)


def means_of(signals):
  """(mean gradient of each domain or 0, number of its examples), float64."""
  gradients = np.asarray(signals.gradients.gradients['kernel'], np.float64)
  gradients = gradients.reshape(8, 6)
  member = np.asarray(signals.domain_E) == np.arange(3)[:, None]
  member = member & np.asarray(signals.mask_E)
  count = member.sum(1)
  return member @ gradients / np.maximum(count, 1)[:, None], count


def test_by_hand():
  # Means: books (1, 0), from (2, 0) and (0, 0); code (0, 1); of web nothing.
  # Each has a product of 1 with the sum (1, 1), scaled up by 3 / 2.
  signals = signals_of(
    [[2, 0, 0, 0, 0, 0], [0] * 6, [0, 1, 0, 0, 0, 0], [9] * 6], [0, 0, 1, -1]
  )
  weights, state, info = update(signals, PAPER.init(SHAPES))
  np.testing.assert_allclose(state['gain_M'], [1.5, 1.5, 0.0], rtol=1e-6)
  high = 0.9 * np.exp(0.75) / (1 + 2 * np.exp(0.75)) + 0.1 / 3
  np.testing.assert_allclose(np.exp(state['log_weight_M'])[:2], high, rtol=1e-6)
  # Shares 2/3 and 1/3: code weighs twice books; without a domain: 1.
  np.testing.assert_allclose(weights, [0.75, 0.75, 1.5, 1.0], rtol=1e-5)
  assert int(info['domains_present']) == 2


def test_against_the_paper_in_float64():
  state = PAPER.init(SHAPES)
  alpha, last, alphas, seen = np.full(3, 1 / 3), np.zeros(3), [], np.zeros(3)
  for seed in range(6):
    signals = random_signals(seed)
    weights, state, _ = update(signals, state)
    means, count = means_of(signals)
    present = count > 0
    gain = means @ means.sum(0) * 3 / present.sum()
    last = np.where(present, gain, last)
    alpha = alpha * np.exp(0.5 * last)
    alpha = 0.9 * alpha / alpha.sum() + 0.1 / 3
    alphas.append(alpha)
    seen += count
    np.testing.assert_allclose(state['gain_M'], last, rtol=1e-4, atol=1e-5)
    ratio = alpha * seen.sum() / np.maximum(seen, 1)
    ratio *= count.sum() / (ratio * count).sum()
    codes, mask = np.asarray(signals.domain_E), np.asarray(signals.mask_E)
    expected = np.where(codes >= 0, ratio[codes], 1.0) * mask
    np.testing.assert_allclose(weights, expected, rtol=1e-4)
  np.testing.assert_allclose(
    state['mean_weight_M'], np.mean(alphas, 0), rtol=1e-4
  )


def test_weighted_step_goes_along_the_paper_s_direction():
  # With p the shares of this batch, mean_i w_i g_i is sum_d alpha_d g_d, up to
  # the factor that makes the weights' mean 1; here all domains are present.
  rng = np.random.default_rng(3)
  signals = signals_of(rng.normal(size=(8, 6)), [0, 1, 2, 0, 0, 2, 1, 0])
  weights, state, _ = update(signals, PAPER.init(SHAPES))
  gradients = np.asarray(signals.gradients.gradients['kernel']).reshape(8, 6)
  direction = np.exp(state['log_weight_M']) @ means_of(signals)[0]
  np.testing.assert_allclose(weights @ gradients / 8, direction, rtol=1e-4)


@pytest.mark.parametrize('formula', ['code', 'paper'])
def test_domains_along_the_anchors_gain(formula):
  weighting = doge.make(target='anchors', formula=formula, step_size=1.0)
  assert weighting.needs == {'gradients', 'domain'}
  assert weighting.anchor_needs == {'mean_gradient'}
  direction = np.array([1.0, 0.5, 0.0, 0.0, 0.0, -1.0])
  anchors = Signals(
    mask_E=jnp.ones(1, bool),
    step=jnp.int32(1),
    mean_gradient={'kernel': jnp.asarray(direction.reshape(2, 3))},
  )
  signals = signals_of(
    [direction, 0 * direction, -direction, direction], [0, 1, 2, 0]
  )
  assert weighting.refresh is not None
  state = weighting.refresh(anchors, weighting.init(SHAPES))
  weights, state, _ = jax.jit(weighting.update)(signals, state)
  square = direction @ direction
  # Paper: the product. Code: norms of at most 1, over their mean 2 / 3, >= 0.
  gain = [square, 0, -square] if formula == 'paper' else [1.5, 0, 0]
  np.testing.assert_allclose(state['gain_M'], gain, rtol=1e-4, atol=1e-6)
  # Books are half of the batch, the others a quarter each.
  alpha = np.exp(gain)
  expected = (alpha / [2, 1, 1])[[0, 1, 2, 0]]
  np.testing.assert_allclose(weights, 4 * expected / expected.sum(), rtol=1e-4)
  np.testing.assert_array_equal(
    state['anchor_gradient']['kernel'].reshape(-1), np.float32(direction)
  )
  with pytest.raises(ValueError, match='lack mean_gradient'):
    weighting.refresh(signals, state)


def test_degenerate_batches():
  state = PAPER.init(SHAPES)
  signals = random_signals(0)
  spoilt = jax.tree.map(lambda g: g * np.nan, signals.gradients)
  nothing = dataclasses.replace(
    signals, mask_E=jnp.zeros(8, bool), gradients=spoilt
  )
  weights, same, info = update(nothing, state)
  assert not weights.any()
  jax.tree.map(np.testing.assert_array_equal, same, state)
  assert all(np.isfinite(value) for value in info.values())
  homeless = dataclasses.replace(signals, domain_E=jnp.full(8, -1))
  weights, same, _ = update(homeless, state)
  assert weights.tolist() == signals.mask_E.astype(float).tolist()
  jax.tree.map(np.testing.assert_array_equal, same, state)
  # Gradients that are not finite, or 0, move no domain's weight.
  for gradients in (spoilt, jax.tree.map(jnp.zeros_like, spoilt)):
    blind = dataclasses.replace(signals, gradients=gradients)
    weights, moved, _ = update(blind, state)
    np.testing.assert_allclose(np.exp(moved['log_weight_M']), 1 / 3, rtol=1e-5)
    assert np.isfinite(weights).all()


@pytest.mark.parametrize(
  'settings, message',
  [
    ({'step_size': -1.0}, 'step_size is -1'),
    ({'smoothing': -1.0}, 'smoothing is -1'),
    ({'refresh_interval': 0}, 'refresh_interval is 0'),
  ],
)
def test_bad_settings_are_refused(settings, message):
  with pytest.raises(ValueError, match=message):
    doge.make(**settings)


def test_missing_signals_are_named():
  with pytest.raises(ValueError, match='the corpus names none'):
    PAPER.init(TrainingShapes(4))
  for name in ('gradients', 'domain_E'):
    lacking = dataclasses.replace(random_signals(0), **{name: None})
    with pytest.raises(ValueError, match='lack gradients or domain'):
      PAPER.update(lacking, PAPER.init(SHAPES))
