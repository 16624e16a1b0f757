"""Weights that minimise a quadratic, each between 0 and a bound.

FISTA (Beck and Teboulle 2009) with the restart of O'Donoghue and Candes (arXiv
1204.3982, gradient scheme): a fixed number of products with a small matrix,
so it compiles into any training step.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

HIGHEST = jax.lax.Precision.HIGHEST  # of float32 products on accelerators
SQUARINGS = 6


def solve(
  gram_ExE: Float[Array, 'E E'],
  linear_E: Float[Array, ' E'],
  mask_E: Bool[Array, ' E'],
  *,
  ridge: float | Array = 0.0,
  center: float = 1.0,
  upper: float | None = None,
  total: Float[Array, ''] | None = None,
  iterations: int = 200,
  start_E: Float[Array, ' E'] | None = None,
) -> Float[Array, ' E']:
  """argmin_w w'Qw / 2 - b'w + ridge |w - center|^2 / 2,  0 <= w <= upper.

  With `total` also sum w = total. The result never scores worse than where it
  started, or its projection on the constraints. Q is scaled to unit mean
  diagonal, so that float32 holds gradients of any size; the step is one over
  an upper bound of the largest eigenvalue.

  Args:
    gram_ExE: [E, E] float32, Q, symmetric and positive semidefinite.
    linear_E: [E] float32, b.
    mask_E: [E] bool; the others' weights are exactly 0 and their entries are
      never read.
    ridge: >= 0, in units of Q. With 0 the weights of exact duplicates are
      determined in sum only; above 0 they are equal.
    center: the weight that the ridge draws to.
    upper: largest weight, or None.
    total: >= 0, the weights' sum, as far as `upper` allows; None: free.
    iterations: of FISTA.
    start_E: first weights; None: `center` for all.

  Returns:
    [E] float32.

  >>> gram, linear = jnp.eye(3), jnp.array([0.5, 9.0, -1.0])
  >>> solve(gram, linear, jnp.array([True, True, True]), upper=2.0).tolist()
  [0.5, 2.0, 0.0]
  """
  pair_ExE = mask_E[:, None] & mask_E[None, :]
  gram_ExE = jnp.where(pair_ExE, gram_ExE, 0.0)
  linear_E = jnp.where(mask_E, linear_E, 0.0)
  unit = jnp.trace(gram_ExE) / jnp.maximum(jnp.sum(mask_E), 1)
  unit = jnp.where(unit > 0, unit, 1.0)
  gram_ExE, linear_E, ridge = gram_ExE / unit, linear_E / unit, ridge / unit
  if start_E is None:
    start_E = jnp.full_like(linear_E, center)
  start_E = project(start_E, mask_E, upper=upper, total=total)
  found_E = improve(
    gram_ExE,
    linear_E,
    mask_E,
    start_E,
    bound=largest_eigenvalue(gram_ExE),
    ridge=ridge,
    center=center,
    upper=upper,
    total=total,
    iterations=iterations,
  )

  def slope(weights_E: Array) -> Array:
    product_E = jnp.dot(gram_ExE, weights_E, precision=HIGHEST)
    return product_E - linear_E + ridge * (weights_E - center)

  # f(w) - f(start), from their difference: no cancellation near the start.
  moved_E = found_E - start_E
  above = jnp.sum(moved_E * (slope(found_E) + slope(start_E))) / 2
  return jnp.where(above <= 0, found_E, start_E)


def improve(
  gram_ExE: Float[Array, 'E E'],
  linear_E: Float[Array, ' E'],
  mask_E: Bool[Array, ' E'],
  start_E: Float[Array, ' E'],
  *,
  bound: Float[Array, ''],
  ridge: float | Array,
  center: float,
  upper: float | None,
  total: Float[Array, ''] | None = None,
  iterations: int,
) -> Float[Array, ' E']:
  """Some iterations of FISTA: the inside of `solve`, for loops around it.

  Args:
    gram_ExE: as for `solve`; finite everywhere.
    linear_E: as for `solve`; finite everywhere.
    mask_E: whose weights may move; the others' must be 0 in `start_E`.
    start_E: [E] float32, first weights, within the bounds.
    bound: at least the largest eigenvalue of `gram_ExE`.
    ridge: as for `solve`.
    center: as for `solve`.
    upper: as for `solve`.
    total: as for `solve`.
    iterations: as for `solve`.

  Returns:
    [E] float32.
  """
  rate = 1 / (jnp.where(bound > 0, bound, 1.0) + ridge)

  def step(_: Array, carry: tuple) -> tuple:
    old_E, ahead_E, momentum = carry
    slope_E = (
      jnp.dot(gram_ExE, ahead_E, precision=HIGHEST)
      - linear_E
      + ridge * (ahead_E - center)
    )
    moved_E = ahead_E - rate * slope_E
    new_E = project(moved_E, mask_E, upper=upper, total=total)
    # Momentum that points uphill is dropped.
    uphill = jnp.sum((ahead_E - new_E) * (new_E - old_E)) > 0
    momentum = jnp.where(uphill, 1.0, momentum)
    following = (1 + jnp.sqrt(1 + 4 * momentum**2)) / 2
    share = (momentum - 1) / following
    return new_E, new_E + share * (new_E - old_E), following

  first = (start_E, start_E, jnp.float32(1))
  return jax.lax.fori_loop(0, iterations, step, first)[0]


def project(
  values_E: Float[Array, ' E'],
  mask_E: Bool[Array, ' E'],
  *,
  upper: float | None,
  total: Float[Array, ''] | None,
) -> Float[Array, ' E']:
  """The nearest weights within the bounds, and of the given sum.

  With a sum: w_i = clip(x_i - shift, 0, upper). Their sum falls with the shift
  in straight pieces between the points x_i and x_i - upper; the piece that
  crosses `total` is found by summing at all of them, and solved.

  Args:
    values_E: [E] float32, x.
    mask_E: as for `solve`.
    upper: as for `solve`.
    total: as for `solve`.

  Returns:
    [E] float32.

  >>> x = jnp.array([3.0, 1.0, 0.5, 9.0])
  >>> project(x, x < 9, upper=1.5, total=jnp.float32(2)).tolist()
  [1.5, 0.5, 0.0, 0.0]
  """
  if total is None:
    highest = jnp.inf if upper is None else upper
    return jnp.where(mask_E, jnp.clip(values_E, 0.0, highest), 0.0)
  highest = total if upper is None else jnp.float32(upper)
  total = jnp.minimum(total, highest * jnp.sum(mask_E))
  x_E = jnp.where(mask_E, values_E, 0.0)
  # Of masked examples: a point where the sum of the others is 0 as well.
  last = jnp.max(x_E, where=mask_E, initial=jnp.finfo(jnp.float32).min)
  points = jnp.where(mask_E, x_E, last)
  points = jnp.concatenate([points, points - highest])

  def weights_at(shift: Array) -> Array:
    return jnp.where(mask_E, jnp.clip(x_E - shift, 0.0, highest), 0.0)

  sums = jax.vmap(lambda shift: jnp.sum(weights_at(shift)))(points)
  low = jnp.max(jnp.where(sums >= total, points, -jnp.inf))
  high = jnp.min(jnp.where(sums <= total, points, jnp.inf))
  full_E = mask_E & (x_E - highest >= high)
  free_E = mask_E & (x_E >= high) & (x_E - highest <= low)
  rest = jnp.sum(jnp.where(free_E, x_E, 0.0)) + highest * jnp.sum(full_E)
  shift = (rest - total) / jnp.maximum(jnp.sum(free_E), 1)
  return weights_at(jnp.clip(shift, low, high))


def largest_eigenvalue(gram_ExE: Float[Array, 'E E']) -> Float[Array, '']:
  """An upper bound of a positive semidefinite matrix's largest eigenvalue.

  trace(Q^p)^(1/p) with p = 2^6, by squaring Q six times: between the largest
  eigenvalue and E^(1/64) times it (1.06 at E = 32). Power iteration without a
  starting vector, and from above, as a step size needs it.

  >>> round(float(largest_eigenvalue(jnp.diag(jnp.array([3.0, 1.0])))), 4)
  3.0
  """
  trace = jnp.trace(gram_ExE)
  safe = jnp.where(trace > 0, trace, 1.0)

  def square(level: Array, carry: tuple) -> tuple:
    power_ExE, log_bound = carry
    power_ExE = jnp.dot(power_ExE, power_ExE, precision=HIGHEST)
    # Not 0: a matrix of trace 1 has an eigenvalue of at least 1 / E.
    size = jnp.where(trace > 0, jnp.trace(power_ExE), 1.0)
    return power_ExE / size, log_bound + jnp.log(size) / 2.0 ** (level + 1)

  first = (gram_ExE / safe, jnp.log(safe))
  _, log_bound = jax.lax.fori_loop(0, SQUARINGS, square, first)
  return jnp.where(trace > 0, jnp.exp(log_bound), 0.0)
