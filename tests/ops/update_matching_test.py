import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.ops import update_matching
from jaxcurate.ops.dense_gradients import DenseGradients
from jaxcurate.types import Preconditioner

SIZE = 3  # k


def tree(rng, *leading, low=None):
  shapes = {'a': (4, 3), 'b': {'c': (5,)}}
  draw = rng.normal if low is None else (lambda size: rng.uniform(low, 2, size))
  return jax.tree.map(
    lambda shape: jnp.asarray(draw(size=(*leading, *shape)), jnp.float32),
    shapes,
    is_leaf=lambda x: isinstance(x, tuple),
  )


def flat(values, *leading):
  leaves = [np.asarray(x, float) for x in jax.tree.leaves(values)]
  return np.concatenate([x.reshape(*leading, -1) for x in leaves], axis=-1)


def setting(seed=0):
  """(gradients [6, ...], target, preconditioner, mask of 5)."""
  rng = np.random.default_rng(seed)
  scale = tree(rng, low=0.2)
  momentum = tree(rng)
  # Unknown to the optimizer: neither scale nor momentum.
  scale['a'] = scale['a'].at[0, 0].set(0.0)
  momentum['a'] = momentum['a'].at[0, 0].set(0.0)
  known = Preconditioner(
    scale=scale,
    momentum=momentum,
    momentum_decay=jnp.float32(0.8),
    learning_rate=jnp.float32(0.01),
    updates=jnp.int32(9),
  )
  mask = np.array([True, True, False, True, True, True])
  gradients = jax.tree.map(
    lambda g: jnp.where(mask.reshape(-1, *[1] * (g.ndim - 1)), g, 0.0),
    tree(rng, 6),
  )
  return DenseGradients(gradients), tree(rng), known, mask


def slow(gradients, target, known, mask, curvature, scale, weights):
  """(misfit, cosine, |u*|) from the updates themselves, float64."""
  rows, target = flat(gradients.gradients, 6)[mask], flat(target)
  if known is None:
    p, momentum, decay = np.ones_like(target), np.zeros_like(target), 0.0
  else:
    p, momentum = flat(known.scale), flat(known.momentum)
    decay = float(known.momentum_decay)
  metric = np.ones_like(p)
  if curvature == 'preconditioner':
    # Where P is 0 no update can go: those elements do not take part.
    metric = np.where(p > 0, 1 / np.where(p > 0, p, 1), 0)

  def update(weights):
    return decay * momentum + (1 - decay) * p * (weights @ rows)

  best = target / np.where(metric > 0, metric, np.inf)
  length = lambda u: np.sqrt(np.sum(metric * u * u))  # noqa: E731
  if scale is None:
    best *= length(update(np.full(len(rows), 1 / len(rows)))) / length(best)
  else:
    best /= scale
  made = update(weights[mask] / SIZE)
  cosine = np.sum(metric * made * best) / length(made) / length(best)
  return length(made - best) ** 2 / length(best) ** 2, cosine, length(best)


CASES = [
  (True, 'preconditioner', None),
  (True, 'preconditioner', 2.5),
  (True, 'identity', None),
  (False, 'preconditioner', None),
]


def test_by_hand():
  # P = 2, P m = 4, beta1 = 1/2, g = 1 and 3, g* = 5, k = 1:
  # z = P g / 2 = 1 and 3, u0 = 2, and with kappa lr = 10, u* = P g* / 10 = 1.
  # In the metric 1/2: Q = z z'/2, b = z (u* - u0) / 2.
  gradients = DenseGradients(jnp.array([[1.0], [3.0]]))
  known = Preconditioner(
    scale=jnp.array([2.0]),
    momentum=jnp.array([4.0]),
    momentum_decay=jnp.float32(0.5),
    learning_rate=jnp.float32(0.1),
    updates=jnp.int32(1),
  )
  both = jnp.ones(2, bool)
  some = jnp.array([[0.0, 0.0], [1.0, 0.0], [0.5, 0.5]])

  @jax.jit
  def fast():
    given = gradients, jnp.array([5.0]), both, 1, known
    pair = [update_matching.match(*given, scale=s) for s in (10.0, None)]
    misfit = jax.vmap(update_matching.misfit, (None, 0))
    change = jax.vmap(update_matching.target_change, (None, 0, None))
    return [
      (found, misfit(found, some), change(found, some, 0.1)) for found in pair
    ]

  (found, misfit, change), (matched, matched_misfit, again) = fast()
  np.testing.assert_allclose(found.gram_ExE, [[0.5, 1.5], [1.5, 4.5]])
  np.testing.assert_allclose(found.linear_E, [-0.5, -1.5])
  # u(0) = 2 lies 1 from u* = 1; u(1, 0) = 3 lies 2 from it.
  np.testing.assert_allclose(misfit[:2], [1.0, 4.0], rtol=1e-6)
  # -0.1 * 5 u with u = 2, 3 and 4, however long the target's own update is.
  np.testing.assert_allclose(change, [-1.0, -1.5, -2.0], rtol=1e-6)
  np.testing.assert_allclose(again, change, rtol=1e-6)
  # Norm matching: uniform weights give u = 2 + 2 = 4 = u*.
  np.testing.assert_allclose(matched.target_square, 16 / 2, rtol=1e-6)
  np.testing.assert_allclose(matched_misfit[2], 0.0, atol=1e-6)
  np.testing.assert_allclose(matched.linear_E, [1.0, 3.0], rtol=1e-6)


