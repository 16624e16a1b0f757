"""Goldens of torch, and what a broken folder is answered."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import pytest
from safetensors.numpy import load_file, save_file

from jaxcurate.io.errors import UserError
from jaxcurate.models import huggingface, parameters, t5


@jax.jit
def _relative_error(found, expected):
  return jnp.linalg.norm(found - expected) / jnp.linalg.norm(expected)


def _outputs(network, params, arrays):
  """Encoder states, logits, loss and the masks, as torch was asked."""
  tokens = jnp.asarray(arrays['input/input_ids'], jnp.int32)
  labels = jnp.asarray(arrays['input/labels'], jnp.int32)
  encoder_segments = (tokens != 0).astype(jnp.int32)
  decoder_segments = (labels != -100).astype(jnp.int32)
  targets = jnp.maximum(labels, 0)
  inputs = jnp.pad(targets, ((0, 0), (1, 0)))[:, :-1]

  @jax.jit
  def run(params):
    encoded = network.encode(params, tokens, encoder_segments)
    states = network.decode(
      params, encoded, encoder_segments, inputs, decoder_segments
    )
    logits = states @ network.head(params)
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    loss = jnp.sum(loss * decoder_segments) / jnp.sum(decoder_segments)
    return encoded, logits, loss

  return *run(params), encoder_segments, decoder_segments


@pytest.mark.parametrize('variant', ['t5_1_0', 't5_1_1', 'flan', 'byt5'])
def test_equals_transformers_within_1e_4(variant, golden_folder):
  # Goldens: tools/make_t5_goldens.py, rewritten only for a new variant.
  folder, arrays = golden_folder(variant)
  params, config = huggingface.read(folder)
  encoded, logits, loss, encoder_mask, decoder_mask = _outputs(
    t5.make_network(config), params, arrays
  )
  for found, name, mask in (
    (encoded, 'encoder_states', encoder_mask),
    (logits, 'logits', decoder_mask),
  ):
    real = mask[..., None] > 0
    expected = arrays[f'output/{name}']
    assert _relative_error(found * real, expected * real) < 1e-4
  np.testing.assert_allclose(loss, arrays['output/loss'], rtol=1e-4)
  assert config.tied_head == (variant == 't5_1_0')


def test_config_of_each_variant(golden_folder):
  _, config = huggingface.read(golden_folder('t5_1_0')[0])
  assert config.activations == ('relu',)
  assert (config.tied_head, config.scale_decoder_outputs) == (True, True)
  _, config = huggingface.read(golden_folder('byt5')[0])
  assert config.activations == ('gelu', 'linear')
  assert (config.tied_head, config.scale_decoder_outputs) == (False, False)
  assert (config.num_encoder_layers, config.num_decoder_layers) == (3, 1)
  assert (config.relpos_buckets, config.relpos_max_distance) == (12, 40)


def test_scaling_of_older_configs_follows_tie_word_embeddings(golden_folder):
  folder, _ = golden_folder('t5_1_1')
  values = json.loads((folder / 'config.json').read_text())
  for given, tied, scaled in ((None, True, True), (True, False, True)):
    values['scale_decoder_outputs'] = given
    values['tie_word_embeddings'] = tied
    kept = {k: v for k, v in values.items() if v is not None}
    (folder / 'config.json').write_text(json.dumps(kept))
    _, config = huggingface.read(folder)
    assert config.scale_decoder_outputs is scaled
    assert not config.tied_head  # lm_head.weight is there


@pytest.mark.parametrize('dtype', [np.float16, ml_dtypes.bfloat16])
def test_half_precision_and_shards(dtype, golden_folder):
  folder, arrays = golden_folder('flan', dtype=dtype, shards=3)
  params, _ = huggingface.read(folder)
  kernel = params['encoder']['layers_1']['mlp']['wo']['kernel']
  name = 'model/encoder.block.1.layer.1.DenseReluDense.wo.weight'
  assert kernel.dtype == np.float32
  np.testing.assert_array_equal(kernel, arrays[name].astype(dtype).T)


@pytest.mark.parametrize('variant', ['t5_1_0', 'flan'])
@pytest.mark.parametrize('scan', [False, True])
def test_export_and_import_are_bit_equal(
  variant, scan, golden_folder, tmp_path
):
  folder, _ = golden_folder(variant)
  params, config = huggingface.read(folder)
  stacked = parameters.stack_layers(params) if scan else params
  pieces = str(folder / 'spiece.model')
  huggingface.export_huggingface(tmp_path / 'out', stacked, config, pieces)
  again, config_again = huggingface.read(tmp_path / 'out')
  assert config_again == config
  jax.tree.map(np.testing.assert_array_equal, again, params)
  assert huggingface.vocabulary(tmp_path / 'out').endswith('spiece.model')


def test_export_of_a_tied_head_without_scaling(make_config, strong, tmp_path):
  config = make_config(tied_head=True)
  params = strong(t5.make_network(config))
  huggingface.export_huggingface(tmp_path, params, config, 'bytes')
  again, config_again = huggingface.read(tmp_path)
  assert not config_again.scale_decoder_outputs
  network = t5.make_network(config_again)
  embedding = params['token_embedder']['embedding']
  np.testing.assert_array_equal(network.head(again), embedding.T)
  assert huggingface.vocabulary(tmp_path) == 'bytes'


def test_export_refuses_what_t5_cannot_hold(make_config, strong, tmp_path):
  config = make_config(num_decoder_layers=0, projection_dim=4)
  params = strong(t5.make_network(config))
  with pytest.raises(ValueError, match='projection/kernel'):
    huggingface.export_huggingface(tmp_path, params, config, 'bytes')


def test_an_encoder_alone_has_no_decoder(golden_folder):
  folder, _ = golden_folder('flan')
  file = folder / 'model.safetensors'
  weights = load_file(file)
  full, _ = huggingface.read(folder)
  encoder = {k: v for k, v in weights.items() if k.startswith('encoder.')}
  encoder['encoder.embed_tokens.weight'] = weights['shared.weight']
  save_file(encoder, file)
  params, config = huggingface.read(folder)
  assert config.num_decoder_layers == 0
  jax.tree.map(
    np.testing.assert_array_equal, params['encoder'], full['encoder']
  )


def test_a_missing_or_misshapen_tensor_is_one_line(golden_folder):
  folder, _ = golden_folder('flan')
  file = folder / 'model.safetensors'
  weights = load_file(file)
  name = 'decoder.block.0.layer.1.EncDecAttention.q.weight'
  save_file({**weights, name: np.zeros((3, 5), np.float32)}, file)
  with pytest.raises(UserError) as info:
    huggingface.read(folder)
  for part in (str(file), name, '(3, 5)', '(24, 16)'):
    assert part in str(info.value)
  del weights[name]
  save_file(weights, file)
  with pytest.raises(UserError, match=f'{name}.*incomplete'):
    huggingface.read(folder)


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'model_type': 'longt5'}, "model_type is 'longt5'"),
    ({'feed_forward_proj': 'gelu'}, "feed_forward_proj is 'gelu'"),
    ({'d_model': None}, "lacks 'd_model'"),
  ],
)
def test_a_config_it_does_not_know_is_refused(changes, message, golden_folder):
  folder, _ = golden_folder('flan')
  values = json.loads((folder / 'config.json').read_text())
  values = {k: v for k, v in (values | changes).items() if v is not None}
  (folder / 'config.json').write_text(json.dumps(values))
  with pytest.raises(UserError, match=message):
    huggingface.read(folder)


def test_files_that_are_no_json(golden_folder):
  folder, _ = golden_folder('flan')
  (folder / 'config.json').write_text('{')
  with pytest.raises(UserError, match=r'config\.json is no JSON'):
    huggingface.read(folder)
  (folder / 'config.json').unlink()
  with pytest.raises(UserError, match=r'config\.json does not exist'):
    huggingface.read(folder)


def test_vocabulary(tmp_path):
  with pytest.raises(UserError, match=r'no spiece\.model'):
    huggingface.vocabulary(tmp_path)
  values = {'tokenizer_class': 'ByT5Tokenizer'}
  (tmp_path / 'tokenizer_config.json').write_text(json.dumps(values))
  assert huggingface.vocabulary(tmp_path) == 'bytes'


def test_a_hub_that_cannot_be_reached_is_one_line():
  pytest.importorskip('huggingface_hub')
  with pytest.raises(UserError, match='hf:not a name cannot') as info:
    huggingface.download('not a name')  # refused before the network is asked
  assert '\n' not in str(info.value)


def test_read_for_embeddings_leaves_the_decoder_out(golden_folder):
  params, config = huggingface.read(
    golden_folder('t5_1_1')[0], encoder_only=True
  )
  assert sorted(params) == ['encoder', 'token_embedder']
  assert dataclasses.replace(config, num_decoder_layers=0) == config
