"""Goldens of torch for decoders, and what a broken folder is answered."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jaxcurate.io.errors import UserError
from jaxcurate.models import decoder, huggingface_decoder, parameters
from jaxcurate.models.rope import Rope

VARIANTS = [
  'llama', 'llama3', 'llama_dynamic', 'mistral', 'qwen2', 'qwen3', 'gemma3',
]  # fmt: skip


@pytest.fixture
def folder_of(golden_folder):
  def make(variant):
    folder, arrays = golden_folder(f'decoder_{variant}')
    (folder / 'spiece.model').rename(folder / 'tokenizer.model')
    return folder, arrays

  return make


def _change(folder, **changes):
  file = folder / 'config.json'
  values = {**json.loads(file.read_text()), **changes}
  file.write_text(json.dumps({k: v for k, v in values.items() if v != 'drop'}))


def _read_config(folder, **changes):
  _change(folder, **changes)
  return huggingface_decoder.read(folder)[1]


def _errors(config, params, arrays, num_layouts):
  """Relative errors over real tokens: padded left, padded right, packed."""
  network = decoder.make_network(config)

  @jax.jit
  def run(params, ids, segments):
    states = network.decode(params, None, None, ids, segments)
    return states, states @ network.head(params)

  ids, mask = arrays['input/ids'], arrays['input/mask']
  rows = [row[real > 0] for row, real in zip(ids, mask, strict=True)]
  right = np.zeros_like(ids)
  for padded, row in zip(right, rows, strict=True):
    padded[: len(row)] = row
  lengths = [len(row) for row in rows]
  numbers = np.repeat(np.arange(1, 1 + len(rows)), lengths)
  errors = []
  for tokens, segments in (
    (ids, mask),
    (right, -np.sort(-mask)),
    (np.concatenate(rows)[None], numbers[None]),
  )[:num_layouts]:
    found = run(params, jnp.asarray(tokens), jnp.asarray(segments))
    for array, name in zip(found, ('states', 'logits'), strict=True):
      expected = arrays[f'output/{name}'][mask > 0]
      error = np.asarray(array)[segments > 0] - expected
      errors.append(np.linalg.norm(error) / np.linalg.norm(expected))
  return errors


@pytest.mark.parametrize('variant', VARIANTS)
def test_equals_transformers_within_1e_4(variant, folder_of):
  # Goldens: tools/make_decoder_goldens.py, rewritten only for a new variant.
  folder, arrays = folder_of(variant)
  params, config = huggingface_decoder.read(folder)
  assert max(_errors(config, params, arrays, 3)) < 1e-4


@pytest.mark.parametrize('variant', VARIANTS)
def test_goldens_see_the_rotation(variant, folder_of):
  folder, arrays = folder_of(variant)
  params, config = huggingface_decoder.read(folder)
  still = Rope(kind='linear', factor=1e9)
  config = dataclasses.replace(config, rope=still, local_rope=still)
  assert min(_errors(config, params, arrays, 1)) > 0.02
  if config.window is not None:
    params, config = huggingface_decoder.read(folder)
    config = dataclasses.replace(config, window=1000)
    assert min(_errors(config, params, arrays, 1)) > 0.02


def test_configs_of_the_families(folder_of):
  def config(variant, **changes):
    return _read_config(folder_of(variant)[0], **changes)

  found = config('llama')
  assert (found.num_heads, found.num_kv_heads, found.head_dim) == (4, 2, 4)
  assert not found.tied_head and found.window is None
  found = config('mistral')
  assert (found.window, found.window_pattern) == (5, (True,))
  found = config('qwen2')
  assert found.qkv_bias and found.window_pattern == (False, True)
  assert found.rope == Rope(100.0, 'yarn', 2.0, 16)
  found = config('qwen3')
  assert found.qk_norm and found.tied_head and found.window is None
  found = config('gemma3')
  assert found.local_rope == Rope(100.0) and found.post_norms
  assert found.window_pattern == (True, False)
  assert found.query_pre_attn_scalar == 12


def test_windows_as_files_have_them(golden_folder, tmp_path):
  def read(variant, **changes):
    folder, _ = golden_folder(f'decoder_{variant}')
    config = _read_config(folder, **changes)
    for file in folder.iterdir():
      file.unlink()
    folder.rmdir()
    return config.window, config.window_pattern

  assert read('mistral', sliding_window=None) == (None, (True,))
  assert read('mistral', sliding_window='drop') == (4096, (True,))
  assert read('qwen2', use_sliding_window=False) == (None, (True,))
  assert read('qwen2', layer_types='drop') == (7, (False, True))
  pattern = {'layer_types': 'drop', 'sliding_window_pattern': 3}
  assert read('gemma3', **pattern) == (6, (True, True, False))


@pytest.mark.parametrize('variant', VARIANTS)
@pytest.mark.parametrize('scan', [False, True])
def test_export_and_import_are_bit_equal(variant, scan, folder_of, tmp_path):
  folder, _ = folder_of(variant)
  _change(folder, bos_token_id=7)
  (folder / 'tokenizer_config.json').write_text('{"add_bos_token": true}')
  params, config = huggingface_decoder.read(folder)
  stacked = parameters.stack_layers(params) if scan else params
  config = dataclasses.replace(config, scan_layers=scan)
  vocabulary = huggingface_decoder.vocabulary(folder)
  out = tmp_path / 'out'
  huggingface_decoder.export_huggingface(out, stacked, config, vocabulary)
  found, found_config = huggingface_decoder.read(out)
  jax.tree.map(np.testing.assert_array_equal, found, params)
  assert dataclasses.replace(found_config, scan_layers=scan) == config
  assert huggingface_decoder.vocabulary(out) == str(out / 'tokenizer.model')
  assert (out / 'tokenizer.model').read_bytes() == b'pieces'
  assert (out / 'tokenizer_config.json').is_file()
  assert json.loads((out / 'config.json').read_text())['bos_token_id'] == 7
  original = load_file(folder / 'model.safetensors')
  written = load_file(out / 'model.safetensors')
  assert sorted(original) == sorted(written)
  for name, array in original.items():
    np.testing.assert_array_equal(array, written[name])


def test_vocabularies_of_other_names(
  folder_of, make_decoder_config, strong, tmp_path
):
  config = make_decoder_config(num_layers=1)
  params = strong(decoder.make_network(config))

  def written(name, vocabulary):
    out = tmp_path / name
    huggingface_decoder.export_huggingface(out, params, config, vocabulary)
    return huggingface_decoder.vocabulary(out)

  for name, kept in {
    'words.json': 'tokenizer.json',
    'words.model': 'tokenizer.model',
    'spiece.model': 'spiece.model',
  }.items():
    (tmp_path / name).write_bytes(b'{}')
    found = written(f'of_{name}', str(tmp_path / name))
    assert found == str(tmp_path / f'of_{name}' / kept)
  assert written('of_bytes', 'bytes') == 'bytes'
  folder, _ = folder_of('llama')
  (folder / 'tokenizer.model').unlink()
  with pytest.raises(UserError, match=r'no tokenizer.json or tokenizer.model'):
    huggingface_decoder.vocabulary(folder)


def test_other_names_of_the_same_tensors(folder_of):
  folder, _ = folder_of('gemma3')
  params, config = huggingface_decoder.read(folder)
  file = folder / 'model.safetensors'
  tensors = load_file(file)
  for start in ('', 'language_model.model.', 'model.language_model.'):
    renamed = {start + k.removeprefix('model.'): v for k, v in tensors.items()}
    if start:
      renamed['vision_tower.weight'] = np.zeros(3, np.float32)
    save_file(renamed, file)
    found, _ = huggingface_decoder.read(folder)
    jax.tree.map(np.testing.assert_array_equal, found, params)
  values = json.loads((folder / 'config.json').read_text())
  text = {k: v for k, v in values.items() if k != 'head_dim'}
  text = {**text, 'num_attention_heads': 4, 'head_dim': 8}
  both = {'model_type': 'gemma3', 'text_config': text}
  (folder / 'config.json').write_text(json.dumps(both))
  found, found_config = huggingface_decoder.read(folder)
  assert found_config == config
  jax.tree.map(np.testing.assert_array_equal, found, params)


def test_a_head_beside_a_tied_embedding(folder_of):
  folder, _ = folder_of('qwen3')
  file = folder / 'model.safetensors'
  tensors = load_file(file)
  embedding = tensors['model.embed_tokens.weight']
  inv_freq = np.ones(4, np.float32)
  old = {'model.layers.0.self_attn.rotary_emb.inv_freq': inv_freq}
  save_file({**tensors, **old, 'lm_head.weight': embedding.copy()}, file)
  assert huggingface_decoder.read(folder)[1].tied_head
  save_file({**tensors, 'lm_head.weight': embedding + 1}, file)
  params, config = huggingface_decoder.read(folder)
  assert not config.tied_head  # as transformers 5 has it
  np.testing.assert_array_equal(
    params['decoder']['logits_dense']['kernel'], embedding.T + 1
  )


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'attention_bias': True}, 'attention_bias is True, which is not supp'),
    ({'mlp_bias': True}, 'mlp_bias is True'),
    ({'final_logit_softcapping': 30.0}, 'final_logit_softcapping is 30.0'),
    ({'hidden_act': 'gelu'}, "activation is 'gelu', known: silu, swish"),
    ({'hidden_size': 'drop'}, "lacks 'hidden_size'"),
    ({'num_key_value_heads': 3}, 'num_heads is 4, expected a multiple of'),
    ({'hidden_size': 32}, r'norm.weight.*\(16,\), expected \(32,\)'),
    ({'num_hidden_layers': 3}, "no tensor 'model.layers.2."),
    ({'num_hidden_layers': 1}, "9 tensors.* not ask.*'model.layers.1.input"),
    ({'tie_word_embeddings': True}, None),
    (
      {'rope_parameters': {'rope_type': 'longrope', 'rope_theta': 1.0}},
      "rope_type is 'longrope', known: default, linear, dynamic, yarn, llama3",
    ),
    (
      {'rope_scaling': {'type': 'linear'}, 'rope_theta': 1e4},
      "rope_type 'linear' lacks factor",
    ),
    ({'partial_rotary_factor': 0.5}, 'partial_rotary_factor is 0.5'),
  ],
)
def test_what_is_refused(changes, message, folder_of):
  folder, _ = folder_of('llama')
  _change(folder, **changes)
  if message is None:  # a head of its own all the same
    assert not huggingface_decoder.read(folder)[1].tied_head
    return
  with pytest.raises(UserError, match=message) as info:
    huggingface_decoder.read(folder)
  assert '\n' not in str(info.value)
  assert str(folder) in str(info.value)


def test_biases_that_no_one_asked_for(folder_of):
  folder, _ = folder_of('llama')
  file = folder / 'model.safetensors'
  name = 'model.layers.0.self_attn.q_proj.bias'
  save_file({**load_file(file), name: np.zeros(16, np.float32)}, file)
  with pytest.raises(UserError, match=f'1 tensors.*{name}'):
    huggingface_decoder.read(folder)


def test_a_config_of_no_family(make_decoder_config, strong, tmp_path):
  for changes in (
    {'norm_offset': True},
    {'qk_norm': True, 'qkv_bias': True},
    {'query_pre_attn_scalar': 5},
    {'window': 3, 'window_pattern': (True, False)},
  ):
    config = make_decoder_config(**changes)
    params = strong(decoder.make_network(config))
    with pytest.raises(ValueError, match='no model_type of Hugging Face'):
      huggingface_decoder.export_huggingface(tmp_path, params, config, 'bytes')
  assert not list(tmp_path.iterdir())
