"""Weights from a score that was computed before training, through a gate.

Any column of a score table becomes the weight of an example: put on a common
scale, divided by a temperature, passed through a sigmoid and clipped, as ADAPT
(arXiv 2605.05227, equations 8 and 11) does with its own similarities. Give the
table with --scores and its column with --by.

What the scale needs to know of all scores is given, or followed as the
examples pass: then the first batches are judged by little. A batch is counted
before it is weighed, and every passing of an example counts.

The weights are absolute: with a sigmoid their mean is about 1/2, which an
optimizer that is not invariant to the scale of the loss feels as a lower
learning rate.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxcurate.ops import example_means
from jaxcurate.types import Signals, State, TrainingShapes, Weighting

EPSILON = 1e-8  # ours: smallest temperature, range and standard deviation


def make(
  *,
  scale: Literal['raw', 'standard', 'min_max'] = 'standard',
  gate: Literal['sigmoid', 'none'] = 'sigmoid',
  temperature: float = 1.0,
  bounds: tuple[float, float] | None = None,
  moments: tuple[float, float] | None = None,
  clip: tuple[float, float] | None = None,
) -> Weighting:
  """w_i = sigmoid(z_i / max(temperature, 1e-8)), or z_i itself, clipped.

  z_i = s_i                                    raw
        (s_i - mean) / standard deviation      standard
        (s_i - lowest) / (highest - lowest)    min_max, in [0, 1]

  Where all scores so far are equal, z_i is 0 (standard) or 1/2 (min_max). An
  example whose score is not finite weighs 0 and is counted in the info as
  'without_score'.

  Args:
    scale: how scores are made comparable.
    gate: 'sigmoid', or 'none' for z_i itself, 0 where negative; then there is
      no temperature.
    temperature: >= 0 under the sigmoid; small values make the weights 0 or 1.
    bounds: lowest and highest score of the pool, for 'min_max'; None follows
      them. Scores beyond them are 0 or 1.
    moments: mean and standard deviation of the pool, for 'standard'; None
      follows them.
    clip: lowest and highest weight, or None.

  Raises:
    ValueError: a setting is out of its range, or does not go with another.
  """
  if temperature < 0:
    raise ValueError(f'temperature is {temperature}, expected at least 0')
  if gate == 'none' and temperature != 1:
    raise ValueError(
      f"temperature is {temperature}, and gate 'none' has none; leave it at 1"
    )
  if gate == 'none' and scale == 'standard':
    raise ValueError(
      "gate 'none' takes the scale 'raw' or 'min_max': half of all standardised"
      ' scores are negative'
    )
  if bounds is not None and (scale != 'min_max' or bounds[0] >= bounds[1]):
    raise ValueError(
      f"bounds is {bounds}, expected lowest < highest, and the scale 'min_max'"
      f' (it is {scale!r})'
    )
  if moments is not None and (scale != 'standard' or moments[1] <= 0):
    raise ValueError(
      f'moments is {moments}, expected a mean and a standard deviation above 0,'
      f" and the scale 'standard' (it is {scale!r})"
    )
  if clip is not None and not 0 <= clip[0] <= clip[1]:
    raise ValueError(f'clip is {clip}, expected 0 <= lowest <= highest')
  follows = scale != 'raw' and bounds is None and moments is None

  def init(shapes: TrainingShapes) -> State:
    del shapes
    if not follows:
      return {}
    if scale == 'min_max':
      return {'lowest': jnp.float32(jnp.inf), 'highest': jnp.float32(-jnp.inf)}
    return {name: jnp.zeros(()) for name in ('count', 'mean', 'variance')}

  def on_scale(score_E: Array, state: State) -> Array:
    if scale == 'raw':
      return score_E
    if scale == 'standard':
      mean, deviation = moments or (state['mean'], jnp.sqrt(state['variance']))
      return (score_E - mean) / jnp.maximum(deviation, EPSILON)
    low, high = bounds or (state['lowest'], state['highest'])
    part_E = (score_E - low) / jnp.maximum(high - low, EPSILON)
    return jnp.where(high > low, jnp.clip(part_E, 0.0, 1.0), 0.5)

  def update(signals: Signals, state: State) -> tuple[Array, State, dict]:
    if signals.score_E is None:
      raise ValueError('the signals lack score')
    known_E = signals.mask_E & jnp.isfinite(signals.score_E)
    score_E = jnp.where(known_E, signals.score_E, 0.0)
    if follows:
      follow = _extremes if scale == 'min_max' else _moments
      state = follow(state, score_E, known_E)
    weights_E = on_scale(score_E, state)
    if gate == 'sigmoid':
      weights_E = jax.nn.sigmoid(weights_E / max(temperature, EPSILON))
    weights_E = jnp.maximum(weights_E, 0.0)
    if clip is not None:
      weights_E = jnp.clip(weights_E, *clip)
    info = {
      'score_mean': example_means.masked_mean(score_E, known_E),
      'without_score': jnp.sum(signals.mask_E & ~known_E),
    }
    return jnp.where(known_E, weights_E, 0.0), state, info

  return Weighting(
    init=init,
    update=update,
    needs=frozenset({'score'}),
    batch_coupled=follows,
  )


def _extremes(
  state: State, score_E: Float[Array, ' E'], known_E: Bool[Array, ' E']
) -> State:
  """The smallest and largest score so far."""
  low = jnp.min(jnp.where(known_E, score_E, jnp.inf))
  high = jnp.max(jnp.where(known_E, score_E, -jnp.inf))
  return {
    'lowest': jnp.minimum(state['lowest'], low),
    'highest': jnp.maximum(state['highest'], high),
  }


def _moments(
  state: State, score_E: Float[Array, ' E'], known_E: Bool[Array, ' E']
) -> State:
  """Mean and variance of all scores so far (Chan, Golub and LeVeque 1983)."""
  mean = example_means.masked_mean(score_E, known_E)
  variance = example_means.masked_mean((score_E - mean) ** 2, known_E)
  here = jnp.sum(known_E, dtype=jnp.float32)
  count = state['count'] + here
  share = here / jnp.maximum(count, 1.0)
  apart = mean - state['mean']
  return {
    'count': count,
    'mean': state['mean'] + share * apart,
    'variance': (1 - share) * (state['variance'] + share * apart**2)
    + share * variance,
  }
