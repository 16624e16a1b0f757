"""Every gin file of a decoder parses and has the published parameter count."""

import json
import pathlib

import gin
import jax
import numpy as np
import pytest

from jaxcurate.models import decoder, decoder_settings
from jaxcurate.models.rope import Rope

CONFIGS = pathlib.Path(__file__).parents[2] / 'gin_configs'

# Parameters as the model's card or its safetensors state them; Gemma 3 4B's
# card says 4,300,079,472 with the part that sees (416,866,032) and the map
# from it (2,950,272). TinyLlama's is lit_gpt's own count.
COUNTS = {
  'tinyllama_120m': 121_129_728,
  'llama2_7b': 6_738_415_616,
  'llama3_8b': 8_030_261_248,
  'llama3_2_1b': 1_235_814_400,
  'qwen2_5_0_5b': 494_032_768,
  'qwen2_5_1_5b': 1_543_714_304,
  'qwen2_5_3b': 3_085_938_688,
  'qwen2_5_7b': 7_615_616_512,
  'qwen2_5_32b': 32_763_876_352,
  'qwen2_5_coder_0_5b': 494_032_768,
  'qwen2_5_coder_3b': 3_085_938_688,
  'qwen3_0_6b': 596_049_920,
  'gemma3_270m': 268_098_176,
  'gemma3_1b': 999_885_952,
  'gemma3_4b': 4_300_079_472 - 416_866_032 - 2_950_272,
}

MODEL_TYPES = {
  'tinyllama': 'llama',
  'llama2': 'llama',
  'llama3': 'llama',
  'qwen2': 'qwen2',
  'qwen3': 'qwen3',
  'gemma3': 'gemma3_text',
}


def _config(name):
  gin.clear_config()
  gin.add_config_file_search_path(str(CONFIGS))
  gin.parse_config_files_and_bindings(
    [f'models/{name}.gin'], ['decoder_holder.network = %NETWORK']
  )
  try:
    return _holder()
  finally:
    gin.clear_config()


@gin.configurable('decoder_holder')
def _holder(network=gin.REQUIRED):
  return network


def _count(config):
  network = decoder.make_network(config)
  shapes = jax.eval_shape(network.init, jax.random.key(0))
  return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(shapes))


def test_every_file_is_listed_here():
  files = {
    path.stem
    for path in (CONFIGS / 'models').glob('*.gin')
    if 'import decoder' in path.read_text()
  }
  assert files == set(COUNTS) | {
    'decoder', 'qwen2_5', 'gemma3', 'tiny_decoder', 'proxy_1m',
  }  # fmt: skip


@pytest.mark.parametrize('name', COUNTS)
def test_size_and_family(name):
  config = _config(name)
  assert _count(config) == COUNTS[name]
  assert config.scan_layers == (config.num_layers > 12)
  model_type = decoder_settings.write(config)['model_type']
  assert model_type == MODEL_TYPES[name.split('_')[0]]


def test_rotary_embeddings():
  assert _config('llama2_7b').rope == Rope(1e4)
  assert _config('llama3_8b').rope == Rope(5e5)
  assert _config('llama3_2_1b').rope == Rope(
    5e5, 'llama3', 32.0, 8192, low_freq_factor=1.0, high_freq_factor=4.0
  )
  assert _config('qwen2_5_coder_3b').rope == Rope(1e6)
  assert _config('gemma3_1b').rope == Rope(1e6)
  big = _config('gemma3_4b')
  assert (big.rope, big.local_rope) == (Rope(1e6, 'linear', 8.0), Rope(1e4))
  assert [i for i in range(34) if not big.is_windowed(i)] == [5, 11, 17, 23, 29]


def test_tiny_is_small_enough_for_a_test():
  config = _config('tiny_decoder')
  assert _count(config) < 2e6
  assert config.num_kv_heads < config.num_heads


def test_tinyllama_agrees_with_its_own_config(shared_data):
  file = shared_data / 'configs/model_sizes.json'
  values = json.loads(file.read_text())['tiny_LLaMA_120M']['values']
  config = _config('tinyllama_120m')
  assert {
    'block_size': config.max_length,
    'vocab_size': config.vocab_size,
    'padding_multiple': 64,
    'n_layer': config.num_layers,
    'n_head': config.num_heads,
    'n_embd': config.embed_dim,
    'rotary_percentage': 1.0,
    'norm_eps': config.norm_eps,
    'intermediate_size': config.mlp_dim,
    'n_query_groups': config.num_kv_heads,
  } == values
  assert config.vocab_size % values['padding_multiple'] == 0
  assert config.head_dim * config.num_heads == config.embed_dim


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'num_kv_heads': 3}, 'num_heads is 4, expected a multiple of .*, 3'),
    ({'head_dim': 7}, 'head_dim is 7, expected an even number'),
    ({'activation': 'tanh'}, "activation is 'tanh', known: .*silu"),
    ({'dtype': 'float16'}, "'float16', expected 'float32' or 'bfloat16'"),
    ({'window': 0}, 'window is 0, expected at least 1'),
    ({'window_pattern': ()}, 'window_pattern is empty'),
  ],
)
def test_a_config_that_cannot_be(changes, message, make_decoder_config):
  with pytest.raises(ValueError, match=message):
    make_decoder_config(**changes)
