import jax
import jax.numpy as jnp
import numpy as np

from jaxcurate.weightings import forecast


def changes(state):
  found = forecast.describe(state)
  return float(found['predicted_change']), float(found['realised_change'])


def test_by_hand():
  add, end = jax.jit(forecast.add), jax.jit(forecast.end)
  state = end(add(forecast.init(), 9.0), jnp.float32(5.0))
  assert changes(state) == (0.0, 0.0)  # nothing was known before
  for change in (-0.25, 0.125, jnp.nan):
    state = add(state, change)
  assert changes(state) == (0.0, 0.0)  # not over yet
  state = end(state, jnp.float32(4.75))
  assert changes(state) == (-0.125, -0.25)
  # A loss that is not finite ends nothing.
  state = end(add(state, 0.5), jnp.float32(np.nan))
  assert changes(state) == (-0.125, -0.25)
  state = end(add(state, 0.5), jnp.float32(6.0))
  assert changes(state) == (1.0, 1.25)
