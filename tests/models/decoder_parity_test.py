"""Live parity of decoders with `transformers`; needs the extra [parity]."""

import dataclasses
import importlib.util
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.models import (
  decoder,
  generate,
  huggingface_decoder,
  rope,
  rope_settings,
)
from jaxcurate.models import load as load_lib

torch = pytest.importorskip('torch')
transformers = pytest.importorskip('transformers')

_TOOL = pathlib.Path(__file__).parents[2] / 'tools/make_decoder_goldens.py'
_SPEC = importlib.util.spec_from_file_location('make_decoder_goldens', _TOOL)
tool = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(tool)


def _logits(network, params, ids, mask):
  decode = jax.jit(network.decode)
  ids, mask = jnp.asarray(ids, jnp.int32), jnp.asarray(mask, jnp.int32)
  return decode(params, None, None, ids, mask) @ network.head(params)


def _relative_error(found, expected, mask):
  found, expected = np.asarray(found)[mask > 0], expected[mask > 0]
  return np.linalg.norm(found - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize('variant', tool.VARIANTS)
@pytest.mark.parametrize('seed', [1, 2])
def test_saved_by_transformers_and_read_by_us(variant, seed, tmp_path):
  model = tool.make_model(variant, seed)
  model.save_pretrained(tmp_path)
  ids, mask = tool.make_inputs(variant, seed)
  expected = tool.run(model, ids, mask)['logits']
  params, config = huggingface_decoder.read(tmp_path)
  network = decoder.make_network(config)
  assert (
    _relative_error(_logits(network, params, ids, mask), expected, mask) < 1e-4
  )
  still = rope.Rope(kind='linear', factor=1e9)
  still = dataclasses.replace(config, rope=still, local_rope=still)
  found = _logits(decoder.make_network(still), params, ids, mask)
  assert _relative_error(found, expected, mask) > 0.02


@pytest.mark.parametrize('variant', tool.VARIANTS)
def test_exported_by_us_and_read_by_transformers(variant, tmp_path):
  model = tool.make_model(variant, seed=3)
  model.save_pretrained(tmp_path / 'theirs')
  params, config = huggingface_decoder.read(tmp_path / 'theirs')
  huggingface_decoder.export_huggingface(
    tmp_path / 'ours', params, config, 'bytes'
  )
  again = transformers.AutoModelForCausalLM.from_pretrained(
    tmp_path / 'ours', attn_implementation='eager'
  ).eval()
  assert type(again) is type(model)
  for name, weight in model.state_dict().items():
    assert torch.equal(weight, again.state_dict()[name]), name
  ids, mask = tool.make_inputs(variant, 3)
  found, expected = tool.run(again, ids, mask), tool.run(model, ids, mask)
  np.testing.assert_array_equal(found['logits'], expected['logits'])


@pytest.mark.parametrize('variant', ['llama3', 'mistral', 'qwen2', 'gemma3'])
def test_generates_what_transformers_generates(variant, tmp_path):
  model = tool.make_model(variant, seed=4)
  model.save_pretrained(tmp_path)
  params, config = huggingface_decoder.read(tmp_path)
  ids, mask = tool.make_inputs(variant, 4)
  expected = model.generate(
    torch.tensor(ids),
    attention_mask=torch.tensor(mask),
    max_new_tokens=12,
    do_sample=False,
    eos_token_id=None,
    pad_token_id=0,
  )[:, ids.shape[1] :]
  found, _ = generate.continue_rows(
    decoder.make_network(config), params, ids.astype(np.int32),
    mask.astype(np.int32), max_new_tokens=12,
  )  # fmt: skip
  np.testing.assert_array_equal(found, expected)


ROPES = {
  'default': {},
  'linear': {'factor': 4.0},
  'llama3': {
    'factor': 8.0,
    'low_freq_factor': 1.0,
    'high_freq_factor': 4.0,
    'original_max_position_embeddings': 64,
  },
  'yarn': {'factor': 4.0, 'original_max_position_embeddings': 64},
  'yarn_all': {
    'rope_type': 'yarn',
    'factor': 8.0,
    'original_max_position_embeddings': 32,
    'beta_fast': 16.0,
    'beta_slow': 2.0,
    'mscale': 0.7,
    'mscale_all_dim': 1.2,
    'truncate': False,
  },
  'dynamic': {'factor': 2.0},
}


@pytest.mark.parametrize('name', ROPES)
@pytest.mark.parametrize('form', ['rope_parameters', 'rope_scaling'])
def test_angles(name, form):
  given = {'rope_type': name, **ROPES[name]}
  config = transformers.LlamaConfig(
    hidden_size=64, num_attention_heads=2, max_position_embeddings=100,
    rope_parameters={**given, 'rope_theta': 5e4},
  )  # fmt: skip
  module = transformers.models.llama.modeling_llama.LlamaRotaryEmbedding(config)
  values = {**config.to_dict(), 'rope_theta': None}
  if form == 'rope_scaling':
    values |= {'rope_parameters': None, 'rope_theta': 5e4, form: given}
    values.pop('rope_parameters')
  length = 150 if name == 'dynamic' else 90
  position = np.arange(length)[None]
  cos, sin = module(torch.zeros(1), torch.tensor(position))
  full, _ = rope_settings.read(values, two=False)
  found = rope.angles(
    full, 32, jnp.asarray(position), jnp.full((1, length), length)
  )
  for ours, theirs in zip(found, (cos, sin), strict=True):
    np.testing.assert_allclose(ours, theirs[..., :16], atol=2e-5)


def test_the_text_part_of_a_gemma_that_sees(tmp_path):
  text = tool.make_model('gemma3', seed=5)
  vision = {
    'hidden_size': 8, 'intermediate_size': 8, 'num_hidden_layers': 1,
    'num_attention_heads': 1, 'image_size': 8, 'patch_size': 4,
  }  # fmt: skip
  config = transformers.Gemma3Config(
    text_config=text.config, vision_config=vision, mm_tokens_per_image=4
  )
  model = transformers.Gemma3ForConditionalGeneration(config).eval()
  model.model.language_model.load_state_dict(text.model.state_dict())
  model.tie_weights()
  model.save_pretrained(tmp_path)
  (tmp_path / 'tokenizer.json').write_text('{}')
  values = json.loads((tmp_path / 'config.json').read_text())
  assert values['model_type'] == 'gemma3'
  loaded = load_lib.load(str(tmp_path))
  ids, mask = tool.make_inputs('gemma3', 5)
  expected = tool.run(text, ids, mask)['logits']
  found = _logits(loaded.network, loaded.params, ids, mask)
  assert _relative_error(found, expected, mask) < 1e-4
