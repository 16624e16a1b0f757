"""The gradient of the anchors' mean loss, kept between refreshes.

What the rules that choose by gradients share: their target, the number of
times they had to fall back to uniform weights, and the scale of a subset's
weights.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxcurate.types import Signals, State, TrainingShapes


def check(*, keep: float, refresh_interval: int, target_decay: float) -> None:
  """Raises ValueError where a setting of such a rule is out of its range.

  Args:
    keep: share of the real examples to keep, in (0, 1].
    refresh_interval: steps between refreshes, >= 1.
    target_decay: of the running mean of the target, in [0, 1).
  """
  if not 0 < keep <= 1:
    raise ValueError(f'keep is {keep}, expected above 0 and at most 1')
  if refresh_interval < 1:
    raise ValueError(
      f'refresh_interval is {refresh_interval}, expected at least 1'
    )
  if not 0 <= target_decay < 1:
    raise ValueError(
      f'target_decay is {target_decay}, expected at least 0 and below 1'
    )


def init(shapes: TrainingShapes) -> State:
  """No target yet; 'target' is shaped like the parameters.

  Raises:
    ValueError: the parameters' shapes are not known.
  """
  if shapes.params is None:
    raise ValueError(
      "the weighting keeps a gradient and needs the parameters' shapes; pass"
      ' TrainingShapes(width, params)'
    )
  return {
    'target': jax.tree.map(
      lambda p: jnp.zeros(p.shape, jnp.float32), shapes.params
    ),
    'refreshes': jnp.int32(0),
    'fallbacks': jnp.int32(0),
  }


def refresh(signals: Signals, state: State, decay: float) -> State:
  """Moves the target to decay * target + (1 - decay) * gradient.

  The first gradient is taken as it is. One that is not finite is left out: the
  target stays.

  Args:
    signals: with 'mean_gradient' of the anchors.
    state: with the entries of `init`.
    decay: in [0, 1).
  """
  if signals.mean_gradient is None:
    raise ValueError('the signals lack mean_gradient')
  new = jax.tree.map(lambda g: g.astype(jnp.float32), signals.mean_gradient)
  finite = jax.tree.reduce(
    jnp.logical_and, jax.tree.map(lambda g: jnp.all(jnp.isfinite(g)), new)
  )
  rate = jnp.where(state['refreshes'] > 0, 1 - decay, 1.0)
  target = jax.tree.map(
    lambda old, g: jnp.where(finite, old + rate * (g - old), old),
    state['target'],
    new,
  )
  return {**state, 'target': target, 'refreshes': state['refreshes'] + finite}


def subset_weights(
  weights_E: Float[Array, ' E'],
  mask_E: Bool[Array, ' E'],
  size: Int[Array, ''],
  valid: Bool[Array, ''],
) -> Float[Array, ' E']:
  """Weights of the step, whose loss divides by all real examples.

  The subset's loss is sum_i w_i loss_i / size, so that weights of 1 keep the
  scale of the loss: times the number of real examples over `size`. Where
  `valid` is False every real example weighs 1.

  Args:
    weights_E: [E] float32, w; 0 outside the subset.
    mask_E: [E] bool, real examples.
    size: [] int32 >= 1 where there is a real example.
    valid: [] bool.

  >>> subset_weights(jnp.array([2., 0., 0.]), jnp.array([True, True, False]),
  ...                jnp.int32(1), jnp.array(True)).tolist()
  [4.0, 0.0, 0.0]
  """
  scaled_E = weights_E * (jnp.sum(mask_E) / jnp.maximum(size, 1))
  return jnp.where(mask_E, jnp.where(valid, scaled_E, 1.0), 0.0)


def describe(
  weights_E: Float[Array, ' E'], state: State
) -> dict[str, Float[Array, ''] | Int[Array, '']]:
  """kept, the examples that weigh above 0; ess, (sum w)^2 / sum w^2; fallbacks.

  Args:
    weights_E: [E] float32, weights of the step.
    state: with the entries of `init`, after the step.
  """
  square = jnp.sum(weights_E**2)
  return {
    'kept': jnp.sum(weights_E > 0),
    'ess': jnp.sum(weights_E) ** 2 / jnp.where(square > 0, square, 1.0),
    'fallbacks': state['fallbacks'],
  }


def finish(
  weights_E: Float[Array, ' E'],
  mask_E: Bool[Array, ' E'],
  size: Int[Array, ''],
  valid: Bool[Array, ''],
  state: State,
) -> tuple[Float[Array, ' E'], State, dict]:
  """What `update` returns: `subset_weights`, the state, `describe`.

  Args:
    weights_E: as for `subset_weights`.
    mask_E: as for `subset_weights`.
    size: as for `subset_weights`.
    valid: [] bool; where False uniform weights stand in, and the state counts
      it if there was a real example.
    state: with the entries of `init`.
  """
  fell_back = ~valid & jnp.any(mask_E)
  state = {**state, 'fallbacks': state['fallbacks'] + fell_back}
  weights_E = subset_weights(weights_E, mask_E, size, valid)
  return weights_E, state, describe(weights_E, state)
