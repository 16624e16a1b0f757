"""Every gin file of a model parses and has the published parameter count."""

import json
import pathlib

import gin
import jax
import numpy as np
import pytest

from jaxcurate.models import t5

CONFIGS = pathlib.Path(__file__).parents[2] / 'gin_configs'

# Parameters as published: exact where the model's card or `transformers` says
# them, else to the digits given.
COUNTS = {
  't5_1_0_small': 60_506_624,
  't5_1_0_base': 222_903_552,
  't5_1_0_large': 737_668_096,
  't5_1_0_3b': 2_851_598_336,
  't5_1_0_11b': 11_307_321_344,
  't5_small': 76_961_152,
  't5_base': 247_577_856,
  't5_large': 783_150_080,
  't5_xl': 2_849_757_184,
  't5_xxl': 11_135_332_352,
  'byt5_small': 300e6,
  'byt5_base': 582e6,
  'byt5_large': 1.23e9,
  'byt5_xl': 3.74e9,
  'byt5_xxl': 12.9e9,
}


def _config(name):
  gin.clear_config()
  gin.add_config_file_search_path(str(CONFIGS))
  gin.parse_config_files_and_bindings(
    [f'models/{name}.gin'], ['holder.network = %NETWORK']
  )
  try:
    return _holder()
  finally:
    gin.clear_config()


@gin.configurable('holder')
def _holder(network=gin.REQUIRED):
  return network


def _count(config):
  shapes = jax.eval_shape(t5.make_network(config).init, jax.random.key(0))
  return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(shapes))


def test_every_file_is_listed_here():
  files = {
    path.stem
    for path in (CONFIGS / 'models').glob('*.gin')
    if 't5.T5Config' in path.read_text()  # others: decoder_config_test.py
  }
  assert files == set(COUNTS) | {'t5', 't5_1_0', 'tiny'}


@pytest.mark.parametrize('name', COUNTS)
def test_size(name):
  config = _config(name)
  rtol = 0.005 if name.startswith('byt5') else 0
  np.testing.assert_allclose(_count(config), COUNTS[name], rtol=rtol)
  old = name.startswith('t5_1_0')
  assert config.tied_head == config.scale_decoder_outputs == old
  assert config.activations == (('relu',) if old else ('gelu', 'linear'))


def test_tiny_is_small_enough_for_a_test():
  assert _count(_config('tiny')) < 4e6


def test_sizes_agree_with_t5x_s_own_files(shared_data):
  file = shared_data / 'configs/model_sizes.json'
  sizes = json.loads(file.read_text())['t5_1_1']['sizes']
  for name, values in sizes.items():
    config = _config(name.replace('v1_1_', ''))
    values['embed_dim'] = values.pop('emb_dim')
    assert {key: getattr(config, key) for key in values} == values
