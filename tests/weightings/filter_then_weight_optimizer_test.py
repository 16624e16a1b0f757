"""Filter-then-Weight against what an optimizer makes of the weights."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize

from jaxcurate.ops.dense_gradients import DenseGradients
from jaxcurate.train.optimizers import make_optimizer
from jaxcurate.types import Signals, TrainingShapes
from jaxcurate.weightings import filter_then_weight as method


def signals(rows, known):
  return Signals(
    mask_E=jnp.ones(len(rows), bool),
    step=jnp.int32(1),
    gradients=DenseGradients({'w': jnp.asarray(rows, jnp.float32)}),
    preconditioner=known,
  )


def look(weighting, target, loss=0.0, state=None):
  """The state after a refresh; None: after the first."""
  assert weighting.refresh is not None
  shapes = {'w': jax.ShapeDtypeStruct(target.shape, jnp.float32)}
  anchors = Signals(
    mask_E=jnp.ones(2, bool),
    step=jnp.int32(1),
    mean_gradient={'w': jnp.asarray(target, jnp.float32)},
    mean_loss=jnp.float32(loss),
  )
  state = weighting.init(TrainingShapes(4, shapes)) if state is None else state
  return weighting.refresh(anchors, state)


def old_adamw(size=8, width=30, rate=0.1):
  """An optimizer in a state that gradients no longer move, and a problem."""
  rng = np.random.default_rng(0)
  optimizer = make_optimizer(
    'adamw',
    schedule='constant',
    learning_rate=rate,
    warmup_steps=0,
    beta2=1 - 1e-7,
  )
  params = {'w': jnp.zeros(width)}
  rows = (rng.normal(size=(size, width)) + 0.7).astype(np.float32)
  # Second moments of its own, first moments that point along the examples'.
  opt_state = optax.tree_utils.tree_set(
    optimizer.init(params),
    count=jnp.int32(2_000_000_000),
    mu={'w': jnp.asarray(rows.mean(0) + rng.normal(size=width), jnp.float32)},
    nu={'w': jnp.asarray(rng.uniform(0.1, 4, width), jnp.float32)},
  )
  target = rows[:4].mean(0) + rng.normal(size=width)
  assert optimizer.preconditioner is not None
  known = optimizer.preconditioner(opt_state, params)
  return optimizer, params, opt_state, known, rows, target


@pytest.mark.parametrize('fixed', [True, False])
def test_against_scipy_and_an_actual_optimizer_step(fixed):
  optimizer, params, opt_state, known, rows, target = old_adamw()
  settings = {'filter': 'topk', 'max_weight': 1.5, 'ridge': 0.1}
  settings |= {'fixed_total': fixed, 'iterations': 300}
  weighting = method.make(**settings)
  update: Any = jax.jit(weighting.update)
  state = look(weighting, target)
  weights, _, info = update(signals(rows, known), state)
  # The updates themselves, whitened by P^(-1/2), in float64.
  assert known.momentum is not None
  p, m = (np.asarray(t['w'], float) for t in (known.scale, known.momentum))
  root, k, n = np.sqrt(p), 4, 8
  parts = 0.1 * p * rows.astype(float) / k / root
  start = 0.9 * m / root
  uniform = start + parts.sum(0) * k / n
  best = root * target
  best *= np.linalg.norm(uniform) / np.linalg.norm(best)
  gram, linear = parts @ parts.T, parts @ (best - start)
  ridge = 0.1 * np.trace(gram) / n
  score = linear / np.sqrt(np.diag(gram) + ridge)
  chosen = np.argsort(-score)[:k]
  if not fixed:
    chosen = chosen[score[chosen] > 0]
    assert len(chosen) == 3  # and four could have been kept
  matrix = parts[chosen] @ parts[chosen].T + ridge * np.eye(len(chosen))
  slow = scipy.optimize.minimize(
    lambda w: w @ matrix @ w / 2 - (linear[chosen] + ridge) @ w,
    np.ones(len(chosen)),
    jac=lambda w: matrix @ w - linear[chosen] - ridge,
    bounds=[(0, 1.5)] * len(chosen),
    constraints={'type': 'eq', 'fun': lambda w: w.sum() - k} if fixed else (),
    method='SLSQP',
    options={'ftol': 1e-14, 'maxiter': 500},
  ).x
  expected = np.zeros(n)
  expected[chosen] = slow * n / k
  np.testing.assert_allclose(weights, expected, atol=2e-4)
  # What the optimizer makes of the weighted mean gradient is u(w).
  gradient = {'w': jnp.mean(weights[:, None] * rows, axis=0)}
  updates, _ = optimizer.update(gradient, opt_state, params)
  made = np.asarray(updates['w'], float) / -0.1 / root
  cosine = made @ best / np.linalg.norm(made) / np.linalg.norm(best)
  np.testing.assert_allclose(info['cosine'], cosine, atol=1e-5)
  misfit = [np.sum((u - best) ** 2) / np.sum(best**2) for u in (uniform, made)]
  np.testing.assert_allclose(
    info['predicted_gain'], misfit[0] - misfit[1], atol=1e-4
  )
  assert fixed or info['predicted_gain'] > 0


def test_predicted_change_is_the_realised_one_to_first_order():
  # Anchors of loss |Aw - y|^2 / 2, examples of their own gradients.
  optimizer, params, opt_state, _, rows, target = old_adamw(rate=1e-4)
  matrix = np.random.default_rng(3).normal(size=(40, 30)) / 6
  y = -matrix @ np.linalg.solve(matrix.T @ matrix, target)

  def loss(w):
    return float(np.sum((matrix @ np.asarray(w, float) - y) ** 2) / 2)

  weighting = method.make()
  state = look(weighting, target, loss(params['w']))

  @jax.jit
  def step(params, opt_state, state):
    assert optimizer.preconditioner is not None
    given = signals(rows, optimizer.preconditioner(opt_state, params))
    weights, state, info = weighting.update(given, state)
    gradient = {'w': jnp.mean(weights[:, None] * rows, axis=0)}
    updates, opt_state = optimizer.update(gradient, opt_state, params)
    return optax.apply_updates(params, updates), opt_state, state, info

  for _ in range(6):
    params, opt_state, state, info = step(params, opt_state, state)
    assert float(info['predicted_change']) == 0  # no interval has ended
  state = look(weighting, target, loss(params['w']), state)
  *_, info = step(params, opt_state, state)
  realised = loss(params['w']) - loss(np.zeros(30))
  np.testing.assert_allclose(info['realised_change'], realised, rtol=1e-3)
  np.testing.assert_allclose(info['predicted_change'], realised, rtol=0.01)
  assert realised < 0
