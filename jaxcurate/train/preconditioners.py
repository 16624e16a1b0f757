"""What Adam and Adafactor will make of the next gradient, from optax's states.

Both divide a gradient by the root of a running second moment. With that moment
held at its present value the update is linear in the gradient, which is what
rules that choose examples by their effect on the update need: P of
Filter-then-Weight (arXiv 2604.00001).

What is held, and how wrong that is:
* Adam's moment also takes in the new gradient. To first order the update's
  relative error is at most (1 - beta2) / 2 * |g^2 / v - 1| per element.
* Adafactor's takes it in with share (t + 1)^-0.8: 0.025 at t = 100.
* Clipping, by the global norm or Adafactor's by each tensor's RMS, scales the
  update by a number that depends on the gradient: taken as 1. Decoupled weight
  decay is a constant.
* Where no gradient has been seen yet (rows of words that never occurred) the
  division is by epsilon, and one such element would outweigh all others by
  many orders of magnitude, though the real update is bounded. P is 0 there:
  nothing is known, so nothing is claimed.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxcurate.types import Params, Preconditioner

PreconditionerFn = Callable[[Any, Params], Preconditioner]


def adam(
  learning_rate: Callable[[Any], Any],
  *,
  beta1: float,
  beta2: float,
  epsilon: float = 1e-8,
) -> PreconditionerFn:
  """The function (state, params) of optax.adam or adamw, wrapped or not.

  With t updates made, and m and v the moments that they left,

    P = c / (sqrt(v / (1 - beta2^t)) + epsilon),  c = 1 / (1 - beta1^(t + 1)),

  c being the bias correction of the coming step's first moment, so that
  update = -learning_rate * P (beta1 m + (1 - beta1) g).

  Args:
    learning_rate: number of updates made -> rate.
    beta1: decay of the first moment.
    beta2: decay of the second.
    epsilon: optax's eps, added to the root.
  """

  def preconditioner(state: Any, params: Params) -> Preconditioner:
    del params
    adam_state = _only(state, optax.ScaleByAdamState)
    count = jnp.asarray(adam_state.count)
    first = 1 / (1 - jnp.float32(beta1) ** (count + 1))
    second = 1 - jnp.float32(beta2) ** count

    def scale(v: jax.Array) -> jax.Array:
      v = v.astype(jnp.float32)
      root = jnp.sqrt(v / jnp.where(second > 0, second, 1.0))
      return jnp.where(v > 0, first / (root + epsilon), 0.0)

    scales = jax.tree.map(scale, adam_state.nu)
    return Preconditioner(
      scale=scales,
      momentum=jax.tree.map(
        lambda p, m: p * m.astype(jnp.float32), scales, adam_state.mu
      ),
      momentum_decay=jnp.float32(beta1),
      learning_rate=jnp.float32(learning_rate(count)),
      updates=count,
    )

  return preconditioner


def adafactor(
  learning_rate: Callable[[Any], Any],
  *,
  parameter_scale: bool = True,
  epsilon: float = 1e-30,
  min_parameter_scale: float = 1e-3,
) -> PreconditionerFn:
  """The function (state, params) of optax.adafactor without momentum.

  A tensor whose two largest axes are long enough has a row and a column
  moment R and C, and P = outer(sqrt(mean(R) / R), 1 / sqrt(C)), for each index
  of its other axes; other tensors have a moment per element. Times the RMS of
  the parameter. Which axes, is read from the shapes that optax gave the
  moments, by optax's rule: C lacks the second largest axis, R the largest.

  Args:
    learning_rate: number of updates made -> rate.
    parameter_scale: optax's multiply_by_parameter_scale.
    epsilon: optax's eps, added to squared gradients: a moment of this size has
      seen no gradient.
    min_parameter_scale: smallest RMS of a parameter that counts.
  """

  def inverse_root(v: jax.Array) -> jax.Array:
    seen = v > 2 * epsilon
    return jnp.where(seen, jax.lax.rsqrt(jnp.where(seen, v, 1.0)), 0.0)

  def scale(
    param: jax.Array, row: jax.Array, column: jax.Array, v: jax.Array
  ) -> jax.Array:
    row, column, v = (x.astype(jnp.float32) for x in (row, column, v))
    if v.shape == param.shape:
      factor = inverse_root(v)
    else:
      second, largest = _factored_axes(param.shape)
      axis = second - (second > largest)  # `row` lacks the largest axis
      rows = inverse_root(row) * jnp.sqrt(jnp.mean(row, axis, keepdims=True))
      factor = jnp.expand_dims(rows, largest) * jnp.expand_dims(
        inverse_root(column), second
      )
    if not parameter_scale:
      return factor
    square = jnp.mean(param.astype(jnp.float32) ** 2)
    return factor * jnp.maximum(jnp.sqrt(square), min_parameter_scale)

  def preconditioner(state: Any, params: Params) -> Preconditioner:
    moments = _only(state, optax.FactoredState)
    count = jnp.asarray(moments.count)
    return Preconditioner(
      scale=jax.tree.map(
        scale, params, moments.v_row, moments.v_col, moments.v
      ),
      momentum=None,
      momentum_decay=jnp.float32(0),
      learning_rate=jnp.float32(learning_rate(count)),
      updates=count,
    )

  return preconditioner


def _factored_axes(shape: tuple[int, ...]) -> tuple[int, int]:
  """(second largest, largest) axis; optax's argsort decides between equals."""
  order = np.argsort(shape)
  return int(order[-2]), int(order[-1])


def _only(state: Any, kind: type) -> Any:
  """The one state of this kind in a tree of optax states."""
  found = [
    part
    for part in jax.tree.leaves(state, is_leaf=lambda x: isinstance(x, kind))
    if isinstance(part, kind)
  ]
  if len(found) != 1:
    raise ValueError(
      f'the state of the optimizer holds {len(found)} {kind.__name__}, expected'
      ' one; known: optax.ScaleByAdamState, optax.FactoredState'
    )
  return found[0]
