"""How far an optimizer's next update is from the one that would help a target.

Filter-then-Weight (arXiv 2604.00001): with the optimizer's state held, the
update is linear in the examples' weights,

  u(w) = u0 + sum_i w_i z_i,  u0 = beta1 P m,  z_i = (1 - beta1) P g_i / k,

and to second order a step u with rate lr lowers the target's loss by
lr <g*, u> - lr^2 u'Hu / 2. With H = kappa A this is largest at
u* = A^-1 g* / (kappa lr), and what is lost elsewhere is proportional to
|u - u*|^2 in the metric A:

  |u(w) - u*|^2 = w'Qw - 2 b'w + |u0 - u*|^2,
  Q_ij = <z_i, A z_j>,  b_i = <z_i, A (u* - u0)>.

The term -<z_i, A u0> in b says: do not pay again for what momentum does. The
paper's equations could not be read; these are derived from its abstract and
checked (tests). The division by k is ours: weights of 1 on k examples are then
their mean, as in the training step.

A is P^-1, the curvature as the optimizer sees it, or the identity. Only inner
products are computed: per-example gradients are never formed here.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxcurate.types import ExampleGradients, Params, Preconditioner

Curvature = Literal['preconditioner', 'identity']


class UpdateMatch(NamedTuple):
  """Inner products, in the metric A, of what the next update is made of.

  Attributes:
    gram_ExE: [E, E] float32, Q; 0 for masked examples, as below.
    linear_E: [E] float32, b.
    target_E: [E] float32, <z_i, A u*>.
    start_E: [E] float32, <z_i, A u0>.
    target_square: [] float32, |u*|^2.
    start_target: [] float32, <u0, A u*>.
    start_square: [] float32, |u0|^2.
    inverse: [] float32, 1 / (kappa lr).
    valid: [] bool: everything is finite and the target is not zero.
  """

  gram_ExE: Array
  linear_E: Array
  target_E: Array
  start_E: Array
  target_square: Array
  start_target: Array
  start_square: Array
  inverse: Array
  valid: Array


def check(*, curvature: str, scale: float | None) -> None:
  """Raises ValueError where a setting of `match` is out of its range."""
  if curvature not in ('preconditioner', 'identity'):
    raise ValueError(
      f"curvature is {curvature!r}, expected 'preconditioner' or 'identity'"
    )
  if scale is not None and scale <= 0:
    raise ValueError(f'scale is {scale}, expected above 0 or None')


def match(
  gradients: ExampleGradients,
  target: Params,
  mask_E: Bool[Array, ' E'],
  size: int | Int[Array, ''],
  preconditioner: Preconditioner | None = None,
  *,
  curvature: Curvature = 'preconditioner',
  scale: float | None = None,
) -> UpdateMatch:
  """The quadratic whose minimum over w matches u(w) with u*.

  Args:
    gradients: of the E examples.
    target: params-shaped float32, g*, the gradient of the target's mean loss.
    mask_E: [E] bool, real examples.
    size: [] k, examples that weights of 1 average over.
    preconditioner: of the optimizer; None: plain gradient descent, P = 1 and
      no momentum.
    curvature: A: 'preconditioner' is P^-1, 'identity' 1.
    scale: kappa lr; None: such that |u*| is the norm, in the metric A, of the
      update under equal weights of all real examples.

  Raises:
    ValueError: a setting is unknown or out of its range.
  """
  check(curvature=curvature, scale=scale)
  decay, known, momentum = jnp.float32(0), None, None
  if preconditioner is not None:
    decay, known = preconditioner.momentum_decay, preconditioner.scale
    momentum = preconditioner.momentum
  plain = known is None or curvature == 'identity'  # A = 1

  # <g_i, P A P g_j>, <P g_i, g*> and, with M = P m, <P g_i, A M>.
  product = known
  if known is not None and plain:
    product = _times(known, known)
  towards = target if known is None else _times(known, target)
  directions = [towards]
  start_target, start_square = jnp.float32(0), jnp.float32(0)
  if momentum is not None:
    assert known is not None
    directions.append(_times(known, momentum) if plain else momentum)
    start_target = _dot(momentum, target)
    start_square = _dot(
      momentum, momentum if plain else jax.tree.map(_divide, momentum, known)
    )
  gram_ExE, dots_KxE = gradients.products(directions, product)
  target_E = dots_KxE[0]
  start_E = jnp.zeros_like(target_E) if momentum is None else dots_KxE[1]
  target_square = _dot(target, target if plain else towards)  # <g*, A^-1 g*>

  ours = jnp.where(mask_E[:, None] & mask_E[None, :], gram_ExE, 0.0)
  target_E = jnp.where(mask_E, target_E, 0.0)
  start_E = jnp.where(mask_E, start_E, 0.0)
  count = jnp.maximum(jnp.sum(mask_E), 1)
  share = 1 - decay
  if scale is None:
    uniform_square = (
      share**2 * jnp.sum(ours) / count**2
      + 2 * share * decay * jnp.sum(start_E) / count
      + decay**2 * start_square
    )
    ratio = jnp.maximum(uniform_square, 0.0) / jnp.where(
      target_square > 0, target_square, 1.0
    )
    inverse = jnp.sqrt(ratio)
  else:
    inverse = jnp.float32(1 / scale)
  each = share / size
  found = UpdateMatch(
    gram_ExE=each**2 * ours,
    linear_E=each * (inverse * target_E - decay * start_E),
    target_E=each * inverse * target_E,
    start_E=each * decay * start_E,
    target_square=inverse**2 * target_square,
    start_target=inverse * decay * start_target,
    start_square=decay**2 * start_square,
    inverse=inverse,
    valid=target_square > 0,
  )
  finite = [jnp.all(jnp.isfinite(values)) for values in found[:-1]]
  valid = found.valid & jnp.all(jnp.stack(finite))
  # A matrix of zeros leads nowhere, and nowhere to NaN.
  return jax.tree.map(
    lambda x: jnp.nan_to_num(x, nan=0.0, posinf=0.0, neginf=0.0), found
  )._replace(valid=valid)


def misfit(found: UpdateMatch, weights_E: Float[Array, ' E']) -> Array:
  """[] |u(w) - u*|^2 / |u*|^2: 0 for the best update, 1 for none at all."""
  square, product = _update(found, weights_E)
  total = square - 2 * product + found.target_square
  return total / _positive(found.target_square)


def cosine(found: UpdateMatch, weights_E: Float[Array, ' E']) -> Array:
  """[] cosine of the angle between u(w) and u*, in the metric A."""
  square, product = _update(found, weights_E)
  return product / jnp.sqrt(_positive(square * found.target_square))


def target_change(
  found: UpdateMatch,
  weights_E: Float[Array, ' E'],
  learning_rate: float | Float[Array, ''],
) -> Array:
  """[] -lr <g*, u(w)>: how the target's loss changes, to first order.

  Args:
    found: of `match`.
    weights_E: [E] float32, w.
    learning_rate: of the update.

  Returns:
    [] float32, in the loss's unit; below 0 where it falls. 0 where the match
    is not valid.
  """
  _, product = _update(found, weights_E)  # <u, g*> / (kappa lr)
  change = -learning_rate * product / _positive(found.inverse)
  return jnp.where(found.valid, change, 0.0)


def _update(found: UpdateMatch, weights_E: Array) -> tuple[Array, Array]:
  """(|u(w)|^2, <u(w), A u*>)."""
  precision = jax.lax.Precision.HIGHEST
  of_gram_E = jnp.dot(found.gram_ExE, weights_E, precision=precision)
  square = jnp.sum(weights_E * (of_gram_E + 2 * found.start_E))
  product = jnp.sum(weights_E * found.target_E)
  return square + found.start_square, product + found.start_target


def _positive(value: Array) -> Array:
  return jnp.where(value > 0, value, 1.0)


def _divide(value: Array, by: Array) -> Array:
  """0 where the divisor is 0: there nothing is known of the optimizer."""
  return jnp.where(by > 0, value / jnp.where(by > 0, by, 1.0), 0.0)


def _times(left: Params, right: Params) -> Params:
  return jax.tree.map(jnp.multiply, left, right)


def _dot(left: Params, right: Params) -> Array:
  products = jax.tree.map(lambda a, b: jnp.sum(a * b), left, right)
  return jax.tree.reduce(jnp.add, products, jnp.float32(0))
