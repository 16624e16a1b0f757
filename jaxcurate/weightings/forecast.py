"""How the anchors' loss was to change between two refreshes, and how it did.

Filter-then-Weight chooses by what it predicts of the anchors' loss; whether
that comes true is worth a look. Predictions are of first order, with the
gradient of the last refresh and the optimizer's state held: they sum up
-learning rate * <gradient, update> and leave out curvature, weight decay and
clipping.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxcurate.types import State


def init() -> State:
  """No refresh yet."""
  return {
    'refreshes': jnp.int32(0),
    'loss': jnp.float32(0),
    'change': jnp.float32(0),
    'predicted': jnp.float32(0),
    'realised': jnp.float32(0),
  }


def add(state: State, change: Float[Array, '']) -> State:
  """Adds a step.

  Args:
    state: of `init`.
    change: [] float32, the step's predicted change of the loss; one that is
      not finite counts as 0.
  """
  change = jnp.where(jnp.isfinite(change), change, 0.0)
  return {**state, 'change': state['change'] + change}


def end(state: State, loss: Float[Array, '']) -> State:
  """Ends an interval at a refresh and begins the next.

  Args:
    state: of `init`.
    loss: [] float32, the anchors' mean loss now. Where it is not finite the
      interval goes on.

  >>> state = end(init(), jnp.float32(5.0))
  >>> state = end(add(state, jnp.float32(-0.5)), jnp.float32(4.75))
  >>> {name: float(value) for name, value in describe(state).items()}
  {'predicted_change': -0.5, 'realised_change': -0.25}
  """
  known = state['refreshes'] > 0
  new = {
    'refreshes': state['refreshes'] + 1,
    'loss': loss.astype(jnp.float32),
    'change': jnp.float32(0),
    'predicted': jnp.where(known, state['change'], 0.0),
    'realised': jnp.where(known, loss - state['loss'], 0.0),
  }
  finite = jnp.isfinite(loss)
  return jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, state)


def describe(state: State) -> dict[str, Float[Array, '']]:
  """Both changes over the last interval that has ended, 0 before; for the log.

  In nats per target token (under the reduction 'examples', of the examples'
  mean losses); below 0 where the loss falls.
  """
  return {
    'predicted_change': state['predicted'],
    'realised_change': state['realised'],
  }
