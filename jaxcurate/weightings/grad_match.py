"""GRAD-MATCH: a weighted subset whose mean gradient is that of the anchors.

Orthogonal matching pursuit on |sum_i w_i g_i - g*|^2 + lambda |w|^2, w >= 0:
the example of the largest residual alignment is added, and the weights of all
that were chosen are solved for. GRAD-MATCH (arXiv 2103.00123), online: a batch
is the pool, the anchors' gradient the target.

As in the authors' code (decile-team/cords) the loss is divided by the sum of
the weights, so that only their ratios count; its lambda of 0.5 is in units of
squared gradients, ours is a share of their mean square.
"""

import jax
import jax.numpy as jnp

from jaxcurate.ops import bounded_nnls, subset_filters
from jaxcurate.ops.keep_top import most_kept, share_count
from jaxcurate.types import Signals, State, Weighting
from jaxcurate.weightings import target_gradient

TOLERANCE = 1e-4  # the code's; ours is of the residual's products with g_i


def make(
  *,
  keep: float = 0.5,
  ridge: float = 0.5,
  refresh_interval: int = 50,
  target_decay: float = 0.0,
  iterations: int = 100,
) -> Weighting:
  """Weights of mean 1 over real examples; at most ceil(keep n) are above 0.

  Uniform weights stand in, and are counted, where the products are not finite
  and where no example points towards the target.

  Args:
    keep: share of the real examples, in (0, 1].
    ridge: >= 0, lambda over the mean of <g_i, g_i>.
    refresh_interval: >= 1 steps between two gradients of the anchors.
    target_decay: in [0, 1), of a running mean of the anchors' gradient.
    iterations: >= 1, of the last solve; a tenth of it, rounded up, after each
      choice.

  Raises:
    ValueError: a setting is out of its range.
  """
  target_gradient.check(
    keep=keep, refresh_interval=refresh_interval, target_decay=target_decay
  )
  most = most_kept(keep)
  if ridge < 0 or iterations < 1:
    raise ValueError(
      f'ridge is {ridge} and iterations {iterations}; expected at least 0 and 1'
    )

  def update(signals: Signals, state: State) -> tuple[jax.Array, State, dict]:
    mask_E = signals.mask_E
    if signals.gradients is None:
      raise ValueError('the signals lack gradients')
    pair_ExE = mask_E[:, None] & mask_E[None, :]
    gram_ExE, dots_KxE = signals.gradients.products([state['target']])
    gram_ExE = jnp.where(pair_ExE, gram_ExE, 0.0)
    linear_E = jnp.where(mask_E, dots_KxE[0], 0.0)
    finite = jnp.all(jnp.isfinite(gram_ExE)) & jnp.all(jnp.isfinite(linear_E))
    count = jnp.sum(mask_E)
    absolute_ridge = ridge * jnp.trace(gram_ExE) / jnp.maximum(count, 1)
    chosen_E, first_E = subset_filters.greedy(
      gram_ExE,
      linear_E,
      mask_E,
      share_count(keep, count),
      ridge=absolute_ridge,
      tolerance=TOLERANCE,
      iterations=-(-iterations // 10),
      by_length=False,
      most=most(len(mask_E)),
    )
    solved_E = bounded_nnls.solve(
      gram_ExE,
      linear_E,
      chosen_E,
      ridge=absolute_ridge,
      center=0.0,
      iterations=iterations,
      start_E=first_E,
    )
    total = jnp.sum(solved_E)
    # Weights that sum to 1: a subset of size 1, as the scale goes.
    return target_gradient.finish(
      solved_E / jnp.where(total > 0, total, 1.0),
      mask_E,
      jnp.int32(1),
      finite & (total > 0),
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
