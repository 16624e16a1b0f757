"""GREATS: a greedy subset by alignment with the anchors, less redundancy.

To second order, a step of plain gradient descent on a subset S lowers the
anchors' loss by sum_S lr <g_i, g*> - lr^2 sum_S sum_S <g_i, g_j> / 2, with the
identity for the Hessian; examples are added one by one by what they bring.
GREATS (NeurIPS 2024; github.com/Jiachen-T-Wang/GREATS, greedy_selection and
gctrainer.py), which leaves an example's own <g_i, g_i> out and always keeps
the full number, as we do.

g_i is the gradient of an example's own mean loss under the reduction 'examples'
of the step, and in proportion to its length under 'tokens'. With the small
learning rates of adaptive optimizers the second term is nearly 0 and the rule
that of `tracin`; give a larger `learning_rate` for more diversity.
"""

import jax
import jax.numpy as jnp

from jaxcurate.ops import subset_filters
from jaxcurate.ops.keep_top import most_kept, share_count
from jaxcurate.types import Signals, State, Weighting
from jaxcurate.weightings import target_gradient


def make(
  *,
  keep: float = 0.5,
  learning_rate: float | None = None,
  refresh_interval: int = 1,
  target_decay: float = 0.0,
) -> Weighting:
  """Keeps ceil(keep n) of n examples, each of weight n / ceil(keep n).

  Uniform weights stand in, and are counted, where the target or the examples'
  products are zero or not finite.

  Args:
    keep: share of the real examples, in (0, 1].
    learning_rate: > 0, lr; None: the optimizer's of the coming update.
    refresh_interval: >= 1 steps between two gradients of the anchors.
    target_decay: in [0, 1), of a running mean of the anchors' gradient.

  Raises:
    ValueError: a setting is out of its range.
  """
  target_gradient.check(
    keep=keep, refresh_interval=refresh_interval, target_decay=target_decay
  )
  most = most_kept(keep)
  if learning_rate is not None and learning_rate <= 0:
    raise ValueError(
      f'learning_rate is {learning_rate}, expected above 0 or None'
    )

  def update(signals: Signals, state: State) -> tuple[jax.Array, State, dict]:
    mask_E, rate = signals.mask_E, learning_rate
    if signals.gradients is None:
      raise ValueError('the signals lack gradients')
    if rate is None:
      if signals.preconditioner is None:
        raise ValueError('the signals lack preconditioner')
      rate = signals.preconditioner.learning_rate
    pair_ExE = mask_E[:, None] & mask_E[None, :]
    gram_ExE, dots_KxE = signals.gradients.products([state['target']])
    gram_ExE = jnp.where(pair_ExE, gram_ExE, 0.0)
    linear_E = jnp.where(mask_E, dots_KxE[0], 0.0)
    size = share_count(keep, jnp.sum(mask_E))
    finite = jnp.all(jnp.isfinite(gram_ExE)) & jnp.all(jnp.isfinite(linear_E))
    chosen_E = subset_filters.greats(
      rate**2 * gram_ExE,
      rate * linear_E,
      mask_E,
      size,
      own_share=0.0,
      tolerance=-jnp.inf,
      most=most(len(mask_E)),
    )
    return target_gradient.finish(
      chosen_E.astype(jnp.float32),
      mask_E,
      size,
      finite & jnp.any(linear_E != 0),
      state,
    )

  def refresh(signals: Signals, state: State) -> State:
    return target_gradient.refresh(signals, state, target_decay)

  needs = {'gradients'} | (set() if learning_rate else {'preconditioner'})
  return Weighting(
    init=target_gradient.init,
    update=update,
    refresh=refresh,
    refresh_interval=refresh_interval,
    needs=frozenset(needs),
    anchor_needs=frozenset({'mean_gradient'}),
    batch_coupled=True,
    most_kept=most,
  )
