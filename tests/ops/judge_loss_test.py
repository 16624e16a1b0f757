"""Losses of judgements."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.ops import judge_loss


def slow_loss(name, rating, target):
  """In float64, from the definitions by probability."""
  if np.isnan(target):
    return 0.0
  if name == 'squared':
    return (rating - target) ** 2 / 2
  prob = 1 / (1 + np.exp(-np.float64(rating)))
  return -(target * np.log(prob) + (1 - target) * np.log(1 - prob))


def test_by_hand():
  def column(*values):
    return jnp.array(values)[:, None]

  found = judge_loss.losses('binary', column(0.0, np.log(3)), column(0.2, 1.0))
  np.testing.assert_allclose(found[:, 0], [np.log(2), -np.log(0.75)], 1e-6)
  found = judge_loss.losses('squared', column(1.0), column(4.0))
  assert found.tolist() == [[4.5]]
  # The first text is 3 times as likely to win, and did.
  found = judge_loss.losses('bradley_terry', column(np.log(3)), column(1.0))
  np.testing.assert_allclose(found, [[-np.log(0.75)]], 1e-6)


@pytest.mark.parametrize('name', judge_loss.LOSSES)
def test_against_numpy(name):
  rng = np.random.default_rng(0)
  rating = rng.normal(0, 4, size=(30, 2))
  target = np.where(rng.random((30, 2)) < 0.2, np.nan, rng.random((30, 2)))
  expected = np.vectorize(lambda r, t: slow_loss(name, r, t))(rating, target)
  found = judge_loss.losses(name, jnp.asarray(rating), jnp.asarray(target))
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(
    judge_loss.mean(name, jnp.asarray(rating), jnp.asarray(target)),
    expected.sum() / (~np.isnan(target)).sum(),
    rtol=1e-5,
  )


def test_soft_labels_are_matched_at_their_log_odds():
  target = jnp.array([[0.1, 0.5, 0.8]])
  slope = jax.grad(lambda r: judge_loss.mean('binary', r, target))(
    jnp.log(target) - jnp.log1p(-target)
  )
  np.testing.assert_allclose(slope, 0, atol=1e-7)


def test_missing_targets_have_no_gradient():
  target = jnp.array([[jnp.nan, 1.0]])
  value, slope = jax.value_and_grad(
    lambda r: judge_loss.mean('binary', r, target)
  )(jnp.array([[3.0, 0.0]]))
  assert np.isfinite(value) and slope[0, 0] == 0 and slope[0, 1] == -0.5
  nothing = jnp.full((1, 2), jnp.nan)
  assert judge_loss.mean('squared', jnp.ones((1, 2)), nothing) == 0


def test_extreme_ratings_stay_finite():
  rating, target = jnp.array([[1e4], [-1e4]]), jnp.array([[1.0], [0.0]])
  assert judge_loss.losses('binary', rating, target).tolist() == [[0], [0]]


def test_unknown_loss():
  with pytest.raises(ValueError, match="'hinge', expected one of"):
    judge_loss.mean('hinge', jnp.zeros((1, 1)), jnp.zeros((1, 1)))
