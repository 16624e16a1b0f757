import jax.numpy as jnp
import numpy as np

from jaxcurate.types import Signals, TrainingShapes
from jaxcurate.weightings import uniform


def test_real_examples_weigh_one_and_masked_zero():
  weighting = uniform.make()
  mask = jnp.array([True, False, True])
  weights, state, info = weighting.update(
    Signals(mask_E=mask, step=jnp.int32(1)), weighting.init(TrainingShapes(8))
  )
  np.testing.assert_array_equal(weights, [1.0, 0.0, 1.0])
  assert state == {}
  assert info == {}


def test_it_asks_for_nothing():
  weighting = uniform.make()
  assert not weighting.needs
  assert weighting.refresh is None
  assert not weighting.batch_coupled
