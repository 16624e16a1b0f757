"""Filter-then-Weight: examples whose weighted update comes nearest a target's.

What the optimizer would make of the batch under weights w is compared with the
update that would help the anchors most, given the optimizer's state (see
`ops/update_matching.py`). Stage 1 keeps a share of the examples, stage 2 solves
for their bounded weights. "Two-Stage Optimizer-Aware Online Data Selection for
Large Language Models" (arXiv 2604.00001).

The paper's equations, batch sizes, weight bound and ridge could not be read:
the formulation is derived from its abstract and Figure 1, and the numbers below
are ours. An example's gradient is that of its mean loss under the reduction
'examples' of the step, and in proportion to its length under 'tokens'. Figure
1's ablations by setting:
* Hard Filter, as we take it: filter = 'topk' and reweight = False;
* Optimizer-Aware Filter Only: reweight = False;
* Vanilla Filter Only: optimizer_aware = False and reweight = False;
* Vanilla Filter + Reweight: optimizer_aware = False;
* Unbounded Weight: max_weight = None;
* Token-Level Score, as we take it: level = 'tokens' (`token_alignment.py`).

The weights of the kept examples sum to their number unless `fixed_total` is
False. Matching a noisy gradient of many dimensions by least squares shrinks all
weights towards 0, since the examples' gradients are nearly orthogonal to the
target: a lower learning rate in all but name. Of that solution only the ratios
say which examples help. With the sum fixed an example need not be better than
none, only than the others: the full share is kept.

Uniform weights stand in, and are counted, where the target or the examples'
products are zero or not finite and where no example points towards the target
(with a free sum: towards what momentum leaves of it); not counted, where fewer
than `warmup_updates` formed the optimizer's moments.
"""

from typing import Literal

import jax
import jax.numpy as jnp

from jaxcurate.ops import bounded_nnls, subset_filters, update_matching
from jaxcurate.ops.keep_top import most_kept, share_count
from jaxcurate.types import Signals, State, TrainingShapes, Weighting
from jaxcurate.weightings import forecast, target_gradient, token_alignment

FILTERS = ('topk', 'greedy', 'greats')