@pytest.mark.parametrize('aware, curvature, scale', CASES)
def test_against_the_updates_themselves(aware, curvature, scale):
  gradients, target, known, mask = setting()
  known = known if aware else None
  rng = np.random.default_rng(1)
  weights = np.where(mask, rng.uniform(0, 2, (4, 6)), 0)

  @jax.jit
  def fast(gradients, target, known, weights):
    found = update_matching.match(
      gradients,
      target,
      jnp.asarray(mask),
      SIZE,
      known,
      curvature=curvature,
      scale=scale,
    )
    both = update_matching.misfit, update_matching.cosine
    return found, [jax.vmap(f, (None, 0))(found, weights) for f in both]

  found, (misfit, cosine) = fast(gradients, target, known, jnp.float32(weights))
  assert bool(found.valid)
  lengths = []
  for one in range(4):
    expected = slow(
      gradients, target, known, mask, curvature, scale, weights[one]
    )
    np.testing.assert_allclose(misfit[one], expected[0], rtol=1e-4)
    np.testing.assert_allclose(cosine[one], expected[1], rtol=1e-4, atol=1e-5)
    lengths.append(expected[2])
  np.testing.assert_allclose(found.target_square, lengths[0] ** 2, rtol=1e-4)
  # w'Qw - 2 b'w is the misfit but for a constant.
  gram, linear = (
    np.asarray(x, float) for x in (found.gram_ExE, found.linear_E)
  )
  quadratic = np.einsum('ni,ij,nj->n', weights, gram, weights)
  quadratic -= 2 * weights @ linear
  rest = np.asarray(misfit) * lengths[0] ** 2 - quadratic
  np.testing.assert_allclose(rest, rest[0], rtol=1e-3)
  assert (gram[2] == 0).all() and linear[2] == 0  # the masked one


def test_zero_and_broken_inputs_are_not_valid_and_finite():
  gradients, target, known, mask = setting()

  @jax.jit
  def match(gradients, target):
    some = jnp.asarray(mask)
    found = update_matching.match(gradients, target, some, SIZE, known)
    return (
      found,
      update_matching.misfit(found, some * 1.0),
      update_matching.cosine(found, some * 1.0),
      update_matching.target_change(found, some * 1.0, 0.1),
    )

  zero = jax.tree.map(jnp.zeros_like, target)
  broken = DenseGradients(
    {**gradients.gradients, 'a': gradients.gradients['a'].at[0].set(jnp.nan)}
  )
  for found, misfit, cosine, change in (
    match(gradients, zero),
    match(gradients, {**target, 'a': target['a'].at[0].set(jnp.inf)}),
    match(broken, target),
  ):
    assert not bool(found.valid)
    assert all(np.isfinite(x).all() for x in found)
    assert np.isfinite(misfit) and np.isfinite(cosine)
    assert float(change) == 0
  # Masked examples may be anything.
  hidden = DenseGradients(
    {**gradients.gradients, 'a': gradients.gradients['a'].at[2].set(jnp.nan)}
  )
  assert bool(match(hidden, target)[0].valid)


def test_bad_settings_are_refused():
  with pytest.raises(ValueError, match="curvature is 'flat'"):
    update_matching.check(curvature='flat', scale=None)
  with pytest.raises(ValueError, match=r'scale is 0\.0'):
    update_matching.check(curvature='identity', scale=0.0)
