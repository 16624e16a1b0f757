import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxcurate.io.errors import UserError
from jaxcurate.models import sentence_t5, t5

_TYPE = 'sentence_transformers.models.'


def _write(path, values):
  path.parent.mkdir(exist_ok=True)
  path.write_text(json.dumps(values))


@pytest.fixture
def folder(golden_folder):
  """A sentence-transformers folder with the encoder of T5 1.1 at its root."""
  folder, _ = golden_folder('t5_1_1')
  names = ['Transformer', 'Pooling', 'Dense', 'Normalize']
  modules = [
    {'idx': i, 'path': f'{i}_{name}' if i else '', 'type': _TYPE + name}
    for i, name in enumerate(names)
  ]
  _write(folder / 'modules.json', modules)
  pooling = {
    'word_embedding_dimension': 16,
    'pooling_mode_cls_token': False,
    'pooling_mode_mean_tokens': True,
    'pooling_mode_max_tokens': False,
  }
  _write(folder / '1_Pooling/config.json', pooling)
  dense = {
    'in_features': 16,
    'out_features': 5,
    'bias': False,
    'activation_function': 'torch.nn.modules.linear.Identity',
  }
  _write(folder / '2_Dense/config.json', dense)
  weight = np.random.default_rng(0).normal(size=(5, 16)).astype(np.float32)
  save_file({'linear.weight': weight}, folder / '2_Dense/model.safetensors')
  return folder, weight


def test_pools_projects_and_normalises(folder):
  folder, weight = folder
  params, config, vocabulary = sentence_t5.read(folder)
  assert config.num_decoder_layers == 0
  assert (config.projection_dim, 'decoder' in params) == (5, False)
  assert vocabulary == str(folder / 'spiece.model')
  network = t5.make_network(config)
  tokens = jnp.array([[5, 6, 7, 8, 9, 0]])
  segments = jnp.array([[1, 1, 1, 2, 2, 0]])

  @jax.jit
  def embed(params):
    states = network.encode(params, tokens, segments)
    return states, network.pool(params, states, segments, 3)

  states, embedding = embed(params)
  expected = np.zeros((1, 3, 5))
  for s, span in enumerate((slice(0, 3), slice(3, 5))):
    vector = np.float64(states[0, span]).mean(0) @ weight.T
    expected[0, s] = vector / np.linalg.norm(vector)
  np.testing.assert_allclose(embedding, expected, atol=1e-5)


def test_without_a_dense_layer(folder):
  folder, _ = folder
  modules = json.loads((folder / 'modules.json').read_text())
  _write(folder / 'modules.json', modules[:2])
  params, config, _ = sentence_t5.read(folder)
  assert config.projection_dim is None
  assert sorted(params) == ['encoder', 'token_embedder']


def test_newer_pooling_config_and_encoder_in_its_own_folder(folder):
  folder, _ = folder
  _write(folder / '1_Pooling/config.json', {'pooling_mode': 'mean'})
  (folder / '0_Transformer').mkdir()
  for name in ('config.json', 'model.safetensors', 'spiece.model'):
    (folder / name).rename(folder / '0_Transformer' / name)
  modules = json.loads((folder / 'modules.json').read_text())
  modules[0]['path'] = '0_Transformer'
  _write(folder / 'modules.json', modules)
  assert '0_Transformer' in sentence_t5.read(folder)[2]


@pytest.mark.parametrize(
  'file, changes, message',
  [
    ('1_Pooling', {'pooling_mode_max_tokens': True}, 'max_tokens'),
    ('2_Dense', {'bias': True}, 'has bias True'),
    ('2_Dense', {'activation_function': 'torch.nn.Tanh'}, 'activation torch'),
    ('2_Dense', {'out_features': 6}, r"'linear.weight' has shape \(5, 16\)"),
  ],
)
def test_what_pool_does_not_compute_is_refused(file, changes, message, folder):
  folder, _ = folder
  path = folder / file / 'config.json'
  _write(path, json.loads(path.read_text()) | changes)
  with pytest.raises(UserError, match=message):
    sentence_t5.read(folder)


def test_an_unknown_module_is_named(folder):
  folder, _ = folder
  modules = json.loads((folder / 'modules.json').read_text())
  modules[2]['type'] = _TYPE + 'LSTM'
  _write(folder / 'modules.json', modules)
  with pytest.raises(UserError, match='LSTM'):
    sentence_t5.read(folder)


def test_a_pickled_dense_layer_is_refused(folder):
  folder, _ = folder
  (folder / '2_Dense/model.safetensors').unlink()
  (folder / '2_Dense/pytorch_model.bin').write_bytes(b'')
  with pytest.raises(UserError, match=r'pytorch_model\.bin'):
    sentence_t5.read(folder)
