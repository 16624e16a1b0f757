import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from jaxcurate.ops import bounded_nnls


def instances(seed, number, size, width):
  """Gram matrices of random rows, and their products with a random target."""
  rng = np.random.default_rng(seed)
  rows = rng.normal(size=(number, size, width)) + 0.3
  target = rng.normal(size=(number, width)) + rows.mean(1)
  linear = np.einsum('nsw,nw->ns', rows, target)
  return rows, np.einsum('niw,njw->nij', rows, rows), linear


def score(gram, linear, weights):
  """w'Qw / 2 - b'w of many instances, float64."""
  gram, linear, weights = (
    np.asarray(x, float) for x in (gram, linear, weights)
  )
  square = np.einsum('ni,nij,nj->n', weights, gram, weights)
  return square / 2 - np.einsum('ni,ni->n', weights, linear)


def test_by_hand():
  # One on its bound, one inside, one at 0; with a ridge of 1 towards 1 the
  # one inside is (b + 1) / (Q + 1).
  gram, linear = jnp.diag(jnp.array([1.0, 2.0, 1.0])), jnp.array([9.0, 1.0, -4])
  everyone = jnp.ones(3, bool)

  @jax.jit
  def solve():
    given = gram, linear, everyone
    return (
      bounded_nnls.solve(*given, upper=3.0),
      bounded_nnls.solve(*given, ridge=1.0, upper=3.0),
      bounded_nnls.solve(*given),
      bounded_nnls.solve(*given, total=jnp.float32(2.5), upper=2.0),
      bounded_nnls.solve(*given, total=jnp.float32(3.0), upper=1.0),
      bounded_nnls.solve(*given, total=jnp.float32(1.5)),
    )

  weights, drawn, free, bounded, ones, one = solve()
  np.testing.assert_allclose(weights, [3.0, 0.5, 0.0], atol=1e-6)
  np.testing.assert_allclose(drawn, [3.0, 2 / 3, 0.0], atol=1e-6)
  np.testing.assert_allclose(free, [9.0, 0.5, 0.0], atol=1e-5)
  # A given sum: what the first may not take goes to the second, not the third.
  np.testing.assert_allclose(bounded, [2.0, 0.5, 0.0], atol=1e-6)
  np.testing.assert_array_equal(ones, 1.0)  # the only such weights
  np.testing.assert_allclose(one, [1.5, 0.0, 0.0], atol=1e-6)


@pytest.mark.parametrize('upper', [None, 1.5])
def test_projection_against_a_search_for_the_shift(upper):
  rng = np.random.default_rng(0)
  values = rng.normal(size=(200, 9)).astype(np.float32)
  mask = rng.uniform(size=(200, 9)) < 0.7
  mask[0], mask[1] = False, np.arange(9) == 4  # nobody, and one alone
  values[2:5, :5] = 0.5  # ties
  total = rng.uniform(0, 9, 200).astype(np.float32)
  total[5::2] = mask[5::2].sum(1)
  fast = jax.jit(
    jax.vmap(lambda x, m, t: bounded_nnls.project(x, m, upper=upper, total=t))
  )
  found = np.asarray(fast(values, mask, total), float)
  assert (found[~mask] == 0).all()
  for one in range(1, 200):
    x = values[one][mask[one]].astype(float)
    highest = total[one] if upper is None else upper
    wanted = min(total[one], highest * len(x))  # as far as the bound allows
    shift = scipy.optimize.brentq(
      lambda s, x=x, u=highest, t=wanted: np.clip(x - s, 0, u).sum() - t,
      x.min() - highest - 1,
      x.max() + 1,
      xtol=1e-12,
    )
    slow = np.clip(x - shift, 0, highest)
    np.testing.assert_allclose(found[one][mask[one]], slow, atol=2e-6)


def test_given_sum_against_scipy():
  _, gram, linear = instances(6, number=4, size=6, width=20)
  solve = jax.jit(
    jax.vmap(
      lambda q, b: bounded_nnls.solve(
        q, b, jnp.ones(6, bool), ridge=0.5, upper=1.7, total=jnp.float32(6)
      )
    )
  )
  found = np.asarray(solve(jnp.float32(gram), jnp.float32(linear)))
  for one, weights in enumerate(found):
    q, b = gram[one] + 0.5 * np.eye(6), linear[one] + 0.5
    slow = scipy.optimize.minimize(
      lambda w, q=q, b=b: w @ q @ w / 2 - b @ w,
      np.ones(6),
      jac=lambda w, q=q, b=b: q @ w - b,
      bounds=[(0, 1.7)] * 6,
      constraints={'type': 'eq', 'fun': lambda w: w.sum() - 6},
      method='SLSQP',
      options={'ftol': 1e-14, 'maxiter': 500},
    ).x
    np.testing.assert_allclose(weights, slow, atol=2e-5)


