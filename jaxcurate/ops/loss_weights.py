"""Weights that follow the losses of a batch: LinUpper, Quadratic, Extremes.

A loss is placed between the batch's smallest (-1) and largest (1), a rule says
how much each place is worth, and a softmax over the whole batch turns worths
into weights. Dynamic Loss-Based Sample Reweighting for Improved Large Language
Model Pretraining (arXiv 2502.06733); rules and constants as in its code,
sowmaster/Sample-Level-Loss-Reweighting-ICLR-2025, src/trainer.py, delta = 1.

Where we differ or decide:
* The smallest loss is subtracted first, in float32: nearly equal losses would
  otherwise lose their difference to rounding.
* The softmax is multiplied by the number of real examples: mean weight 1. The
  paper's loss, the sum of softmax times mean loss per example, is then that of
  the step with the reduction 'examples'.
* One outlier stretches the range and makes all others alike, so losses may be
  clipped to two quantiles of the batch first (ours, off by default).
* The paper lowers the strength from a high value; geometrically is ours.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxcurate.types import Signals, State, Weighting

EPSILON = 1e-6  # h_func of the code: the smallest range of losses


def weighting(
  rule: Callable[[Float[Array, ' E']], Float[Array, ' E']],
  *,
  strength: float,
  strength_start: float | None,
  anneal_steps: int,
  burn_in_steps: int,
  clip_quantiles: tuple[float, float] | None,
) -> Weighting:
  """w_i = n softmax_i(rule(h) / r), over the n real examples of the batch.

  h_i = (2 l_i - l_min - l_max) / max(l_max - l_min, 1e-6), in [-1, 1], with
  l_i the mean natural-log loss per target token. Losses that are all equal
  give h = 0 and weights of 1.

  Args:
    rule: worth of each place h.
    strength: r > 0 after annealing; small values sharpen the softmax.
    strength_start: r at the first step after the burn-in, at least `strength`;
      None without annealing.
    anneal_steps: >= 0 steps from `strength_start` to `strength`, geometrically.
    burn_in_steps: >= 0 first steps in which all examples weigh 1.
    clip_quantiles: (lowest, highest) in [0, 1]: losses are clipped to these
      quantiles of the batch before the range is taken; None: they are not.

  Raises:
    ValueError: a setting is out of its range.
  """
  start = strength if strength_start is None else strength_start
  if strength <= 0:
    raise ValueError(f'strength is {strength}, expected above 0')
  if (strength_start is None) != (anneal_steps == 0):
    raise ValueError(
      f'strength_start is {strength_start} and anneal_steps {anneal_steps};'
      ' annealing needs both, its absence None and 0'
    )
  if start < strength:
    raise ValueError(
      f'strength_start is {start} and strength {strength}; the strength only'
      ' falls'
    )
  if anneal_steps < 0 or burn_in_steps < 0:
    raise ValueError(
      f'anneal_steps is {anneal_steps} and burn_in_steps {burn_in_steps},'
      ' expected at least 0'
    )
  if clip_quantiles is not None:
    low, high = clip_quantiles
    if not 0 <= low < high <= 1:
      raise ValueError(
        f'clip_quantiles is {clip_quantiles}, expected'
        ' 0 <= lowest < highest <= 1'
      )

  def update(signals: Signals, state: State) -> tuple[jax.Array, State, dict]:
    mask_E, loss_E = signals.mask_E, signals.loss_E
    if loss_E is None:
      raise ValueError('the signals lack loss')
    if clip_quantiles is not None:
      loss_E = clip_to_quantiles(loss_E, mask_E, clip_quantiles)
    inverse = inverse_strength(
      signals.step, strength, start, anneal_steps, burn_in_steps
    )
    weights_E = batch_softmax(
      inverse * rule(relative_loss(loss_E, mask_E)), mask_E
    )
    count = jnp.sum(mask_E)
    square = jnp.maximum(jnp.sum(weights_E**2), 1.0)
    info = {
      'inverse_strength': inverse,  # 0 in the burn-in
      'effective_share': count / square,
    }
    return weights_E, state, info

  return Weighting(
    init=lambda shapes: {},
    update=update,
    needs=frozenset({'loss'}),
    batch_coupled=True,
  )


def relative_loss(
  loss_E: Float[Array, ' E'], mask_E: Bool[Array, ' E']
) -> Float[Array, ' E']:
  """Place of each loss between the batch's smallest (-1) and largest (1).

  Args:
    loss_E: [E] finite where the mask is True, anything elsewhere.
    mask_E: [E] real examples.

  Returns:
    [E] float32; 0 where all losses are equal, and where the mask is False.

  >>> relative_loss(jnp.array([3.0, 4.0, 7.0]), jnp.ones(3, bool)).tolist()
  [-1.0, -0.5, 1.0]
  """
  loss_E = loss_E.astype(jnp.float32)
  smallest = jnp.min(jnp.where(mask_E, loss_E, jnp.inf))
  above_E = jnp.where(mask_E, loss_E - smallest, 0.0)
  span = jnp.max(above_E, initial=0.0)
  place_E = (2 * above_E - span) / jnp.maximum(span, EPSILON)
  return jnp.where(mask_E, place_E, 0.0)


def clip_to_quantiles(
  loss_E: Float[Array, ' E'],
  mask_E: Bool[Array, ' E'],
  quantiles: tuple[float, float],
) -> Float[Array, ' E']:
  """Losses clipped to two quantiles (linear interpolation) of the real ones.

  >>> losses = jnp.array([1.0, 2.0, 3.0, 90.0])
  >>> clip_to_quantiles(losses, jnp.ones(4, bool), (0.0, 0.5)).tolist()
  [1.0, 2.0, 2.5, 2.5]
  """
  real_E = jnp.where(mask_E, loss_E, jnp.nan)
  low, high = jnp.nanquantile(real_E, jnp.asarray(quantiles))
  return jnp.where(mask_E, jnp.clip(loss_E, low, high), 0.0)


def batch_softmax(
  logit_E: Float[Array, ' E'], mask_E: Bool[Array, ' E']
) -> Float[Array, ' E']:
  """Softmax over the real examples times their number; masked ones give 0.

  >>> batch_softmax(jnp.zeros(3), jnp.array([True, True, False])).tolist()
  [1.0, 1.0, 0.0]
  """
  largest = jnp.max(jnp.where(mask_E, logit_E, -jnp.inf))
  exp_E = jnp.where(mask_E, jnp.exp(logit_E - largest), 0.0)
  # The largest term is 1, so the floor acts only where nothing is real.
  return exp_E * (jnp.sum(mask_E) / jnp.maximum(jnp.sum(exp_E), 1.0))


def inverse_strength(
  step: Int[Array, '*T'],
  strength: float,
  start: float,
  anneal_steps: int,
  burn_in_steps: int,
) -> Float[Array, '*T']:
  """1 / r at a step (1 for the first): 0, then from 1 / start to 1 / strength.

  >>> inverse_strength(jnp.arange(1, 6), 1.0, 4.0, 2, 1).tolist()
  [0.0, 0.25, 0.5, 1.0, 1.0]
  """
  after = step - 1 - burn_in_steps
  done = 1.0
  if anneal_steps:
    done = jnp.clip(after / anneal_steps, 0.0, 1.0)
  inverse = (1 / start) * (start / strength) ** done
  return jnp.where(after >= 0, inverse, 0.0).astype(jnp.float32)
