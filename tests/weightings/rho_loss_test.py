import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.types import Signals, TrainingShapes
from jaxcurate.weightings import rho_loss


@functools.cache
def update_of(**settings):
  weighting = rho_loss.make(**settings)
  assert weighting.batch_coupled and weighting.init(TrainingShapes(4)) == {}
  assert weighting.needs == {'loss', 'reference_loss'}
  return jax.jit(weighting.update)


def weights_of(losses, reference, mask=None, **settings):
  """Weights of up to 32 examples: one shape, few compilations."""
  pad = (0, 32 - len(losses))
  mask = np.ones(len(losses), bool) if mask is None else np.asarray(mask, bool)
  signals = Signals(
    mask_E=jnp.asarray(np.pad(mask, pad)),
    step=jnp.int32(1),
    loss_E=jnp.asarray(np.pad(losses, pad), jnp.float32),
    reference_loss_E=jnp.asarray(np.pad(reference, pad), jnp.float32),
  )
  weights, _, info = update_of(**settings)(signals, {})
  return np.asarray(weights)[: len(losses)], info


def test_by_hand():
  # Learnt (0.5 - 0.4), noise (9 - 9.5), learnable (5 - 2), fair (3 - 2): the
  # best half weighs 4 / 2.
  weights, info = weights_of([0.5, 9, 5, 3], [0.4, 9.5, 2, 2], share=0.5)
  assert weights.tolist() == [0.0, 0.0, 2.0, 2.0]
  assert float(info['excess_loss_kept']) == 2.0
  # The default keeps ceil(0.1 * 4) = 1.
  weights, info = weights_of([0.5, 9, 5, 3], [0.4, 9.5, 2, 2])
  assert weights.tolist() == [0.0, 0.0, 4.0, 0.0] and int(info['kept']) == 1


def test_against_a_sort_in_float64():
  rng = np.random.default_rng(0)
  losses, reference = rng.uniform(1, 9, (2, 30))
  best = np.argsort(reference - losses)[:15]
  expected = np.where(np.isin(np.arange(30), best), 30 / 15, 0.0)
  weights, _ = weights_of(losses, reference, share=0.5)
  np.testing.assert_allclose(weights, expected, rtol=1e-6)


def test_masked_examples_neither_count_nor_compete():
  spoilt = [np.nan, 90.0, np.inf]
  weights, _ = weights_of(
    [*spoilt, 2.0, 3.0], [*spoilt[::-1], 1.0, 1.0], [0, 0, 0, 1, 1], share=0.5
  )
  assert weights.tolist() == [0.0, 0.0, 0.0, 0.0, 2.0]


def test_degenerate_batches():
  mask = np.zeros(4, bool)
  assert weights_of([np.nan] * 4, [np.nan] * 4, mask)[0].tolist() == [0.0] * 4
  mask[2] = True
  assert weights_of([1.0] * 4, [2.0] * 4, mask)[0].tolist() == [0, 0, 1, 0]
  equal, _ = weights_of([1.0] * 4, [1.0] * 4, share=0.5)
  assert equal.tolist() == [2.0, 2.0, 0.0, 0.0]  # the first


@pytest.mark.parametrize('share', [0.0, 1.5])
def test_bad_requests_are_refused(share):
  with pytest.raises(ValueError, match=f'share is {share}'):
    rho_loss.make(share=share)
  signals = Signals(
    mask_E=jnp.ones(2, bool), step=jnp.int32(1), loss_E=jnp.ones(2)
  )
  with pytest.raises(ValueError, match='lack loss or reference_loss'):
    rho_loss.make().update(signals, {})
