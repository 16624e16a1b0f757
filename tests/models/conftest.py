"""Small networks and goldens that the tests of models share."""

import json
import pathlib

import jax
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from jaxcurate.models import decoder, t5

GOLDENS = pathlib.Path(__file__).parent / 'goldens'


@pytest.fixture
def make_config():
  """T5Config of a tiny network; keyword arguments change fields."""

  def make(**changes):
    fields = {
      'vocab_size': 24,
      'embed_dim': 16,
      'num_heads': 2,
      'head_dim': 8,
      'mlp_dim': 20,
      'num_encoder_layers': 1,
      'num_decoder_layers': 1,
      'activations': ('gelu', 'linear'),
    }
    return t5.T5Config(**{**fields, **changes})

  return make


@pytest.fixture
def make_decoder_config():
  """DecoderConfig of a tiny network; keyword arguments change fields."""

  def make(**changes):
    fields = {
      'vocab_size': 24,
      'embed_dim': 16,
      'num_heads': 4,
      'num_kv_heads': 2,
      'head_dim': 8,
      'mlp_dim': 20,
      'num_layers': 2,
    }
    return decoder.DecoderConfig(**{**fields, **changes})

  return make


@pytest.fixture
def strong():
  """Parameters that make attention far from uniform, as NumPy arrays."""

  def make(network, seed=0):
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(network.init, jax.random.key(0))

    def draw(path, leaf):
      noise = rng.normal(size=leaf.shape).astype(np.float32)
      name = path[-1].key
      scale = {'scale': 0.2, 'kernel': 0.25}.get(name, 1.0)
      return (name == 'scale') + np.float32(scale) * noise

    return jax.tree_util.tree_map_with_path(draw, shapes)

  return make


@pytest.fixture
def golden_folder(tmp_path):
  """Writes a golden as a Hugging Face folder; returns it and its arrays."""

  def make(variant, dtype=np.float32, shards=1):
    folder = tmp_path / f'{variant}_{shards}'
    folder.mkdir()
    with safe_open(GOLDENS / f'{variant}.safetensors', 'numpy') as golden:
      arrays = {name: golden.get_tensor(name) for name in golden.keys()}
      config = golden.metadata()['config']
    weights = {
      name.removeprefix('model/'): np.asarray(array, dtype)
      for name, array in arrays.items()
      if name.startswith('model/')
    }
    (folder / 'config.json').write_text(config)
    (folder / 'spiece.model').write_bytes(b'pieces')
    if shards == 1:
      save_file(weights, folder / 'model.safetensors')
      return folder, arrays
    weight_map = {}
    for shard in range(shards):
      file = f'model-{shard + 1:05}-of-{shards:05}.safetensors'
      part = dict(sorted(weights.items())[shard::shards])
      weight_map.update(dict.fromkeys(part, file))
      save_file(part, folder / file)
    index = folder / 'model.safetensors.index.json'
    index.write_text(json.dumps({'weight_map': weight_map}))
    return folder, arrays

  return make
