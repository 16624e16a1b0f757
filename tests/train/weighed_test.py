"""What a weighting makes of a batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.train import weighed
from jaxcurate.types import Signals, Weighting

BATCH = {
  'decoder_target_tokens': jnp.ones((2, 3), jnp.int32),
  'decoder_segment_ids': jnp.array([[1, 2, 2], [1, 0, 0]]),
}
SIGNALS = Signals(
  mask_E=jnp.array([True, False, True, False]), step=jnp.int32(1)
)


def weigh(weights, needs=()):
  def update(signals, state):
    return weights, state + 1, {'params': signals.params}

  rule = Weighting(lambda shapes: 0, update, needs=frozenset(needs))
  offered = {'params': jnp.float32(7), 'batch': BATCH}
  return weighed.weigh(rule, SIGNALS, 4, BATCH, offered)


def test_masked_examples_weigh_nothing():
  found = weigh(jnp.array([0.5, jnp.nan, 2.0, 7.0]))
  np.testing.assert_array_equal(found.weights, [0.5, 0, 2, 0])
  assert found.weighting_state == 5
  info = found._replace(info={'a': 1.0})
  metrics = weighed.weight_metrics(info, SIGNALS.mask_E, BATCH)
  assert {name: float(value) for name, value in metrics.items()} == {
    'weights/mean': 1.25,
    'weights/std': 0.75,
    'weights/min': 0.5,
    'weights/max': 2.0,
    'weights/a': 1.0,
  }


def test_masked_examples_targets_weigh_nothing():
  found = weigh(jnp.array([[0.5, jnp.nan, 9.0], [2.0, 7.0, 7.0]]))
  np.testing.assert_array_equal(found.weights, [[0.5, 0, 0], [2, 0, 0]])
  metrics = weighed.weight_metrics(
    found._replace(info={}), SIGNALS.mask_E, BATCH
  )
  # Over all targets, also those of examples that do not count.
  np.testing.assert_allclose(metrics['weights/mean'], 2.5 / 4)
  assert metrics['weights/min'] == 0


def test_a_weighting_is_given_what_it_needs():
  ones = jnp.ones(4)
  assert weigh(ones).info == {'params': None}
  assert weigh(ones, ['params']).info == {'params': 7}


def test_no_gradient_flows_through():
  def loss(scale):
    found = weigh(scale * jnp.ones(4))
    return jnp.sum(found.weights * scale)

  np.testing.assert_allclose(jax.grad(loss)(2.0), 2 * 2.0)


def test_weights_of_another_shape_are_refused():
  with pytest.raises(ValueError, match=r'\(3,\), expected \(4,\).*\(2, 3\)'):
    weigh(jnp.ones(3))


def test_examples_without_finite_loss_are_not_padding():
  found = weighed.without_loss(SIGNALS.mask_E, BATCH)
  np.testing.assert_array_equal(found, [False, True, False, False])
  none = weighed.without_loss(jnp.zeros(4, bool), {
    **BATCH, 'decoder_segment_ids': jnp.zeros((2, 3), jnp.int32)
  })  # fmt: skip
  assert not none.any()
