import jax
import numpy as np
import pytest

from jaxcurate.models import parameters, t5, tensor_names


def test_names_by_hand():
  for path, name in {
    'token_embedder/embedding': 'shared.weight',
    'encoder/relpos_bias/rel_embedding': (
      'encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight'
    ),
    'encoder/layers_10/pre_mlp_layer_norm/scale': (
      'encoder.block.10.layer.1.layer_norm.weight'
    ),
    'decoder/layers_0/encoder_decoder_attention/out/kernel': (
      'decoder.block.0.layer.1.EncDecAttention.o.weight'
    ),
    'decoder/layers_2/mlp/wi_1/kernel': (
      'decoder.block.2.layer.2.DenseReluDense.wi_1.weight'
    ),
    'decoder/logits_dense/kernel': 'lm_head.weight',
  }.items():
    assert tensor_names.huggingface_name(tuple(path.split('/'))) == name


def test_every_parameter_has_a_name_of_its_own(make_config):
  for activations in (('relu',), ('gelu', 'linear')):
    network = t5.make_network(make_config(activations=activations))
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    paths = parameters.flatten(shapes)
    names = {tensor_names.huggingface_name(path) for path in paths}
    assert len(names) == len(paths)


def test_a_path_of_no_t5_is_refused():
  with pytest.raises(ValueError, match='projection/kernel'):
    tensor_names.huggingface_name(('projection', 'kernel'))


def test_turning_twice_is_nothing():
  array = np.arange(6).reshape(2, 3)
  for path in (('wo', 'kernel'), ('relpos_bias', 'rel_embedding'), ('scale',)):
    turned = tensor_names.turn(path, array)
    np.testing.assert_array_equal(tensor_names.turn(path, turned), array)
  assert tensor_names.turn(('wo', 'kernel'), array).shape == (3, 2)
  assert tensor_names.turn(('scale',), array).shape == (2, 3)
