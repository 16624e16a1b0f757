import jax
import numpy as np

from jaxcurate.ops import excess_loss

keep_excess = jax.jit(excess_loss.keep_excess, static_argnums=3)


def test_by_hand():
  # Excess 2, -1, 0.5, 1: of four the best two, each at 4 / 2.
  loss = np.array([3.0, 1.0, 1.0, 5.0])
  reference = np.array([1.0, 2.0, 0.5, 4.0])
  weights, info = keep_excess(loss, reference, np.ones(4, bool), 0.5)
  assert weights.tolist() == [2.0, 0.0, 0.0, 2.0]
  assert int(info['kept']) == 2
  assert float(info['excess_loss']) == 0.625
  assert float(info['excess_loss_kept']) == 1.5


def test_against_numpy():
  rng = np.random.default_rng(0)
  loss, reference = rng.normal(size=(2, 4, 8))
  real = rng.uniform(size=(4, 8)) < 0.7
  excess = np.where(real, loss - reference, -np.inf)
  kept = int(np.ceil(0.3 * real.sum()))
  expected = np.zeros(32)
  expected[np.argsort(-excess, axis=None)[:kept]] = real.sum() / kept
  weights, info = keep_excess(
    np.float32(loss), np.float32(reference), np.asarray(real), 0.3
  )
  np.testing.assert_allclose(weights.reshape(-1), expected, rtol=1e-6)
  np.testing.assert_allclose(weights[real].mean(), 1.0, rtol=1e-6)
  np.testing.assert_allclose(
    info['excess_loss_kept'], excess[weights > 0].mean(), rtol=1e-5
  )


def test_what_the_reference_cannot_judge_ranks_last():
  loss = np.array([9.0, 1.0, 1.0, 2.0])
  reference = np.array([np.nan, 5.0, np.inf, 5.0])
  weights, info = keep_excess(loss, reference, np.ones(4, bool), 0.5)
  assert weights.tolist() == [0.0, 2.0, 0.0, 2.0]
  assert float(info['excess_loss']) == -3.5
  # Where nothing else is left they are kept.
  real = np.array([True, False, True, False])
  assert keep_excess(loss, reference, real, 0.5)[0].tolist() == [2, 0, 0, 0]


def test_degenerate_inputs_are_finite():
  spoilt = np.array([np.nan, np.inf, -np.inf, 1e38])
  weights, info = keep_excess(spoilt, -spoilt, np.zeros(4, bool), 0.5)
  assert weights.tolist() == [0.0] * 4
  assert [float(value) for value in info.values()] == [0.0, 0.0, 0.0]
  alone = np.array([False, True, False, False])
  loss = np.where(alone, 2.0, spoilt)
  assert keep_excess(loss, loss, alone, 0.5)[0].tolist() == [0, 1, 0, 0]
  equal, _ = keep_excess(np.ones(4), np.ones(4), np.ones(4, bool), 0.5)
  assert equal.tolist() == [2.0, 2.0, 0.0, 0.0]  # of equal ones the first
