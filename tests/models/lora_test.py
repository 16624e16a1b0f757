"""Adapters on disk: PEFT's names, and there and back."""

import json

import jax
import numpy as np
import pytest
from safetensors import numpy as safetensors

from jaxcurate.io.errors import UserError
from jaxcurate.models import decoder, load, parameters, t5
from jaxcurate.models import lora as lora_files
from jaxcurate.ops import lora

SHAPE = {'vocab_size': 300, 'embed_dim': 8, 'num_heads': 2, 'mlp_dim': 12}
CAUSAL = decoder.DecoderConfig(
  num_kv_heads=1, head_dim=4, num_layers=2, **SHAPE
)
T5 = t5.T5Config(
  head_dim=4, num_encoder_layers=1, num_decoder_layers=1, **SHAPE
)


@pytest.fixture
def made(draw_params):
  """made(config, ...) -> parameters and random adapters of a network."""

  def make(config, targets=('query', 'wo'), rank=3):
    params = jax.device_get(draw_params(load.make_network(config)))
    fresh = lora.init(jax.random.key(1), params, rank=rank, targets=targets)
    leaves, structure = jax.tree.flatten(fresh)
    rng = np.random.default_rng(0)
    return params, structure.unflatten(
      [np.float32(rng.normal(size=leaf.shape)) for leaf in leaves]
    )

  return make


@pytest.fixture
def folder(tmp_path, made):
  """Adapters beside the base model that they name."""
  params, adapters = made(CAUSAL)
  load.export_huggingface(tmp_path / 'base', params, CAUSAL, 'bytes')
  lora_files.write(
    tmp_path / 'lora', adapters, CAUSAL, alpha=6.0, base=str(tmp_path / 'base')
  )
  return tmp_path / 'lora'


def test_names_and_shapes_by_hand(folder, made):
  tensors = safetensors.load_file(folder / 'adapter_model.safetensors')
  shapes = {name: array.shape for name, array in tensors.items()}
  start = 'base_model.model.model.layers'
  assert shapes == {
    f'{start}.{layer}.{name}.weight': shape
    for layer in (0, 1)
    for name, shape in {
      'self_attn.q_proj.lora_A': (3, 8),
      'self_attn.q_proj.lora_B': (8, 3),
      'mlp.down_proj.lora_A': (3, 12),
      'mlp.down_proj.lora_B': (8, 3),
    }.items()
  }
  config = json.loads((folder / 'adapter_config.json').read_text())
  assert config['peft_type'] == 'LORA'
  assert config['task_type'] == 'CAUSAL_LM'
  assert (config['r'], config['lora_alpha']) == (3, 6.0)
  assert config['target_modules'][0] == 'model.layers.0.mlp.down_proj'
  _, adapters = made(CAUSAL)
  own = adapters['decoder']['layers_1']['self_attention']['query']
  written = tensors[f'{start}.1.self_attn.q_proj.lora_A.weight']
  np.testing.assert_array_equal(written, own['lora_a'].T)


def test_names_of_an_encoder_decoder(tmp_path, made):
  _, adapters = made(T5, targets=('encoder/.*/query', 'wo'))
  lora_files.write(tmp_path, adapters, T5, alpha=1.0, base='base')
  names = set(safetensors.load_file(tmp_path / 'adapter_model.safetensors'))
  start = 'base_model.model.encoder.block.0.layer'
  assert f'{start}.0.SelfAttention.q.lora_A.weight' in names
  assert f'{start}.1.DenseReluDense.wo.lora_B.weight' in names
  back = lora_files.read(tmp_path, T5)
  jax.tree.map(np.testing.assert_array_equal, back, adapters)


def test_there_and_back(folder, made):
  _, adapters = made(CAUSAL)
  back = lora_files.read(folder, CAUSAL)
  jax.tree.map(np.testing.assert_array_equal, back, adapters)
  base, alpha = lora_files.read_config(folder)
  assert (base, alpha) == (str(folder.parent / 'base'), 6.0)


