from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from jaxcurate.ops import subset_filters

# Two copies of a useful example, a shorter useful one, a harmful one.
ROWS = np.array([[2.0, 0.0], [2.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
TARGET = np.array([3.0, 1.0])


def problem(rows=ROWS, target=TARGET):
  return jnp.float32(rows @ rows.T), jnp.float32(rows @ target)


def chosen(mask):
  return np.flatnonzero(np.asarray(mask)).tolist()


def slow_greedy(gram, linear, size, ridge, by_length):
  """Matching pursuit with an exact solver after each choice, float64."""
  picked, weights = [], np.zeros(len(linear))
  for _ in range(size):
    residual = np.maximum(linear - gram @ weights, 0)
    gain = (
      residual**2 / (2 * (np.diag(gram) + ridge)) if by_length else residual
    )
    gain[picked] = -np.inf
    if gain.max() <= 0:
      break
    picked.append(int(np.argmax(gain)))
    inner = gram[np.ix_(picked, picked)] + ridge * np.eye(len(picked))
    root = np.linalg.cholesky(inner).T
    right = np.linalg.solve(root.T, linear[picked])
    weights = np.zeros(len(linear))
    weights[picked] = scipy.optimize.nnls(root, right)[0]
  return sorted(picked), weights


def slow_greats(gram, linear, size, own_share, tolerance):
  picked = []
  for _ in range(size):
    gain = linear - own_share * np.diag(gram) - gram[:, picked].sum(1)
    gain[picked] = -np.inf
    if gain.max() <= tolerance:
      break
    picked.append(int(np.argmax(gain)))
  return sorted(picked)


def test_by_hand():
  gram, linear = problem()  # b = 6, 6, 1, -3
  everyone = jnp.ones(4, bool)

  @jax.jit
  def every(gram, linear, size):
    given = gram, linear, everyone
    return (
      subset_filters.topk(*given, 4),
      subset_filters.greedy(*given, 4, iterations=100),
      subset_filters.greats(*given, 2),
      subset_filters.greats(*given, 4),
      (
        subset_filters.greats(*given, 4, tolerance=-np.inf),
        subset_filters.topk(*given, 4, fill=True),
      ),
      subset_filters.greedy(
        gram,
        jnp.array([6.0, 5.0, 1.0, -3.0]),
        everyone,
        size,
        iterations=100,
        fill=True,
      ),
    )

  aligned, (picked, weights), two, four, forced, _ = every(gram, linear, 3)
  # b / |g| = 3, 3, 1, negative: the harmful one never.
  assert chosen(aligned) == [0, 1, 2]
  # Once a copy carries weight 3/2, the other has nothing left to bring.
  assert chosen(picked) == [0, 2]
  np.testing.assert_allclose(weights, [1.5, 0, 1, 0], atol=1e-5)
  # Gains 4, 4, 1/2, then 0 for the copy with unit weights.
  assert chosen(two) == chosen(four) == [0, 2]
  assert all(chosen(each) == [0, 1, 2, 3] for each in forced)
  # Weights of mean 1: residuals of 6, 5, 1, -3 are 2, 1, 1, -1 after the
  # first, then, with weights 7/5 and 3/5, 2/5, -3/5, 2/5, -1/5: by length the
  # harmful one is the least bad.
  for size, expected in ((1, [1, 0, 0, 0]), (2, [1.4, 0, 0.6, 0])):
    _, weights = every(gram, linear, size)[-1]
    np.testing.assert_allclose(weights, expected, atol=1e-5)
  last, weights = every(gram, linear, 3)[-1]
  assert chosen(last) == [0, 2, 3]
  np.testing.assert_allclose(np.sum(weights), 3, atol=1e-5)


@pytest.mark.parametrize('by_length', [True, False])
def test_greedy_and_greats_against_numpy(by_length):
  rng = np.random.default_rng(0)
  rows = rng.normal(size=(6, 10, 30)) + 0.3
  target = rows.mean(1) + rng.normal(size=(6, 30))
  gram = np.einsum('niw,njw->nij', rows, rows)
  linear = np.einsum('niw,nw->ni', rows, target)

  @jax.jit
  @jax.vmap
  def both(gram, linear):
    everyone = jnp.ones(10, bool)
    return (
      subset_filters.greedy(
        gram,
        linear,
        everyone,
        5,
        ridge=0.1,
        iterations=100,
        by_length=by_length,
      ),
      subset_filters.greats(gram / 10, linear, everyone, 5, own_share=0.3),
    )

  (picked, weights), bold = both(jnp.float32(gram), jnp.float32(linear))
  for one in range(6):
    slow, slow_weights = slow_greedy(gram[one], linear[one], 5, 0.1, by_length)
    assert chosen(picked[one]) == slow
    np.testing.assert_allclose(weights[one], slow_weights, atol=1e-4)
    assert chosen(bold[one]) == slow_greats(
      gram[one] / 10, linear[one], 5, 0.3, 0.0
    )


def filters():
  return {
    'topk': subset_filters.topk,
    'greedy': lambda *args: subset_filters.greedy(*args)[0],
    'greats': subset_filters.greats,
  }


@pytest.mark.parametrize('name', filters())
def test_order_masks_and_sizes(name):
  rng = np.random.default_rng(1)
  rows = rng.normal(size=(8, 12)) + 0.5
  gram, linear = problem(rows, rows.mean(0) * 3)
  mask = jnp.arange(8) < 6
  rule: Any = jax.jit(filters()[name])  # traced size
  found = rule(gram, linear, mask, 3)
  assert 0 < np.sum(found) <= 3
  assert not np.any(found & ~mask)
  order = rng.permutation(8)
  moved = rule(gram[order][:, order], linear[order], mask[order], 3)
  np.testing.assert_array_equal(moved, found[order])
  # What is masked is never read.
  off = ~mask[:, None] | ~mask[None, :]
  spoiled = rule(
    jnp.where(off, jnp.nan, gram), jnp.where(mask, linear, jnp.inf), mask, 3
  )
  np.testing.assert_array_equal(spoiled, found)
  assert np.sum(rule(gram, linear, mask, 99)) <= 6
  # Nothing useful, no candidate, no example of any length.
  assert not np.any(rule(gram, -jnp.abs(linear), mask, 3))
  assert not np.any(rule(gram, linear, mask & False, 3))
  assert not np.any(rule(0 * gram, 0 * linear, mask, 3))
  assert rule._cache_size() == 1
