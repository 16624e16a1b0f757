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
* With anchors of several tasks the paper takes equally many of each. Where
  they are not, `per_task` gives every task the same say (ours).

Similarities lie in [-1, 1], so at temperature 1 the weights lie in
[0.269, 0.731]: with an optimizer that is not invariant to the scale of the
loss they also lower the learning rate. The weights are absolute; their mean is
the paper's effective proportion.

The histogram of similarities and the effective proportion are logged per epoch
and, with `by_domain`, per domain: state['totals'] adds them up over all steps,
see `ops.similarity_totals`.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxcurate.ops import example_means, similarity_totals
from jaxcurate.types import Signals, State, Tally, TrainingShapes, Weighting

EPSILON = example_means.EPSILON  # section 5: also under the temperature
CENTER_DECAY = 0.99  # ours: the running mean looks back about 100 steps


def make(
  *,
  temperature: float = 1.0,
  refresh_interval: int = 50,
  states: Literal['decoder', 'encoder'] = 'decoder',
  clip: tuple[float, float] | None = None,
  center: bool = False,
  per_task: bool = False,
  by_domain: bool = False,
) -> Weighting:
  """w_i = sigmoid(<phi_i, mean_v phi_v> / max(temperature, 1e-8)).

  phi is the pooled last state of an example, divided by its L2 norm; v runs
  over the anchors. The decoder's (causal) states are pooled with position
  weights, as in the paper, the encoder's (bidirectional) by their mean. The
  info of a step holds 'effective_proportion', the mean weight, and how many
  similarities lie in each twentieth of [-1, 1], 'similarity_hist/00' to '/19'.

  Args:
    temperature: >= 0; small values make the weights 0 or 1.
    refresh_interval: >= 1 steps between refreshes of the anchors' mean.
    states: whose last states stand for an example.
    clip: lowest and highest weight, or None.
    center: subtract a running mean of the pooled states before the norm.
    per_task: the mean over tasks of each task's mean, tasks being the anchors'
      domains; anchors without one are a task of their own.
    by_domain: keep the totals apart by the domain of the examples, which their
      batches must then carry.

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
    num_domains = len(shapes.domains) + 1 if by_domain else 1
    state = {
      'anchor_mean': zeros,
      'totals': similarity_totals.zeros(num_domains),
    }
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
    unit_ExD = example_means.unit_rows(
      pooled_ExD - state.get('center', 0.0), mask_E
    )
    # HIGHEST: accelerators otherwise round float32 operands to bfloat16.
    similarity_E = jnp.dot(
      unit_ExD, state['anchor_mean'], precision=jax.lax.Precision.HIGHEST
    )
    weights_E = jax.nn.sigmoid(similarity_E / max(temperature, EPSILON))
    if clip is not None:
      weights_E = jnp.clip(weights_E, *clip)
    mean = example_means.masked_mean(similarity_E, mask_E)
    variance = example_means.masked_mean((similarity_E - mean) ** 2, mask_E)
    weights_E = jnp.where(mask_E, weights_E, 0.0)
    domain_E = _domains(signals) if by_domain else jnp.zeros_like(mask_E, int)
    more = similarity_totals.of_batch(
      weights_E,
      similarity_E,
      mask_E,
      domain_E,
      len(state['totals']['weight_M']),
    )
    bins = jnp.sum(more['similarity_MxK'], axis=0)
    info = {
      'similarity_mean': mean,
      'similarity_std': jnp.sqrt(variance),
      'effective_proportion': example_means.masked_mean(weights_E, mask_E),
      **{
        f'similarity_hist/{i:02d}': bins[i]
        for i in range(similarity_totals.NUM_BINS)
      },
    }
    totals = jax.tree.map(jnp.add, state['totals'], more)
    state = {**state, 'totals': totals}
    if center:
      state = _follow(state, pooled_ExD, mask_E)
    return weights_E, state, info

  def refresh(signals: Signals, state: State) -> State:
    if center:
      # The zero-debiased running mean; 0 before the first step.
      share = 1 - CENTER_DECAY ** state['num_updates']
      mean = state['running_mean'] / jnp.maximum(share, EPSILON)
      state = {**state, 'center': mean}
    unit_ExD = example_means.unit_rows(
      pooled(signals) - state.get('center', 0.0), signals.mask_E
    )
    mean = example_means.masked_mean(unit_ExD, signals.mask_E)
    if per_task:
      mean = example_means.mean_of_means(
        unit_ExD, signals.mask_E, _domains(signals)
      )
    return {**state, 'anchor_mean': mean}

  needs = frozenset({f'{states}_pooled'})
  domain = frozenset({'domain'})
  return Weighting(
    init=init,
    update=update,
    refresh=refresh,
    refresh_interval=refresh_interval,
    needs=needs | domain if by_domain else needs,
    anchor_needs=needs | domain if per_task else needs,
    tally=Tally(lambda state: state['totals'], similarity_totals.between),
  )


def _domains(signals: Signals) -> Int[Array, ' E']:
  """[E] codes of the examples' domains.

  Raises:
    ValueError: the signals have none.
  """
  if signals.domain_E is None:
    raise ValueError('the signals lack domain')
  return signals.domain_E


def _follow(state: State, pooled_ExD: Array, mask_E: Array) -> State:
  """Moves the running mean; a batch without examples changes nothing."""
  rate = jnp.where(jnp.any(mask_E), 1 - CENTER_DECAY, 0.0)
  batch_mean = example_means.masked_mean(pooled_ExD, mask_E)
  return {
    **state,
    'running_mean': (1 - rate) * state['running_mean'] + rate * batch_mean,
    'num_updates': state['num_updates'] + jnp.any(mask_E),
  }
