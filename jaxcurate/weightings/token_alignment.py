"""Weights of tokens by their own alignment with the anchors' gradient.

"Token-Level Score" of Filter-then-Weight's Figure 1 (arXiv 2604.00001) as we
take it, since its definition could not be read: instead of one weight per
example, the targets whose losses fall most along the update that the anchors
want weigh n / k and the others 0, as in Rho-1 (arXiv 2404.07965).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxcurate.ops import segments
from jaxcurate.ops.keep_top import keep_top, share_count
from jaxcurate.types import Signals, State, Weighting
from jaxcurate.weightings import target_gradient


def of_tokens(
  *,
  keep: float,
  fill: bool,
  optimizer_aware: bool,
  target_decay: float,
  refresh_interval: int,
  warmup_updates: int,
) -> Weighting:
  """The weighting; `filter_then_weight.make` has checked its settings.

  Args:
    keep: as for `weigh`.
    fill: as for `weigh`.
    optimizer_aware: as for `weigh`.
    target_decay: in [0, 1), of a running mean of the anchors' gradient.
    refresh_interval: >= 1 steps between two gradients of the anchors.
    warmup_updates: as for `weigh`.
  """

  def update(signals: Signals, state: State) -> tuple[Array, State, dict]:
    return weigh(
      signals,
      state,
      keep=keep,
      fill=fill,
      optimizer_aware=optimizer_aware,
      warmup_updates=warmup_updates,
    )

  def refresh(signals: Signals, state: State) -> State:
    return target_gradient.refresh(signals, state, target_decay)

  needs = {'token_gradients', 'token_loss', 'batch'}
  return Weighting(
    init=target_gradient.init,
    update=update,
    refresh=refresh,
    refresh_interval=refresh_interval,
    needs=frozenset(needs | ({'preconditioner'} if optimizer_aware else set())),
    anchor_needs=frozenset({'mean_gradient'}),
    batch_coupled=True,
  )


def weigh(
  signals: Signals,
  state: State,
  *,
  keep: float,
  fill: bool,
  optimizer_aware: bool,
  warmup_updates: int,
) -> tuple[Array, State, dict]:
  """w_t = n / k for the k = ceil(keep n) largest <grad l_t, P g*>, else 0.

  l_t is target t's natural-log loss, g* the anchors' gradient, P what the
  optimizer makes of a gradient: P g* points along the update that lowers the
  anchors' loss most, in the optimizer's metric. What momentum does already is
  left out: it would need the examples' products.

  Where no target has a product above 0, or one is not finite, all weigh 1, and
  it is counted; so they do, uncounted, before the warm-up is over.

  Args:
    signals: with 'token_gradients', 'token_loss', 'batch', and with
      `optimizer_aware` 'preconditioner'.
    state: of `target_gradient.init`.
    keep: in (0, 1].
    fill: whether targets with products up to 0 may make up the number.
    optimizer_aware: False: P = 1.
    warmup_updates: of the optimizer; no effect without `optimizer_aware`.

  Returns:
    ([B, T] float32 weights, state, info): `target_gradient.describe` and
    'aligned', the share of real targets with a product above 0.
  """
  if signals.token_gradients is None:
    raise ValueError('the signals lack token_gradients')
  if signals.target_mask_BxT is None or signals.batch is None:
    raise ValueError('the signals lack token_loss or batch')
  direction, warm = state['target'], jnp.bool_(True)
  if optimizer_aware:
    known = signals.preconditioner
    if known is None:
      raise ValueError('the signals lack preconditioner')
    direction = jax.tree.map(jnp.multiply, known.scale, direction)
    warm = known.updates >= warmup_updates
  ids_BxT = signals.batch['decoder_segment_ids']
  example_BxS = signals.mask_E.astype(jnp.float32).reshape(len(ids_BxT), -1)
  example_BxT = segments.segment_values(example_BxS, ids_BxT)
  real_BxT = signals.target_mask_BxT & (example_BxT > 0)
  score_BxT = jnp.where(real_BxT, signals.token_gradients.dot(direction), 0.0)
  useful_BxT = score_BxT > 0
  count = jnp.sum(real_BxT)
  size = share_count(keep, count)
  open_BxT = real_BxT if fill else useful_BxT
  kept_BxT = keep_top(score_BxT, open_BxT, jnp.minimum(size, jnp.sum(open_BxT)))
  valid = jnp.all(jnp.isfinite(score_BxT)) & jnp.any(useful_BxT)
  weights_BxT = kept_BxT * (count / jnp.maximum(size, 1))
  weights_BxT = jnp.where(valid & warm, weights_BxT, 1.0)
  weights_BxT = jnp.where(real_BxT, weights_BxT, 0.0)
  fell_back = warm & ~valid & (count > 0)
  state = {**state, 'fallbacks': state['fallbacks'] + fell_back}
  info = {
    **target_gradient.describe(weights_BxT.reshape(-1), state),
    'aligned': jnp.sum(useful_BxT) / jnp.maximum(count, 1),
  }
  return weights_BxT, state, info
