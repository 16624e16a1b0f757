"""DoGE: domains count more where a step on them helps all domains.

A domain's gain is the inner product of its gradient with the domains' summed
gradients, or with the anchors' gradient; the weights of domains follow the
gains by exponentiated gradient. DoGE: Domain Reweighting with Generalization
Estimation (arXiv 2310.15393), Algorithm 1 (Algorithm 2 with anchors).

The result is state['mean_weight_M'], the mean of alpha over the steps, in the
order of the corpus's domain codes: shares to draw a larger model's data with.
The log of every epoch has them by name, 'epoch/mean_weight/NAME'.
Decisions shared with DoReMi are in `jaxcurate.ops.domain_weights`.

The default gains are those of the authors' trainer, which bounds them and
leaves a domain's product with itself out: see `jaxcurate.ops.domain_gains`.

Ours besides:
* `step_size` stands for eta / mu. The paper's eta is the learning rate of the
  step; ours stays the same from the first step to the last.
* A domain's gradient is the mean over its examples in the batch of their
  gradients in the step. With the reduction 'tokens' long examples count more.
* The sum runs over the domains of the batch and is scaled up to all of them.
* The weights have mean 1 over the batch's examples: they are relative.
"""

from typing import Literal

import jax
import jax.numpy as jnp

from jaxcurate.ops import domain_gains, domain_weights
from jaxcurate.ops.domain_gains import Formula
from jaxcurate.types import (
  Params,
  Signals,
  State,
  Tally,
  TrainingShapes,
  Weighting,
)


def make(
  *,
  step_size: float = 0.01,
  smoothing: float = 0.0,
  formula: Formula = 'code',
  target: Literal['domains', 'anchors'] = 'domains',
  refresh_interval: int = 50,
) -> Weighting:
  """w_i in proportion to alpha_d / p_d, d the domain of example i.

  gain_d = <g_d, sum_j g_j>, or <g_d, g_anchors>
  alpha <- (1 - c) softmax(log alpha + step_size * gain) + c / M

  g_d is the mean gradient of the domain's examples in the batch, p_d the
  domain's share of all examples seen so far. The weights use the alpha of
  their own batch.

  Args:
    step_size: >= 0, eta / mu of the paper.
    smoothing: c in [0, 1].
    formula: of the gains: the authors' trainer's, or the paper's.
    target: whose loss is to fall, that of the domains or of the anchors.
    refresh_interval: >= 1 steps between the anchors' gradients.

  Raises:
    ValueError: a setting is out of its range.
  """
  domain_weights.check(step_size, smoothing)
  if formula not in ('code', 'paper'):
    raise ValueError(f'formula is {formula!r}, expected code or paper')
  if target not in ('domains', 'anchors'):
    raise ValueError(f'target is {target!r}, expected domains or anchors')
  if refresh_interval < 1:
    raise ValueError(
      f'refresh_interval is {refresh_interval}, expected at least 1'
    )
  to_anchors = target == 'anchors'

  def init(shapes: TrainingShapes) -> State:
    state = domain_weights.init(shapes.domains)
    if to_anchors:
      zeros = jax.tree.map(lambda p: jnp.zeros(p.shape), shapes.params)
      state['anchor_gradient'] = zeros
    return state

  def refresh(signals: Signals, state: State) -> State:
    if signals.mean_gradient is None:
      raise ValueError('the signals lack mean_gradient')
    gradient = jax.tree.map(jnp.float32, signals.mean_gradient)
    return {**state, 'anchor_gradient': gradient}

  def update(signals: Signals, state: State) -> tuple[jax.Array, State, dict]:
    domain_E, mask_E = signals.domain_E, signals.mask_E
    if signals.gradients is None or domain_E is None:
      raise ValueError('the signals lack gradients or domain')
    num_domains = len(state['gain_M'])
    member_ExM = domain_weights.membership(domain_E, mask_E, num_domains)
    size_M = jnp.sum(member_ExM, axis=0).astype(jnp.float32)
    mean_ExM = member_ExM / jnp.maximum(size_M, 1.0)
    # HIGHEST: accelerators otherwise round float32 operands to bfloat16.
    gram_MxM = jnp.einsum(
      'em,ef,fn->mn',
      mean_ExM,
      jnp.where(mask_E[:, None] & mask_E, signals.gradients.gram(), 0.0),
      mean_ExM,
      precision=jax.lax.Precision.HIGHEST,
    )
    present_M = size_M > 0
    if to_anchors:
      anchor = state['anchor_gradient']
      product_E = jnp.where(mask_E, signals.gradients.dot(anchor), 0.0)
      product_M = jnp.dot(
        product_E, mean_ExM, precision=jax.lax.Precision.HIGHEST
      )
      gain_M = domain_gains.to_anchors(
        product_M, _norm(anchor), gram_MxM, present_M, formula
      )
      known_M = present_M
    else:
      gain_M, known_M = domain_gains.to_domains(gram_MxM, present_M, formula)
    state = domain_weights.update(
      state,
      gain_M,
      known_M & jnp.isfinite(gain_M),
      size_M,
      step_size=step_size,
      smoothing=smoothing,
    )
    weights_E = domain_weights.example_weights(
      state, member_ExM, mask_E, mask_E.astype(jnp.float32)
    )
    return weights_E, state, domain_weights.info_of(state, member_ExM)

  return Weighting(
    init=init,
    update=update,
    refresh=refresh if to_anchors else None,
    refresh_interval=refresh_interval,
    needs=frozenset({'gradients', 'domain'}),
    anchor_needs=frozenset({'mean_gradient'} if to_anchors else ()),
    batch_coupled=True,
    tally=Tally(domain_weights.read, domain_weights.between),
  )


def _norm(gradient: Params) -> jax.Array:
  squares = jax.tree.map(lambda g: jnp.sum(g**2), gradient)
  return jnp.sqrt(jax.tree.reduce(jnp.add, squares, jnp.float32(0)))
