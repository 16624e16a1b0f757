"""ADAPT: weights by closeness to a few trusted anchors, in the training step.

Each example's pooled last states are compared with the anchors' under the
current parameters, and the sigmoid of the mean similarity scales its loss.
ADAPT (arXiv 2605.05227), section 5, equations 7-11 and Algorithm 1.

Where we differ or decide:
* The mean similarity to V unit anchors is the inner product with their mean,
  so only that mean, [D], is kept (an identity, not an approximation).
* Algorithm 1 refreshes when t mod R = 1, never true after step 1 at R = 1; we
  refresh when (t - 1) mod R = 0, the same for R > 1.
* Clipping is mentioned without bounds: off unless given.
* Centring is ours: pooled states of language models have a large common part
  that pushes all similarities towards 1. A running mean of the batches' pooled
  states is subtracted before the norm. Examples and anchors use the mean of
  the last refresh, so the first `refresh_interval` steps are not centred.

Similarities lie in [-1, 1], so at temperature 1 the weights lie in
[0.269, 0.731]: with an optimizer that is not invariant to the scale of the
loss they also lower the learning rate. The weights are absolute.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxcurate.types import Signals, State, TrainingShapes, Weighting

EPSILON = 1e-8  # section 5: under the norm and under the temperature
CENTER_DECAY = 0.99  # ours: the running mean looks back about 100 steps


def make(
  *,
  temperature: float = 1.0,
  refresh_interval: int = 50,
  states: Literal['decoder', 'encoder'] = 'decoder',
  clip: tuple[float, float] | None = None,
  center: bool = False,
) -> Weighting:
  """w_i = sigmoid(<phi_i, mean_v phi_v> / max(temperature, 1e-8)).

  phi is the pooled last state of an example, divided by its L2 norm; v runs
  over the anchors. The decoder's (causal) states are pooled with position
  weights, as in the paper, the encoder's (bidirectional) by their mean.

  Args:
    temperature: >= 0; small values make the weights 0 or 1.
    refresh_interval: >= 1 steps between refreshes of the anchors' mean.
    states: whose last states stand for an example.
    clip: lowest and highest weight, or None.
    center: subtract a running mean of the pooled states before the norm.

  Raises:
    ValueError: a setting is out of its range.
  """
  if temperature < 0:
    raise ValueError(f'temperature is {temperature}, expected at least 0')
  if refresh_interval < 1:
    raise ValueError(
      f'refresh_interval is {refresh_interval}, expected at least 1'
    )
  if states not in ('decoder', 'encoder'):
    raise ValueError(f'states is {states!r}, expected decoder or encoder')
  if clip is not None and not 0 <= clip[0] <= clip[1]:
    raise ValueError(f'clip is {clip}, expected 0 <= lowest <= highest')

  def init(shapes: TrainingShapes) -> State:
    zeros = jnp.zeros(shapes.width)
    state = {'anchor_mean': zeros}
    if center:
      state['center'] = zeros  # what is subtracted until refresh
      state['running_mean'] = zeros
      state['num_updates'] = jnp.zeros(())
    return state

  def pooled(signals: Signals) -> jax.Array:
    values = getattr(signals, f'{states}_pooled_ExD')
    if values is None:
      raise ValueError(f'the signals lack {states}_pooled')
    return values

  def update(signals: Signals, state: State) -> tuple[jax.Array, State, dict]:
    mask_E, pooled_ExD = signals.mask_E, pooled(signals)
    unit_ExD = unit_rows(pooled_ExD - state.get('center', 0.0), mask_E)
    # HIGHEST: accelerators otherwise round float32 operands to bfloat16.
    similarity_E = jnp.dot(
      unit_ExD, state['anchor_mean'], precision=jax.lax.Precision.HIGHEST
    )
    weights_E = jax.nn.sigmoid(similarity_E / max(temperature, EPSILON))
    if clip is not None:
      weights_E = jnp.clip(weights_E, *clip)
    mean = masked_mean(similarity_E, mask_E)
    variance = masked_mean((similarity_E - mean) ** 2, mask_E)
    info = {'similarity_mean': mean, 'similarity_std': jnp.sqrt(variance)}
    if center:
      state = _follow(state, pooled_ExD, mask_E)
    return jnp.where(mask_E, weights_E, 0.0), state, info

  def refresh(signals: Signals, state: State) -> State:
    if center:
      # The zero-debiased running mean; 0 before the first step.
      share = 1 - CENTER_DECAY ** state['num_updates']
      mean = state['running_mean'] / jnp.maximum(share, EPSILON)
      state = {**state, 'center': mean}
    unit_ExD = unit_rows(
      pooled(signals) - state.get('center', 0.0), signals.mask_E
    )
    return {**state, 'anchor_mean': masked_mean(unit_ExD, signals.mask_E)}

  needs = frozenset({f'{states}_pooled'})
  return Weighting(
    init=init,
    update=update,
    refresh=refresh,
    refresh_interval=refresh_interval,
    needs=needs,
    anchor_needs=needs,
  )


def unit_rows(
  pooled_ExD: Float[Array, 'E D'], mask_E: Bool[Array, ' E']
) -> Float[Array, 'E D']:
  """Rows divided by their L2 norm; masked rows and zero rows give 0.

  >>> unit_rows(jnp.array([[3., 4.]]), jnp.array([True])).tolist()
  [[0.6000000238418579, 0.800000011920929]]
  """
  safe_ExD = jnp.where(mask_E[:, None], pooled_ExD, 0.0)
  square_E = jnp.sum(safe_ExD**2, axis=1, keepdims=True)
  return safe_ExD / jnp.maximum(jnp.sqrt(square_E), EPSILON)


def masked_mean(
  values_E: Float[Array, 'E *D'], mask_E: Bool[Array, ' E']
) -> Float[Array, '*D']:
  """Mean over the examples whose mask is True; 0 without any.

  >>> float(masked_mean(jnp.array([1., 5.]), jnp.array([True, False])))
  1.0
  """
  mask = mask_E.reshape(-1, *(1,) * (values_E.ndim - 1))
  total = jnp.sum(jnp.where(mask, values_E, 0.0), axis=0)
  return total / jnp.maximum(jnp.sum(mask_E), 1)


def _follow(state: State, pooled_ExD: Array, mask_E: Array) -> State:
  """Moves the running mean; a batch without examples changes nothing."""
  rate = jnp.where(jnp.any(mask_E), 1 - CENTER_DECAY, 0.0)
  batch_mean = masked_mean(pooled_ExD, mask_E)
  return {
    **state,
    'running_mean': (1 - rate) * state['running_mean'] + rate * batch_mean,
    'num_updates': state['num_updates'] + jnp.any(mask_E),
  }
