import dataclasses

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.models import parameters, stacks, t5

TOKENS = jnp.array([[3, 4, 5, 6, 0, 0], [7, 8, 9, 3, 4, 5]])
SEGMENTS = jnp.array([[1, 1, 2, 2, 0, 0], [1, 1, 1, 2, 2, 2]])


def _loss(config, params, key=None):
  network = t5.make_network(config)
  encoded = network.encode(params, TOKENS, SEGMENTS, dropout_key=key)
  states = network.decode(
    params, encoded, SEGMENTS, TOKENS, SEGMENTS, dropout_key=key
  )
  return jnp.sum((states * (SEGMENTS > 0)[..., None]) ** 2)


def _sown(config, params, rngs=None):
  @jax.jit
  def encode(params):
    return stacks.T5(config).apply(
      {'params': params},
      TOKENS,
      SEGMENTS,
      rngs is None,
      method='encode',
      mutable=['intermediates'],
      rngs=rngs,
    )[1]['intermediates']

  return encode(params)


def test_scan_and_remat_change_nothing(make_config, strong):
  plain = make_config(num_encoder_layers=2, num_decoder_layers=2)
  params = strong(t5.make_network(plain))
  scanned = dataclasses.replace(plain, scan_layers=True, remat=True)

  @jax.jit
  def run(params, stacked):
    return (
      jax.value_and_grad(lambda p: _loss(plain, p))(params),
      jax.value_and_grad(lambda p: _loss(scanned, p))(stacked),
    )

  expected, found = run(params, parameters.stack_layers(params))
  np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(
      a, b, atol=1e-4 * float(abs(b).max())
    ),
    parameters.unstack_layers(found[1]),
    expected[1],
  )


@pytest.mark.parametrize('scan', [False, True])
def test_initial_trees_have_t5x_s_names(make_config, scan):
  network = t5.make_network(
    make_config(num_encoder_layers=2, num_decoder_layers=2, scan_layers=scan)
  )
  shapes = jax.eval_shape(network.init, jax.random.key(0))
  names = {'/'.join(p): s.shape for p, s in parameters.flatten(shapes).items()}
  if not scan:
    assert names['encoder/layers_1/attention/out/kernel'] == (16, 16)
    assert names['encoder/layers_0/pre_attention_layer_norm/scale'] == (16,)
    assert names['decoder/layers_0/self_attention/query/kernel'] == (16, 16)
    assert names['decoder/layers_1/encoder_decoder_attention/key/kernel']
    assert names['decoder/layers_0/pre_self_attention_layer_norm/scale']
    assert names['decoder/layers_0/pre_cross_attention_layer_norm/scale']
    assert names['decoder/layers_0/pre_mlp_layer_norm/scale']
    assert names['decoder/layers_0/mlp/wi_1/kernel'] == (16, 20)
  else:
    assert names['encoder/layers/attention/out/kernel'] == (2, 16, 16)
  assert names['token_embedder/embedding'] == (24, 16)
  assert names['encoder/relpos_bias/rel_embedding'] == (2, 32)
  assert names['encoder/encoder_norm/scale'] == (16,)
  assert names['decoder/decoder_norm/scale'] == (16,)
  assert names['decoder/logits_dense/kernel'] == (16, 24)
  # Six outside the layers; 9 in an encoder layer, 14 in a decoder layer.
  assert len(names) == 6 + (1 if scan else 2) * (9 + 14)


def test_interceptors_can_sow_in_scanned_layers(make_config, strong):
  config = make_config(num_encoder_layers=2, scan_layers=True)
  params = strong(t5.make_network(config))

  def sow_inputs(next_call, args, kwargs, context):
    if context.module.name == 'wo' and context.method_name == '__call__':
      context.module.sow('intermediates', 'input', args[0])
    return next_call(*args, **kwargs)

  with nn.intercept_methods(sow_inputs):
    sown = _sown(config, params)
  (found,) = sown['encoder']['layers']['mlp']['wo']['input']
  assert found.shape == (2, 2, 6, 20)  # layer, row, token, hidden
  assert abs(found[0] - found[1]).max() > 0


def test_dropout_only_with_a_key(make_config, strong):
  network = t5.make_network(make_config(dropout_rate=0.5))
  params = strong(network)
  keys = jax.random.split(jax.random.key(0))
  plain = jax.jit(lambda p: network.encode(p, TOKENS, SEGMENTS))(params)
  dropped = jax.jit(
    lambda p, key: network.encode(p, TOKENS, SEGMENTS, dropout_key=key)
  )
  np.testing.assert_array_equal(
    dropped(params, keys[0]), dropped(params, keys[0])
  )
  assert (dropped(params, keys[0]) != dropped(params, keys[1])).any()
  assert (plain != 0).all()
  assert 0.2 < (dropped(params, keys[0]) == 0).mean() < 0.8


def test_scanned_layers_drop_differently(make_config, strong):
  config = make_config(num_encoder_layers=2, dropout_rate=0.5, scan_layers=True)
  params = strong(t5.make_network(config))

  def sow_kept(next_call, args, kwargs, context):
    result = next_call(*args, **kwargs)
    if isinstance(context.module, nn.Dropout):
      context.module.sow('intermediates', 'kept', result != 0)
    return result

  with nn.intercept_methods(sow_kept):
    sown = _sown(config, params, rngs={'dropout': jax.random.key(0)})
  mlp = sown['encoder']['layers']['mlp']
  (kept,) = mlp['Dropout_0']['kept']
  assert (kept[0] != kept[1]).any()
