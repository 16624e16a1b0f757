import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxcurate.train import optimizers
from jaxcurate.train.state import init_state
from jaxcurate.train.step import make_train_step
from jaxcurate.weightings import rho_1


def test_weights_of_tokens_reach_the_gradient(tiny):
  network, batch = tiny.make_network(), tiny.make_batch(0)
  params = jax.jit(network.init)(jax.random.key(0))
  reference = jax.jit(network.init)(jax.random.key(1))
  real = batch['decoder_segment_ids'] > 0

  @jax.jit
  def losses(p):
    encoded = network.encode(
      p, batch['encoder_input_tokens'], batch['encoder_segment_ids']
    )
    decoded = network.decode(
      p,
      encoded,
      batch['encoder_segment_ids'],
      batch['decoder_input_tokens'],
      batch['decoder_segment_ids'],
    )
    return optax.softmax_cross_entropy_with_integer_labels(
      decoded @ network.head(p), batch['decoder_target_tokens']
    )

  excess = np.asarray(losses(params) - losses(reference), np.float64)
  kept = int(np.ceil(0.6 * real.sum()))
  keep = real & (excess >= np.sort(excess[real])[-kept])
  assert keep.sum() == kept < real.sum()
  gradient = jax.jit(jax.grad(lambda p: jnp.sum(losses(p), where=keep) / kept))(
    params
  )
  transform = optax.sgd(0.1)
  optimizer = optimizers.Optimizer(
    transform.init, transform.update, lambda step: 0.1
  )
  weighting = rho_1.make()
  step = make_train_step(
    network,
    optimizer,
    weighting,
    max_segments=2,
    z_loss=0.0,
    reference=network,
  )
  state = init_state(network, optimizer, weighting, params=params)
  state, metrics = step(state, batch, None, reference)
  for name, leaf in params.items():
    expected = leaf - 0.1 * gradient[name]
    error = np.linalg.norm(state.params[name] - expected)
    assert error <= 1e-6 * np.linalg.norm(expected)
  assert float(metrics['weights/kept']) == kept
  np.testing.assert_allclose(metrics['weights/mean'], 1.0, rtol=1e-6)
