import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.train import forward as forwards
from jaxcurate.types import Weighting


def test_loss_weights_by_hand():
  ids = jnp.array([[1, 2, 0]])
  assert forwards.loss_weights({'decoder_segment_ids': ids}).tolist() == [
    [1.0, 1.0, 0.0]
  ]
  given = {
    'decoder_segment_ids': ids,
    'decoder_loss_weights': jnp.array([[0.5, 0.0, 1.0]]),
  }
  assert forwards.loss_weights(given).tolist() == [[0.5, 0.0, 0.0]]


def test_example_sums_by_hand():
  batch = {
    'decoder_segment_ids': jnp.array([[1, 1, 2, 0], [1, 0, 0, 0]]),
    'decoder_loss_weights': jnp.array([[1.0, 0, 1, 1], [1, 0, 0, 0]]),
  }
  values = jnp.array([[1.0, jnp.nan, 4, jnp.nan], [8, jnp.inf, 0, 0]])
  # Example 1 of row 0 has two targets, of which one counts.
  assert forwards.example_sums(values, batch, 2).tolist() == [
    1.0,
    4.0,
    8.0,
    0.0,
  ]


def test_only_what_is_needed_is_computed(tiny):
  network, batch = tiny.make_network(), tiny.make_batch(0)
  params = jax.eval_shape(network.init, jax.random.key(0))

  def decode(*args, **kwargs):
    raise AssertionError('the decoder ran')

  encoder_only = network._replace(decode=decode)
  outputs = jax.eval_shape(
    lambda p: forwards.forward(
      encoder_only, p, batch, loss=False, decoder=False
    ),
    params,
  )
  assert outputs.encoder_states_BxLxD.shape == (8, 12, 8)
  assert outputs.log_prob_BxT is None
  with pytest.raises(AssertionError, match='the decoder ran'):
    jax.eval_shape(lambda p: forwards.forward(encoder_only, p, batch), params)


def test_signals_against_numpy(tiny):
  network, batch = tiny.make_network(), tiny.make_batch(1)
  needs = frozenset({'loss', 'encoder_pooled', 'decoder_pooled'})

  @jax.jit
  def look(key):
    outputs = forwards.forward(network, network.init(key), batch)
    return outputs, forwards.make_signals(
      outputs, needs, batch, 2, jnp.int32(1)
    )

  outputs, signals = look(jax.random.key(0))
  ids = batch['decoder_segment_ids']
  encoder_ids = batch['encoder_segment_ids']
  for example, real in enumerate(np.asarray(signals.mask_E)):
    row, s = divmod(example, 2)
    own = ids[row] == s + 1
    assert real == own.any()
    if not real:
      assert float(signals.loss_E[example]) == 0.0
      assert not signals.decoder_pooled_ExD[example].any()
      continue
    nll = -np.asarray(outputs.log_prob_BxT)[row, own]
    np.testing.assert_allclose(signals.loss_E[example], nll.mean(), rtol=1e-5)
    rank = np.arange(1, own.sum() + 1)
    states = np.asarray(outputs.decoder_states_BxTxD)[row, own]
    np.testing.assert_allclose(
      signals.decoder_pooled_ExD[example],
      (rank @ states) / rank.sum(),
      atol=1e-5,
    )
    states = np.asarray(outputs.encoder_states_BxLxD)[row]
    np.testing.assert_allclose(
      signals.encoder_pooled_ExD[example],
      states[encoder_ids[row] == s + 1].mean(0),
      atol=1e-5,
    )


def test_nothing_is_offered_unasked(tiny):
  network, batch = tiny.make_network(), tiny.make_batch(1)
  params = jax.eval_shape(network.init, jax.random.key(0))

  def fields(params):
    outputs = forwards.forward(network, params, batch)
    signals = forwards.make_signals(
      outputs, frozenset(), batch, 2, jnp.int32(1)
    )
    return vars(signals)

  made = jax.eval_shape(fields, params)
  assert {k for k, v in made.items() if v is not None} == {'mask_E', 'step'}


def test_unknown_signals_are_named(tiny):
  weighting = Weighting(
    lambda width: 0, lambda *_: None, anchor_needs=frozenset({'gradients'})
  )
  with pytest.raises(ValueError, match='gradients'):
    forwards.check_needs(weighting, tiny.make_network())