def make(
  *,
  keep: float = 0.5,
  level: Literal['examples', 'tokens'] = 'examples',
  filter: Literal['topk', 'greedy', 'greats'] = 'greedy',
  optimizer_aware: bool = True,
  reweight: bool = True,
  max_weight: float | None = 4.0,
  fixed_total: bool = True,
  ridge: float = 1e-3,
  curvature: update_matching.Curvature = 'preconditioner',
  target_scale: float | None = None,
  target_decay: float = 0.0,
  refresh_interval: int = 50,
  warmup_updates: int = 100,
  iterations: int = 100,
) -> Weighting:
  """Keeps ceil(keep n) of n examples; their weights minimise |u(w) - u*|^2.

  The loss is sum_i w_i loss_i / k: weights of 1 are plain training on the k
  examples that are kept.

  Args:
    keep: share of the real examples, in (0, 1]; 1 skips the filter.
    level: 'tokens' keeps that share of the real targets instead, each by its
      own alignment; there is no stage 2, and of these settings only
      `optimizer_aware`, `fixed_total`, `target_decay`, `refresh_interval` and
      `warmup_updates` then have an effect.
    filter: stage 1, see `ops/subset_filters.py`: by alignment, by matching
      pursuit, or by marginal gain with unit weights.
    optimizer_aware: False takes plain gradient descent for the optimizer.
    reweight: False gives kept examples weight 1.
    max_weight: > 0, with `fixed_total` >= 1; None for no bound.
    fixed_total: whether the weights of the k kept examples sum to k, so that
      the step is as long as that of uniform training on k examples.
    ridge: >= 0, draws the weights to 1; a share of the mean squared length of
      the examples' contributions.
    curvature: 'preconditioner' or 'identity', of the target's loss.
    target_scale: > 0, curvature times learning rate; None: the target's update
      is as long as that of uniform weights.
    target_decay: in [0, 1), of a running mean of the anchors' gradient.
    refresh_interval: >= 1 steps between two gradients of the anchors.
    warmup_updates: >= 0, of the optimizer; no effect without optimizer_aware.
    iterations: >= 1, of the solver in stage 2; a tenth of it, rounded up,
      after each choice of 'greedy'.

  Raises:
    ValueError: a setting is unknown or out of its range.
  """
  target_gradient.check(
    keep=keep, refresh_interval=refresh_interval, target_decay=target_decay
  )
  if filter not in FILTERS:
    raise ValueError(f'filter is {filter!r}, expected one of {FILTERS}')
  if max_weight is not None and max_weight <= 0:
    raise ValueError(f'max_weight is {max_weight}, expected above 0 or None')
  if fixed_total and max_weight is not None and max_weight < 1:
    raise ValueError(
      f'max_weight is {max_weight}, expected at least 1: the mean weight is 1'
      ' unless fixed_total = False'
    )
  if ridge < 0 or warmup_updates < 0 or iterations < 1:
    raise ValueError(
      f'ridge is {ridge}, warmup_updates {warmup_updates} and iterations'
      f' {iterations}; expected at least 0, 0 and 1'
    )
  update_matching.check(curvature=curvature, scale=target_scale)
  if level not in ('examples', 'tokens'):
    raise ValueError(f"level is {level!r}, expected 'examples' or 'tokens'")
  if level == 'tokens':
    return token_alignment.of_tokens(
      keep=keep,
      fill=fixed_total,
      optimizer_aware=optimizer_aware,
      target_decay=target_decay,
      refresh_interval=refresh_interval,
      warmup_updates=warmup_updates,
    )
  most = most_kept(keep)

  def choose(
    found: update_matching.UpdateMatch,
    mask_E: jax.Array,
    size: jax.Array,
    absolute_ridge: jax.Array,
  ) -> jax.Array:
    if keep == 1:
      return mask_E
    given = (found.gram_ExE, found.linear_E, mask_E, size)
    if filter == 'topk':
      chosen_E = subset_filters.topk(
        *given, ridge=absolute_ridge, fill=fixed_total
      )
    elif filter == 'greats':
      chosen_E = subset_filters.greats(
        *given,
        tolerance=-jnp.inf if fixed_total else 0.0,
        most=most(len(mask_E)),
      )
    else:
      chosen_E, _ = subset_filters.greedy(
        *given,
        ridge=absolute_ridge,
        upper=max_weight,
        iterations=-(-iterations // 10),
        fill=fixed_total,
        most=most(len(mask_E)),
      )
    return jnp.where(size >= jnp.sum(mask_E), mask_E, chosen_E)

  def update(signals: Signals, state: State) -> tuple[jax.Array, State, dict]:
    mask_E, known = signals.mask_E, None
    if optimizer_aware:
      known = signals.preconditioner
      if known is None:
        raise ValueError('the signals lack preconditioner')
    if signals.gradients is None:
      raise ValueError('the signals lack gradients')
    count = jnp.sum(mask_E)
    size = share_count(keep, count)
    found = update_matching.match(
      signals.gradients,
      state['target'],
      mask_E,
      jnp.maximum(size, 1),
      known,
      curvature=curvature,
      scale=target_scale,
    )
    absolute_ridge = ridge * jnp.trace(found.gram_ExE) / jnp.maximum(count, 1)
    chosen_E = choose(found, mask_E, size, absolute_ridge)
    solved_E = chosen_E.astype(jnp.float32)
    if reweight:
      solved_E = bounded_nnls.solve(
        found.gram_ExE,
        found.linear_E,
        chosen_E,
        ridge=absolute_ridge,
        upper=max_weight,
        total=jnp.sum(solved_E) if fixed_total else None,
        iterations=iterations,
      )
    towards_E = found.target_E if fixed_total else found.linear_E
    valid = (
      found.valid
      & jnp.any(towards_E > 0)
      & jnp.any(solved_E > 0)
      & jnp.all(jnp.isfinite(solved_E))
    )
    warm = jnp.bool_(True)
    if known is not None:
      warm = known.updates >= warmup_updates
    weights_E = target_gradient.subset_weights(
      jnp.where(valid, solved_E, 0.0), mask_E, size, valid & warm
    )
    fell_back = warm & ~valid & (count > 0)
    state = {**state, 'fallbacks': state['fallbacks'] + fell_back}
    uniform_E = mask_E * (size / jnp.maximum(count, 1))
    used_E = weights_E * (size / jnp.maximum(count, 1))
    at_bound_E = used_E <= 0
    if max_weight is not None:
      at_bound_E |= used_E >= max_weight
    number = jnp.maximum(jnp.sum(chosen_E), 1)
    if known is not None:
      change = update_matching.target_change(found, used_E, known.learning_rate)
      state = {**state, 'forecast': forecast.add(state['forecast'], change)}
    info = {
      **target_gradient.describe(weights_E, state),
      'cosine': update_matching.cosine(found, used_E),
      'predicted_gain': update_matching.misfit(found, uniform_E)
      - update_matching.misfit(found, used_E),
      'at_bounds': jnp.sum(chosen_E & at_bound_E) / number,
    }
    if optimizer_aware:
      info |= forecast.describe(state['forecast'])
    return weights_E, state, info

  def init(shapes: TrainingShapes) -> State:
    state = target_gradient.init(shapes)
    return state | ({'forecast': forecast.init()} if optimizer_aware else {})

  def refresh(signals: Signals, state: State) -> State:
    state = target_gradient.refresh(signals, state, target_decay)
    if not optimizer_aware:
      return state
    if signals.mean_loss is None:
      raise ValueError('the signals lack mean_loss')
    ended = forecast.end(state['forecast'], signals.mean_loss)
    return {**state, 'forecast': ended}

  needs, anchor_needs = {'gradients'}, {'mean_gradient'}
  if optimizer_aware:
    needs.add('preconditioner')
    anchor_needs.add('mean_loss')
  return Weighting(
    init=init,
    update=update,
    refresh=refresh,
    refresh_interval=refresh_interval,
    needs=frozenset(needs),
    anchor_needs=frozenset(anchor_needs),
    batch_coupled=True,
    most_kept=most,
  )
