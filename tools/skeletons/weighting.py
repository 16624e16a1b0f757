"""One sentence: which examples count more. A second one: how it is computed.

Title of the paper (arXiv 0000.00000), section 0. Ours: what we changed, and
why. (This skeleton is complete: it prefers examples whose loss is near its
running mean.) The weights are absolute: their scale is meant.
"""

import jax
import jax.numpy as jnp

from jaxcurate.types import Signals, State, TrainingShapes, Weighting


def make(*, width: float = 1.0, decay: float = 0.99) -> Weighting:
  """w_i = exp(-((loss_i - running mean) / width)^2 / 2).

  Args:
    width: > 0, in nats per token.
    decay: of the running mean, in [0, 1).

  Raises:
    ValueError: a setting is out of its range.
  """
  if width <= 0 or not 0 <= decay < 1:
    raise ValueError(
      f'width is {width} and decay {decay}; expected width > 0, 0 <= decay < 1'
    )

  def init(shapes: TrainingShapes) -> State:
    del shapes
    # State: what the next step needs. Info (below): what people look at.
    return {'mean': jnp.zeros(()), 'num_updates': jnp.zeros((), jnp.int32)}

  def update(signals: Signals, state: State) -> tuple[jax.Array, State, dict]:
    mask_E, loss_E = signals.mask_E, signals.loss_E
    if loss_E is None:
      raise ValueError('the signals lack loss')
    # Masked losses may be anything: replace them before any arithmetic.
    loss_E = jnp.where(mask_E, loss_E, 0.0)
    batch_mean = jnp.sum(loss_E) / jnp.maximum(jnp.sum(mask_E), 1)
    mean = jnp.where(state['num_updates'] > 0, state['mean'], batch_mean)
    weights_E = jnp.exp(-0.5 * ((loss_E - mean) / width) ** 2)
    new_mean = decay * mean + (1 - decay) * batch_mean
    any_real = jnp.any(mask_E)
    state = {
      'mean': jnp.where(any_real, new_mean, state['mean']),
      'num_updates': state['num_updates'] + any_real,
    }
    info = {'mean_loss': mean}
    return jax.lax.stop_gradient(jnp.where(mask_E, weights_E, 0.0)), state, info

  return Weighting(
    init=init,
    update=update,
    needs=frozenset({'loss'}),
    # The running mean reads the whole batch; a rule that looks at each row
    # alone says False, and costs nothing under gradient accumulation.
    batch_coupled=True,
  )
