"""TracIn, online: the examples whose gradients point most along the anchors'.

One term of TracIn's sum over checkpoints, lr <g_i, g*> (arXiv 2002.08484), with
the present parameters as the checkpoint: to first order what a step of plain
gradient descent on example i takes off the anchors' loss. The learning rate is
the same for all examples of a step and changes no choice.
"""

import jax
import jax.numpy as jnp

from jaxcurate.ops.keep_top import keep_top, most_kept, share_count
from jaxcurate.types import Signals, State, Weighting
from jaxcurate.weightings import target_gradient


def make(
  *,
  keep: float = 0.5,
  refresh_interval: int = 1,
  target_decay: float = 0.0,
) -> Weighting:
  """Keeps ceil(keep n) of n examples, each of weight n / ceil(keep n).

  Uniform weights stand in, and are counted, where all products are zero or one
  is not finite.

  Args:
    keep: share of the real examples, in (0, 1].
    refresh_interval: >= 1 steps between two gradients of the anchors.
    target_decay: in [0, 1), of a running mean of the anchors' gradient.

  Raises:
    ValueError: a setting is out of its range.
  """
  target_gradient.check(
    keep=keep, refresh_interval=refresh_interval, target_decay=target_decay
  )
  most = most_kept(keep)

  def update(signals: Signals, state: State) -> tuple[jax.Array, State, dict]:
    mask_E = signals.mask_E
    if signals.gradients is None:
      raise ValueError('the signals lack gradients')
    score_E = jnp.where(mask_E, signals.gradients.dot(state['target']), 0.0)
    size = share_count(keep, jnp.sum(mask_E))
    return target_gradient.finish(
      keep_top(score_E, mask_E, size).astype(jnp.float32),
      mask_E,
      size,
      jnp.all(jnp.isfinite(score_E)) & jnp.any(score_E != 0),
      state,
    )

  def refresh(signals: Signals, state: State) -> State:
    return target_gradient.refresh(signals, state, target_decay)

  return Weighting(
    init=target_gradient.init,
    update=update,
    refresh=refresh,
    refresh_interval=refresh_interval,
    needs=frozenset({'gradients'}),
    anchor_needs=frozenset({'mean_gradient'}),
    batch_coupled=True,
    most_kept=most,
  )
