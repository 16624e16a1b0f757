"""Every example weighs 1: plain training, the baseline of all weightings."""

import jax
import jax.numpy as jnp

from jaxcurate.types import Signals, State, Weighting


def make() -> Weighting:
  """Weights of 1 for real examples, 0 for padding; nothing is computed.

  >>> import jax
  >>> from jaxcurate.types import TrainingShapes
  >>> weighting = make()
  >>> signals = Signals(mask_E=jnp.array([True, False]), step=jnp.int32(1))
  >>> state = weighting.init(TrainingShapes(width=4))
  >>> weighting.update(signals, state)[0].tolist()
  [1.0, 0.0]
  """
  return Weighting(init=lambda shapes: {}, update=_update)


def _update(signals: Signals, state: State) -> tuple[jax.Array, State, dict]:
  return signals.mask_E.astype(jnp.float32), state, {}