def test_stacked_layers_are_written_apart(folder, made):
  _, adapters = made(CAUSAL)
  layers = adapters['decoder']
  stacked = {
    'decoder': {
      'layers': jax.tree.map(lambda *x: np.stack(x), *layers.values())
    }
  }
  other = folder.parent / 'other'
  lora_files.write(other, stacked, CAUSAL, alpha=6.0, base='base')
  names = 'adapter_model.safetensors'
  one, two = (safetensors.load_file(f / names) for f in (folder, other))
  jax.tree.map(np.testing.assert_array_equal, one, two)


def test_a_folder_of_adapters_is_a_model(folder, made):
  params, adapters = made(CAUSAL)
  loaded = load.load(str(folder))
  where = ('decoder', 'layers_0', 'self_attention', 'query')
  kernel, own, found = params, adapters, loaded.params
  for name in where:
    kernel, own, found = kernel[name], own[name], found[name]
  a, b = np.float64(own['lora_a']), np.float64(own['lora_b'])
  expected = kernel['kernel'] + 6.0 / 3 * a @ b
  np.testing.assert_allclose(found['kernel'], expected, rtol=1e-4, atol=1e-5)
  assert loaded.vocabulary == 'bytes'
  # And the merged model can be written whole.
  whole = folder.parent / 'whole'
  load.export_huggingface(whole, loaded.params, loaded.config, 'bytes')
  again = load.load(str(whole))
  jax.tree.map(np.testing.assert_array_equal, again.params, loaded.params)


def edit(folder, **changes):
  file = folder / 'adapter_config.json'
  file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'use_dora': True}, 'use_dora is True.*merge the adapters with PEFT'),
    ({'peft_type': 'IA3'}, "peft_type is 'IA3'"),
    ({'rank_pattern': {'q_proj': 4}}, 'rank_pattern is'),
    ({'base_model_name_or_path': ''}, 'lacks base_model_name_or_path'),
    ({'base_model_name_or_path': 'gone'}, 'no checkpoint at gone'),
  ],
)
def test_adapters_that_we_do_not_have(folder, changes, message):
  edit(folder, **changes)
  with pytest.raises(UserError, match=message):
    load.load(str(folder))


def test_adapters_of_another_model(folder, tmp_path):
  file = folder / 'adapter_model.safetensors'
  tensors = safetensors.load_file(file)
  name = 'base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight'
  for changed, message in (
    ({**tensors, name: tensors[name][:, :5]}, r'\(3, 5\).*another model'),
    ({k: v for k, v in tensors.items() if k != name}, 'None'),
    ({**tensors, 'what.lora_A.weight': tensors[name]}, "'what.lora_A.weight'"),
    ({}, "'nothing' belongs to no"),
  ):
    safetensors.save_file(
      {k: np.ascontiguousarray(v) for k, v in changed.items()}, file
    )
    with pytest.raises(UserError, match=message):
      lora_files.read(folder, CAUSAL)
  file.write_text('no safetensors')
  with pytest.raises(UserError, match='cannot be read as safetensors'):
    lora_files.read(folder, CAUSAL)


def test_several_ranks_are_refused(tmp_path, made):
  _, adapters = made(CAUSAL, targets=('query',))
  _, more = made(CAUSAL, targets=('wo',), rank=2)
  for layer, own in more['decoder'].items():
    adapters['decoder'][layer] |= own
  with pytest.raises(ValueError, match=r'ranks \[2, 3\], expected one'):
    lora_files.write(tmp_path, adapters, CAUSAL, alpha=1.0, base='x')


def test_merging_on_the_host_is_that_on_the_device(made):
  params, adapters = made(CAUSAL)
  stacked, own = (parameters.stack_layers(tree) for tree in (params, adapters))
  on_device = jax.tree.map(jax.numpy.asarray, (stacked, own))
  expected = lora.merge(on_device[0], on_device[1], alpha=6.0)
  for found in (
    lora_files.merged(stacked, own, 6.0),
    parameters.stack_layers(lora_files.merged(params, adapters, 6.0)),
  ):
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, expected
    )