@pytest.mark.parametrize('factor', [1.0, 1e-8, 1e8])
def test_against_scipy_at_any_scale_of_the_gradients(factor):
  rows, gram, linear = instances(0, number=5, size=8, width=40)
  ridge, center, upper = 0.5, 1.0, 1.2
  solve = jax.jit(
    jax.vmap(
      lambda q, b, ridge: bounded_nnls.solve(
        q, b, jnp.ones(8, bool), ridge=ridge, upper=upper
      ),
      in_axes=(0, 0, None),
    )
  )
  found = solve(
    jnp.float32(factor * gram),
    jnp.float32(factor * linear),
    jnp.float32(factor * ridge),
  )
  bounds = 0
  for one, weights in enumerate(np.asarray(found)):
    # w'Qw - 2b'w + ridge |w - 1|^2 = |[rows'; sqrt(ridge)] w - [x; ...]|^2.
    target = np.linalg.lstsq(rows[one], linear[one], rcond=None)[0]
    slow = scipy.optimize.lsq_linear(
      np.vstack([rows[one].T, np.sqrt(ridge) * np.eye(8)]),
      np.concatenate([target, np.full(8, np.sqrt(ridge) * center)]),
      (0, upper),
      tol=1e-14,
    ).x
    np.testing.assert_allclose(weights, slow, atol=3e-6)
    bounds += np.sum((weights == 0) | (weights == np.float32(upper)))
  assert 0 < bounds < 40  # both kinds of constraint were met


def test_never_below_unit_weights_on_the_same_support():
  """With ridge 0, on 300 random supports, also singular ones."""
  rng = np.random.default_rng(3)
  _, gram, linear = instances(1, number=300, size=12, width=9)
  mask = rng.uniform(size=(300, 12)) < 0.6
  mask[0] = False
  given = jnp.float32(gram), jnp.float32(linear), jnp.asarray(mask)

  @jax.jit
  @jax.vmap
  def solve(q, b, m):
    kept = jnp.sum(m, dtype=jnp.float32)
    return (
      bounded_nnls.solve(q, b, m, upper=3.0),
      # One iteration is not enough to converge, but enough not to lose.
      bounded_nnls.solve(q, b, m, upper=3.0, iterations=1),
      # Unit weights are among those of the given sum.
      bounded_nnls.solve(q, b, m, upper=3.0, total=kept),
    )

  unit = score(gram, linear, mask)
  scale = np.abs(unit) + 1
  found = [np.asarray(weights) for weights in solve(*given)]
  for weights in found:
    assert (weights[~mask] == 0).all()
    assert ((weights >= 0) & (weights <= 3)).all()
    assert (unit - score(gram, linear, weights) >= -1e-6 * scale).all()
  np.testing.assert_allclose(found[2].sum(1), mask.sum(1), atol=1e-5)
  for weights in found[::2]:
    better = unit - score(gram, linear, weights)
    assert np.median(better / scale) > 0.05


def test_duplicates_share_the_weight_of_one():
  rows, _, _ = instances(4, number=1, size=4, width=20)
  twice = np.concatenate([rows[0], rows[0][:1]])
  target = rows[0][0] + 0.5 * rows[0][1]
  settings = {'ridge': 1e-3, 'upper': None, 'iterations': 2000}
  solve = jax.jit(lambda q, b, m: bounded_nnls.solve(q, b, m, **settings))
  fixed = jax.jit(
    lambda q, b, m, t: bounded_nnls.solve(q, b, m, total=t, **settings)
  )
  gram = jnp.float32(twice @ twice.T)
  linear = jnp.float32(twice @ target)
  both = solve(gram, linear, jnp.ones(5, bool))
  single = solve(gram, linear, jnp.arange(5) < 4)
  np.testing.assert_allclose(both[0], both[4], rtol=1e-6)
  np.testing.assert_allclose(both[0] + both[4], single[0], atol=2e-3)
  both = fixed(gram, linear, jnp.ones(5, bool), jnp.float32(4))
  single = fixed(gram, linear, jnp.arange(5) < 4, jnp.float32(4))
  np.testing.assert_allclose(both[0], both[4], rtol=1e-6)
  np.testing.assert_allclose(both[0] + both[4], single[0], atol=2e-3)


def test_degenerate_inputs():
  solve = jax.jit(lambda q, b, m: bounded_nnls.solve(q, b, m, upper=2.0))
  nothing = jnp.full((2, 2), jnp.nan), jnp.full(2, jnp.nan)
  none = solve(*nothing, jnp.zeros(2, bool))
  np.testing.assert_array_equal(none, 0.0)
  # What is masked may be anything; a zero matrix is no division by zero.
  one = solve(
    jnp.array([[2.0, jnp.nan], [jnp.nan, jnp.inf]]),
    jnp.array([1.0, jnp.nan]),
    jnp.array([True, False]),
  )
  np.testing.assert_allclose(one, [0.5, 0.0], atol=1e-6)
  flat = solve(jnp.zeros((2, 2)), jnp.array([1.0, -1.0]), jnp.ones(2, bool))
  np.testing.assert_array_equal(flat, [2.0, 0.0])


def test_eigenvalue_is_bounded_from_above():
  _, gram, _ = instances(5, number=20, size=16, width=10)
  gram[0] = 0
  bound = jax.jit(jax.vmap(bounded_nnls.largest_eigenvalue))(jnp.float32(gram))
  truth = np.linalg.eigvalsh(gram)[:, -1]
  assert (bound >= truth * (1 - 1e-5)).all()
  assert (bound <= truth * 16 ** (1 / 64) * (1 + 1e-5)).all()
  assert float(bound[0]) == 0.0
