"""Ridge regression: by hand, against refits, and where little is known."""

import numpy as np
import pytest

from jaxcurate.ops import ridge


def test_three_points_by_hand():
  """x = -1, 0, 1 standardised by sqrt(2/3), y = 0, 1, 5: z.z = 3, z.y = 7.5
  / 1.5^.5 ...; with strength 1 the slope is half of least squares' 2.5."""
  found = ridge.fit(
    np.array([[4.0], [5.0], [6.0]]), np.array([0.0, 1.0, 5.0]), (1.0,)
  )
  assert found.mean.tolist() == [5.0] and found.bias == 2.0
  np.testing.assert_allclose(found.weight, [1.25])
  # Residuals -0.75, -1, 1.75; leverages 1/3 + z^2 / 6 = 7/12, 1/3, 7/12.
  expected = [0 + 0.75 * 12 / 5, 1 + 1 * 3 / 2, 5 - 1.75 * 12 / 5]
  np.testing.assert_allclose(found.left_out, expected)


def refit(z, y, penalty, row):
  """Prediction of a row by a fit of the others; the intercept is free."""
  rest = np.arange(len(y)) != row
  wide = np.concatenate([np.ones((len(y), 1)), z], axis=1)
  rule = penalty * np.diag([0.0] + [1.0] * z.shape[1])
  gram = wide[rest].T @ wide[rest] + rule
  return wide[row] @ np.linalg.solve(gram, wide[rest].T @ y[rest])


@pytest.mark.parametrize(('num', 'width'), [(30, 4), (9, 20)])
def test_leaving_out_agrees_with_refits(num, width):
  rng = np.random.default_rng(num)
  x = rng.normal(size=(num, width)) * rng.uniform(0.1, 9, width) + 3
  y = x @ rng.normal(size=width) + 3 * rng.normal(size=num)
  z = (x - x.mean(0)) / x.std(0)
  errors = []
  for strength in ridge.STRENGTHS:
    penalty = strength * np.trace(z.T @ z) / width
    expected = [refit(z, y, penalty, row) for row in range(num)]
    found = ridge.fit(x, y, (strength,))
    np.testing.assert_allclose(found.left_out, expected, rtol=1e-6, atol=1e-6)
    gram = z.T @ z + penalty * np.eye(width)
    weight = np.linalg.solve(gram, z.T @ (y - y.mean())) / x.std(0)
    np.testing.assert_allclose(found.weight, weight, rtol=1e-7)
    errors.append(((y - expected) ** 2).sum())
  chosen = ridge.fit(x, y)
  assert chosen.strength == ridge.STRENGTHS[int(np.argmin(errors))]


def test_scale_shift_and_order_of_rows_mean_nothing():
  rng = np.random.default_rng(0)
  x, y = rng.normal(size=(40, 6)), rng.normal(size=40)
  first = ridge.fit(x, y)
  order = rng.permutation(40)
  other = ridge.fit(1e3 * x[order] - 7, 5 * y[order] + 2)
  assert other.strength == first.strength
  np.testing.assert_allclose(other.left_out, 5 * first.left_out[order] + 2)
  np.testing.assert_allclose(other.weight, 5e-3 * first.weight)


def test_noise_is_not_learnt_and_signal_is():
  rng = np.random.default_rng(1)
  x = rng.normal(size=(400, 50))
  noise = ridge.fit(x, rng.normal(size=400))
  assert noise.strength >= 1 and np.abs(noise.weight).max() < 0.1
  y = x[:, 0] - 2 * x[:, 1]
  clear = ridge.fit(x, y)
  np.testing.assert_allclose(clear.weight[:2], [1, -2], atol=1e-3)
  assert ridge.explained(y, clear.left_out) > 0.999


def test_constant_features_and_targets():
  """0.1 is no float32: its mean over many rows is not quite it."""
  x = np.full((1_000, 3), 0.1, np.float32)
  y = np.arange(1_000) % 7.0
  flat = ridge.fit(x, y)
  assert not flat.weight.any() and flat.bias == y.mean()
  x[:, 1] = y
  mixed = ridge.fit(x, y)
  assert mixed.weight[1] == pytest.approx(1, rel=1e-5)
  assert not mixed.weight[[0, 2]].any()
  same = ridge.fit(x, np.full(1_000, 2.5))
  assert not same.weight.any() and same.strength == ridge.STRENGTHS[0]
  assert ridge.explained(np.full(3, 2.5), np.zeros(3)) == 0.0
  two = ridge.fit(np.eye(2), np.array([1.0, 2.0]))
  np.testing.assert_allclose(two.left_out, [2.0, 1.0], rtol=1e-3)


@pytest.mark.parametrize(
  ('x', 'y', 'strengths', 'why'),
  [
    (np.ones((1, 2)), np.ones(1), (1.0,), 'N at least 2'),
    (np.ones((2, 1)), np.array([1.0, np.nan]), (1.0,), 'finite'),
    (np.ones((2, 1)), np.ones(2), (), 'strengths is empty'),
  ],
)
def test_what_is_wrong_is_said(x, y, strengths, why):
  with pytest.raises(ValueError, match=why):
    ridge.fit(x, y, strengths)
