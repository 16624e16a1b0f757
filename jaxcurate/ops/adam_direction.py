"""The direction in which Adam would move for one example's gradient.

LESS (arXiv 2402.04333, section 2.3 and appendix): the moments that a training
run left behind are updated with the example's gradient and divided. As in the
authors' code (princeton-nlp/LESS, collect_grad_reps.py) epsilon is inside the
root and nothing is corrected for bias; the paper's text has neither epsilon
nor the place of it.
"""

from typing import Any

import jax
import jax.numpy as jnp

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # Adam's defaults, and the code's


def adam_direction(
  gradients: Any, first_moment: Any, second_moment: Any
) -> Any:
  """m' / sqrt(v' + epsilon) for each example.

  m' = 0.9 m + 0.1 g,  v' = 0.999 v + 0.001 g^2,  epsilon = 1e-8

  Args:
    gradients: pytree of [B, ...] float, one gradient per example.
    first_moment: pytree of [...] float, m.
    second_moment: pytree of [...] float >= 0, v.

  Returns:
    Pytree like `gradients`, float32.

  >>> one = adam_direction(jnp.array([[2.0]]), jnp.array([0.]), jnp.array([0.]))
  >>> round(float(one[0, 0]), 3)  # 0.2 / sqrt(0.004)
  3.162
  """

  def direction(g: Any, m: Any, v: Any) -> jax.Array:
    g = jnp.asarray(g, jnp.float32)
    m = BETA1 * m + (1 - BETA1) * g
    v = BETA2 * v + (1 - BETA2) * g * g
    return m * jax.lax.rsqrt(v + EPSILON)

  return jax.tree.map(direction, gradients, first_moment, second_moment)
