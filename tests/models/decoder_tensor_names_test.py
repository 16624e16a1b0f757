import jax
import pytest

from jaxcurate.models import decoder, parameters
from jaxcurate.models.decoder_tensor_names import huggingface_name


def test_names_by_hand():
  for path, name in {
    'token_embedder/embedding': 'embed_tokens.weight',
    'decoder/decoder_norm/scale': 'norm.weight',
    'decoder/logits_dense/kernel': 'lm_head.weight',
    'decoder/layers_10/self_attention/value/bias': (
      'layers.10.self_attn.v_proj.bias'
    ),
    'decoder/layers_2/self_attention/query_norm/scale': (
      'layers.2.self_attn.q_norm.weight'
    ),
    'decoder/layers_2/mlp/wi_0/kernel': 'layers.2.mlp.gate_proj.weight',
    'decoder/layers_0/pre_mlp_layer_norm/scale': (
      'layers.0.post_attention_layernorm.weight'
    ),
  }.items():
    assert huggingface_name(tuple(path.split('/'))) == name
  path = ('decoder', 'layers_0', 'pre_mlp_layer_norm', 'scale')
  found = huggingface_name(path, post_norms=True)
  assert found == 'layers.0.pre_feedforward_layernorm.weight'


@pytest.mark.parametrize('post_norms', [False, True])
def test_every_parameter_has_a_name_of_its_own(make_decoder_config, post_norms):
  config = make_decoder_config(
    qkv_bias=True, qk_norm=True, post_norms=post_norms
  )
  network = decoder.make_network(config)
  paths = parameters.flatten(jax.eval_shape(network.init, jax.random.key(0)))
  names = {huggingface_name(path, post_norms) for path in paths}
  assert len(names) == len(paths)


def test_a_path_of_no_decoder_is_refused():
  for path in ('projection/kernel', 'encoder/layers_0/mlp/wi/kernel', 'x'):
    with pytest.raises(ValueError, match=f'holds {path}'):
      huggingface_name(tuple(path.split('/')))
