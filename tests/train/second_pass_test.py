"""The kept rows' own pass, on losses whose gradients are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.train import second_pass

ROWS, S = 6, 2
VALUES = np.random.default_rng(0).normal(size=(ROWS, S, 3)).astype(np.float32)


def run(weights, accumulate, most):
  """(the gradient, rows of each pass): that of sum_e w_e <values_e, x>."""
  seen = []

  def gradient_of(batch, weights_E, key):
    seen.append(len(batch['values']))
    by_example = batch['values'].reshape(-1, 3)
    return {'x': jnp.einsum('e,ed->d', weights_E, by_example)}

  result = jax.jit(
    lambda weights: second_pass.weighted_gradient(
      gradient_of,
      {'values': jnp.asarray(VALUES)},
      weights,
      None,
      max_segments=S,
      accumulate=accumulate,
      most_kept=most,
    )
  )(jnp.asarray(weights, jnp.float32))
  return result['x'], set(seen)


@pytest.mark.parametrize(
  'accumulate, most, rows',
  [
    (1, None, {6}),
    (1, lambda n: n // 4, {3, 6}),  # 3 rows, or all if more are kept
    (2, lambda n: n // 4, {2, 3}),  # 4 rows in two parts: a multiple of them
    (3, None, {2}),
    (1, lambda n: n, {6}),
  ],
)
def test_few_and_many_rows_with_weight(accumulate, most, rows):
  for kept in ([1, 4, 7], [0, 2, 4, 6, 8, 10, 11], []):
    weights = np.zeros(ROWS * S)
    weights[kept] = np.arange(1, len(kept) + 1)
    gradient, seen = run(weights, accumulate, most)
    expected = np.einsum('e,ed->d', weights, VALUES.reshape(-1, 3))
    np.testing.assert_allclose(gradient, expected, atol=1e-5)
    assert seen == rows
