"""Which examples a subset should hold, from their Gram matrix.

Three rules that pick at most `size` examples so that w'Qw / 2 - b'w becomes
small, Q being the Gram matrix of their effects and b the alignment with a
target: by alignment alone, by orthogonal matching pursuit, and by GREATS's
marginal gain with unit weights. Masked examples are never chosen and never
read, `size` may be traced, and a rule may choose fewer unless told to `fill`.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxcurate.ops import bounded_nnls
from jaxcurate.ops.keep_top import keep_top


def topk(
  gram_ExE: Float[Array, 'E E'],
  linear_E: Float[Array, ' E'],
  mask_E: Bool[Array, ' E'],
  size: int | Int[Array, ''],
  *,
  ridge: float | Array = 0.0,
  fill: bool = False,
) -> Bool[Array, ' E']:
  """The highest b_i / sqrt(Q_ii + ridge), only where b_i > 0 unless `fill`.

  >>> topk(jnp.diag(jnp.array([4., 1., 1.])), jnp.array([2., 1.5, -1.]),
  ...      jnp.ones(3, bool), 1).tolist()
  [False, True, False]
  """
  square_E = jnp.where(mask_E, jnp.diagonal(gram_ExE) + ridge, 0.0)
  safe_E = jnp.where(square_E > 0, square_E, 1.0)
  useful_E = mask_E if fill else mask_E & (linear_E > 0)
  score_E = jnp.where(useful_E, linear_E / jnp.sqrt(safe_E), 0.0)
  count = jnp.minimum(size, jnp.sum(useful_E))
  return keep_top(score_E, useful_E, count)


def greedy(
  gram_ExE: Float[Array, 'E E'],
  linear_E: Float[Array, ' E'],
  mask_E: Bool[Array, ' E'],
  size: int | Int[Array, ''],
  *,
  ridge: float | Array = 0.0,
  upper: float | None = None,
  tolerance: float = 1e-5,
  iterations: int = 10,
  by_length: bool = True,
  fill: bool = False,
  most: int | None = None,
) -> tuple[Bool[Array, ' E'], Float[Array, ' E']]:
  """Orthogonal matching pursuit with non-negative weights.

  Repeats: with residual r = b - Qw, adds the example of the largest gain
  max(0, r_i)^2 / (2 (Q_ii + ridge)), what its best weight alone would bring,
  and solves for the weights of all that were chosen. With `fill` the weights'
  mean is 1, so that the residuals' zero means nothing: they keep their sign,
  and it goes on until `size` are chosen.

  Args:
    gram_ExE: [E, E] float32, Q.
    linear_E: [E] float32, b.
    mask_E: [E] bool, the candidates.
    size: most examples to choose.
    ridge: >= 0, in units of Q, drawing the weights to 0.
    upper: largest weight, or None.
    tolerance: stops when the best gain is not above this share of the first.
    iterations: of the solver after each choice; it goes on from the weights
      before, so that few suffice.
    by_length: False compares r_i itself, as GRAD-MATCH does.
    fill: whether to choose `size` examples in any case.
    most: what `size` never exceeds, known when compiled; None: E.

  Returns:
    ([E] bool, the chosen; [E] float32, their weights).

  >>> chosen, weights = greedy(
  ...     jnp.eye(3), jnp.array([1., 2., -1.]), jnp.ones(3, bool), 3)
  >>> chosen.tolist(), weights.round(3).tolist()
  ([True, True, False], [1.0, 2.0, 0.0])
  """
  linear_E = jnp.where(mask_E, linear_E, 0.0)
  gram_ExE = jnp.where(mask_E[:, None] & mask_E[None, :], gram_ExE, 0.0)
  square_E = jnp.diagonal(gram_ExE) + ridge
  square_E = jnp.where(square_E > 0, square_E, 1.0)
  bound = bounded_nnls.largest_eigenvalue(gram_ExE)  # of any subset's too

  def gain_of(weights_E: Array) -> Array:
    residual_E = linear_E - _product(gram_ExE, weights_E)
    if not fill:
      residual_E = jnp.maximum(residual_E, 0.0)
    if not by_length:
      return residual_E
    return residual_E * jnp.abs(residual_E) / (2 * square_E)

  none_E = jnp.zeros_like(linear_E)
  least = -jnp.inf if fill else tolerance * jnp.max(gain_of(none_E))

  def pick(index: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
    chosen_E, weights_E = carry
    open_E = mask_E & (index < size)
    more_E, go = _add(chosen_E, open_E, gain_of(weights_E), least)
    solved_E = bounded_nnls.improve(
      gram_ExE,
      linear_E,
      more_E,
      weights_E,
      bound=bound,
      ridge=ridge,
      center=0.0,
      upper=upper,
      total=jnp.sum(more_E, dtype=jnp.float32) if fill else None,
      iterations=iterations,
    )
    return more_E, jnp.where(go, solved_E, weights_E)

  trips = len(mask_E) if most is None else most
  return jax.lax.fori_loop(0, trips, pick, (jnp.zeros_like(mask_E), none_E))


def greats(
  gram_ExE: Float[Array, 'E E'],
  linear_E: Float[Array, ' E'],
  mask_E: Bool[Array, ' E'],
  size: int | Int[Array, ''],
  *,
  own_share: float = 0.5,
  tolerance: float = 0.0,
  most: int | None = None,
) -> Bool[Array, ' E']:
  """Adds the example of the largest b_i - own_share Q_ii - sum_chosen Q_ij.

  Args:
    gram_ExE: [E, E] float32, Q.
    linear_E: [E] float32, b.
    mask_E: [E] bool, the candidates.
    size: most examples to choose.
    own_share: 1/2 is the decrease of w'Qw / 2 - b'w by weight 1; GREATS's own
      code has 0.
    tolerance: stops when the best gain is not above it; -inf never stops.
    most: what `size` never exceeds, known when compiled; None: E.

  >>> gram = jnp.array([[1., 1., 0.], [1., 1., 0.], [0., 0., 1.]])
  >>> greats(gram, jnp.array([2., 1.9, 1.]), jnp.ones(3, bool), 2).tolist()
  [True, False, True]
  """
  linear_E = jnp.where(mask_E, linear_E, 0.0)
  gram_ExE = jnp.where(mask_E[:, None] & mask_E[None, :], gram_ExE, 0.0)
  alone_E = linear_E - own_share * jnp.diagonal(gram_ExE)

  def pick(index: Array, chosen_E: Array) -> Array:
    gain_E = alone_E - _product(gram_ExE, chosen_E.astype(jnp.float32))
    open_E = mask_E & (index < size)
    return _add(chosen_E, open_E, gain_E, tolerance)[0]

  trips = len(mask_E) if most is None else most
  return jax.lax.fori_loop(0, trips, pick, jnp.zeros_like(mask_E))


def _add(
  chosen_E: Array, mask_E: Array, gain_E: Array, least: float | Array
) -> tuple[Array, Array]:
  """(chosen and the best that is left; whether one was added)."""
  gain_E = jnp.where(mask_E & ~chosen_E, gain_E, -jnp.inf)
  best = jnp.argmax(gain_E)
  go = jnp.any(mask_E & ~chosen_E) & (gain_E[best] > least)
  return chosen_E | (go & (jnp.arange(len(gain_E)) == best)), go


def _product(gram_ExE: Array, weights_E: Array) -> Array:
  return jnp.dot(gram_ExE, weights_E, precision=bounded_nnls.HIGHEST)
