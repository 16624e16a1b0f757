import json

from flax import serialization
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.io.errors import UserError
from jaxcurate.models import decoder, t5
from jaxcurate.models import load as load_lib


def test_a_hugging_face_folder(golden_folder):
  folder, _ = golden_folder('flan')
  model = load_lib.load(str(folder), dtype='bfloat16')
  assert model.vocabulary == str(folder / 'spiece.model')
  assert (model.config.dtype, model.config.scan_layers) == ('bfloat16', False)
  assert all(
    isinstance(leaf, np.ndarray) and leaf.dtype == np.float32
    for leaf in jax.tree.leaves(model.params)
  )
  ids = jnp.array([[3, 4]])
  states = jax.jit(model.network.encode)(model.params, ids, ids)
  assert states.dtype == jnp.bfloat16
  assert load_lib.load(str(folder)).config.dtype == 'float32'


def test_a_sentence_t5_folder_wins_over_its_encoder(golden_folder):
  folder, _ = golden_folder('flan')
  modules = [{'path': '', 'type': 'sentence_transformers.models.Transformer'}]
  (folder / 'modules.json').write_text(json.dumps(modules))
  assert load_lib.load(str(folder)).config.num_decoder_layers == 0


def _t5x_file(config, path, seed):
  shapes = jax.eval_shape(t5.make_network(config).init, jax.random.key(0))
  params = jax.tree.map(lambda x: np.full(x.shape, seed, np.float32), shapes)
  path.parent.mkdir(parents=True, exist_ok=True)
  tree = {'optimizer': {'target': params}}
  path.write_bytes(serialization.msgpack_serialize(tree))
  return params


def test_t5x_files_directories_and_the_last_of_several(make_config, tmp_path):
  config = make_config(
    vocab_size=384, num_encoder_layers=13, num_decoder_layers=0, mlp_dim=2
  )
  _t5x_file(config, tmp_path / 'run/checkpoint_900/checkpoint', 0)
  last = _t5x_file(config, tmp_path / 'run/checkpoint_1000/checkpoint', 1)
  file = tmp_path / 'run/checkpoint_1000/checkpoint'
  for path in (tmp_path / 'run', file.parent, file):
    model = load_lib.load(str(path))
    assert model.vocabulary == 'bytes'
    np.testing.assert_array_equal(
      model.params['token_embedder']['embedding'],
      last['token_embedder']['embedding'],
    )
  # Deep stacks are scanned.
  assert model.config.scan_layers
  shapes = jax.eval_shape(model.network.init, jax.random.key(0))
  assert jax.tree.map(np.shape, model.params) == jax.tree.map(np.shape, shapes)


def test_an_existing_path_wins_over_the_judge(
  golden_folder, monkeypatch, tmp_path
):
  folder, _ = golden_folder('flan')
  folder.rename(tmp_path / 'judge')
  monkeypatch.chdir(tmp_path)
  assert load_lib.load('judge').config.vocab_size == 48


def test_the_judge_is_a_hugging_face_folder(
  golden_folder, monkeypatch, tmp_path
):
  folder, _ = golden_folder('flan')
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(load_lib, '_JUDGE', folder)
  assert load_lib.load('judge').config.vocab_size == 48
  monkeypatch.setattr(load_lib, '_JUDGE', tmp_path / 'absent')
  with pytest.raises(UserError, match='shipped judge is not in this'):
    load_lib.load('judge')


def test_nothing_there_is_one_line_that_says_what_would_do(tmp_path):
  with pytest.raises(UserError, match=r'no checkpoint at /nowhere.*hf:owner'):
    load_lib.load('/nowhere')
  with pytest.raises(UserError, match=r'config\.json \(Hugging Face\)'):
    load_lib.load(str(tmp_path))
  (tmp_path / 'pytorch_model.bin').write_bytes(b'')
  (tmp_path / 'config.json').write_text('{}')
  with pytest.raises(UserError, match='pickle'):
    load_lib.load(str(tmp_path))


@pytest.fixture
def decoder_folder(golden_folder):
  folder, _ = golden_folder('decoder_qwen3')
  (folder / 'spiece.model').rename(folder / 'tokenizer.json')
  (folder / 'tokenizer.model').write_bytes(b'')
  return folder


def test_a_decoder_folder(decoder_folder):
  model = load_lib.load(str(decoder_folder), dtype='bfloat16')
  assert isinstance(model.config, decoder.DecoderConfig)
  assert model.network.encode is None and model.config.dtype == 'bfloat16'
  assert model.vocabulary == str(decoder_folder / 'tokenizer.json')
  ids = jnp.array([[3, 4]])
  states = jax.jit(model.network.decode)(model.params, None, None, ids, ids)
  assert states.dtype == jnp.bfloat16


def test_deep_decoders_are_scanned(decoder_folder, monkeypatch):
  plain = load_lib.load(str(decoder_folder))
  monkeypatch.setattr(load_lib, '_SCAN_ABOVE', 1)
  model = load_lib.load(str(decoder_folder))
  assert model.config.scan_layers and not plain.config.scan_layers
  kernel = model.params['decoder']['layers']['mlp']['wo']['kernel']
  assert kernel.shape == (2, 20, 16)


@pytest.mark.parametrize('variant', ['flan', 'decoder_qwen3'])
def test_networks_for_scoring_and_exports(variant, golden_folder, tmp_path):
  folder, _ = golden_folder(variant)
  model = load_lib.load(str(folder))
  network = load_lib.for_scoring(model)
  head = model.network.head(model.params)
  np.testing.assert_array_equal(network.head(model.params), head)
  assert (network.encode is None) == (model.network.encode is None)
  load_lib.export_huggingface(
    tmp_path / 'out', model.params, model.config, model.vocabulary
  )
  found = load_lib.load(str(tmp_path / 'out'))
  assert found.config == model.config
  jax.tree.map(np.testing.assert_array_equal, found.params, model.params)


def test_an_unknown_model_type_lists_the_known_ones(decoder_folder):
  (decoder_folder / 'config.json').write_text('{"model_type": "mamba"}')
  with pytest.raises(UserError) as info:
    load_lib.load(str(decoder_folder))
  assert str(info.value) == (
    f"{decoder_folder / 'config.json'}: model_type is 'mamba', known: t5, mt5, "
    'llama, mistral, qwen2, qwen3, gemma3_text, gemma3'
  )
