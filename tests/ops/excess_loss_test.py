import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.ops.excess_loss import keep_excess


def test_by_hand():
  # Excess 2, -1, 0.5, 1: of four the best two, each at 4 / 2.
  loss = jnp.array([3.0, 1.0, 1.0, 5.0])
  reference = jnp.array([1.0, 2.0, 0.5, 4.0])
  weights, info = keep_excess(loss, reference, jnp.ones(4, bool), 0.5)
  assert weights.tolist() == [2.0, 0.0, 0.0, 2.0]
  assert int(info['kept']) == 2
  assert float(info['excess_loss']) == 0.625
  assert float(info['excess_loss_kept']) == 1.5


@pytest.mark.parametrize('share', [0.3, 1.0])
def test_against_numpy(share):
  rng = np.random.default_rng(0)
  loss, reference = rng.normal(size=(2, 4, 8))
  real = rng.uniform(size=(4, 8)) < 0.7
  excess = np.where(real, loss - reference, -np.inf)
  kept = int(np.ceil(share * real.sum()))
  expected = np.zeros(32)
  expected[np.argsort(-excess, axis=None)[:kept]] = real.sum() / kept
  weights, info = jax.jit(lambda *args: keep_excess(*args, share))(
    jnp.float32(loss), jnp.float32(reference), jnp.asarray(real)
  )
  np.testing.assert_allclose(weights.reshape(-1), expected, rtol=1e-6)
  np.testing.assert_allclose(weights[real].mean(), 1.0, rtol=1e-6)
  np.testing.assert_allclose(
    info['excess_loss_kept'], excess[weights > 0].mean(), rtol=1e-5
  )


def test_what_the_reference_cannot_judge_ranks_last():
  loss = jnp.array([9.0, 1.0, 1.0])
  reference = jnp.array([jnp.nan, 5.0, jnp.inf])
  weights, info = keep_excess(loss, reference, jnp.ones(3, bool), 0.3)
  assert weights.tolist() == [0.0, 3.0, 0.0]
  assert float(info['excess_loss']) == -4.0
  everything, _ = keep_excess(loss, reference, jnp.ones(3, bool), 1.0)
  assert everything.tolist() == [1.0, 1.0, 1.0]


def test_degenerate_inputs_are_finite():
  spoilt = jnp.array([jnp.nan, jnp.inf, -jnp.inf])
  weights, info = keep_excess(spoilt, spoilt, jnp.zeros(3, bool), 0.5)
  assert weights.tolist() == [0.0, 0.0, 0.0]
  assert [float(value) for value in info.values()] == [0.0, 0.0, 0.0]
  alone = jnp.array([False, True, False])
  loss = jnp.where(alone, 2.0, spoilt)
  assert keep_excess(loss, loss, alone, 0.1)[0].tolist() == [0.0, 1.0, 0.0]
  equal, _ = keep_excess(jnp.ones(3), jnp.ones(3), jnp.ones(3, bool), 0.5)
  assert equal.tolist() == [1.5, 1.5, 0.0]  # of equal ones the first
