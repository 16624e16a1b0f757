import dataclasses
import lzma

from flax import serialization
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorstore

from jaxcurate.io.errors import UserError
from jaxcurate.models import t5, t5x_checkpoint


def _write_zarr(folder, params, dtype=np.float32):
  """As T5X writes it: small leaves inline, the others as zarr arrays."""
  folder.mkdir(parents=True, exist_ok=True)

  def write(path, leaf):
    if leaf.ndim < 2:
      return leaf
    name = 'target.' + '.'.join(entry.key for entry in path)
    spec = {
      'driver': 'zarr',
      'dtype': np.dtype(dtype).name,
      'kvstore': {'driver': 'file', 'path': name},
      'metadata': {'shape': list(leaf.shape), 'compressor': {'id': 'gzip'}},
    }
    here = {'driver': 'file', 'path': str(folder / name)}
    array = tensorstore.open(spec | {'kvstore': here}, create=True).result()
    array.write(leaf.astype(dtype)).result()
    return spec

  target = jax.tree_util.tree_map_with_path(write, params)
  tree = {'version': 3, 'optimizer': {'target': target, 'state': {'step': 7}}}
  (folder / 'checkpoint').write_bytes(serialization.msgpack_serialize(tree))


def test_a_real_legacy_checkpoint(shared_data, tmp_path):
  packed = shared_data / 'checkpoints/t5x_test_t5_tiny.checkpoint_0.xz'
  file = tmp_path / 'checkpoint_0'
  file.write_bytes(lzma.decompress(packed.read_bytes()))
  params, config = t5x_checkpoint.read(file)
  assert config == t5.T5Config(
    vocab_size=32128,
    embed_dim=8,
    num_heads=4,
    head_dim=3,
    mlp_dim=16,
    num_encoder_layers=2,
    num_decoder_layers=2,
    activations=('gelu', 'linear'),
  )
  network = t5.make_network(config)
  ids = jnp.array([[3, 4, 5]])

  @jax.jit
  def run(params):
    encoded = network.encode(params, ids, ids)
    states = network.decode(params, encoded, ids, ids, ids)
    return states @ network.head(params)

  logits = run(params)
  assert logits.shape == (1, 3, 32128)
  assert np.isfinite(logits).all() and logits.std() > 0


@pytest.mark.parametrize('dtype', [np.float32, jnp.bfloat16])
def test_a_zarr_directory(dtype, make_config, strong, tmp_path):
  config = make_config(num_encoder_layers=2)
  params = strong(t5.make_network(config))
  _write_zarr(tmp_path / 'checkpoint_7', params, dtype)
  found, found_config = t5x_checkpoint.read(tmp_path / 'checkpoint_7')
  assert found_config == config

  def check(a, b):
    assert a.dtype == np.float32
    np.testing.assert_array_equal(a, b.astype(dtype) if b.ndim > 1 else b)

  jax.tree.map(check, found, params)


@pytest.mark.parametrize(
  'changes',
  [
    {'activations': ('relu',), 'tied_head': True},
    {'num_decoder_layers': 0},
    {'relpos_buckets': 8, 'num_heads': 4, 'head_dim': 3},
  ],
)
def test_config_is_read_off_the_shapes(changes, make_config):
  config = make_config(**changes)
  shapes = jax.eval_shape(t5.make_network(config).init, jax.random.key(0))
  tied = config.tied_head or not config.num_decoder_layers
  expected = dataclasses.replace(
    config, tied_head=tied, scale_decoder_outputs=tied
  )
  assert t5x_checkpoint.infer_config(shapes, 'file') == expected


def test_a_config_of_another_shape_is_refused(make_config, strong, tmp_path):
  config = make_config(num_decoder_layers=0)
  params = strong(t5.make_network(config))
  _write_zarr(tmp_path, params)
  other = dataclasses.replace(config, mlp_dim=21)
  with pytest.raises(UserError, match=r'mlp.*\(16, 20\), expected \(16, 21\)'):
    t5x_checkpoint.read(tmp_path, other)
  other = dataclasses.replace(config, num_encoder_layers=2)
  with pytest.raises(UserError, match=r'no parameter encoder/layers_1/'):
    t5x_checkpoint.read(tmp_path, other)
  found, _ = t5x_checkpoint.read(
    tmp_path, dataclasses.replace(config, norm_eps=1e-5)
  )
  jax.tree.map(np.testing.assert_array_equal, found, params)


def test_a_lost_array_is_named(make_config, strong, tmp_path):
  params = strong(t5.make_network(make_config(num_decoder_layers=0)))
  _write_zarr(tmp_path, params)
  lost = 'target.encoder.layers_0.mlp.wo.kernel'
  (tmp_path / lost / '.zarray').unlink()
  with pytest.raises(UserError, match=f'{lost} cannot be read') as info:
    t5x_checkpoint.read(tmp_path)
  assert '\n' not in str(info.value)


def test_files_that_are_no_checkpoint(tmp_path):
  file = tmp_path / 'file'
  for content in (b'', b'\xc1', b'PK\x03\x04'):
    file.write_bytes(content)
    with pytest.raises(UserError, match='no T5X checkpoint'):
      t5x_checkpoint.read(file)
  with pytest.raises(UserError, match='no T5X checkpoint'):
    t5x_checkpoint.read(tmp_path / 'nothing')
  tree = {'target': {'token_embedder': {'embedding': np.zeros((4, 2))}}}
  file.write_bytes(serialization.msgpack_serialize(tree))
  with pytest.raises(UserError, match="no parameter 'encoder'"):
    t5x_checkpoint.read(file)


def test_vocabulary_lies_in_or_beside_the_checkpoint(make_config, tmp_path):
  checkpoint = tmp_path / 'checkpoint_7'
  checkpoint.mkdir()
  config = make_config()
  with pytest.raises(UserError, match=f'spiece.model into {tmp_path}'):
    t5x_checkpoint.vocabulary(checkpoint, config)
  beside = tmp_path / 'sentencepiece.model'
  beside.write_bytes(b'')
  assert t5x_checkpoint.vocabulary(checkpoint, config) == str(beside)
  byt5 = dataclasses.replace(config, vocab_size=384)
  assert t5x_checkpoint.vocabulary(checkpoint, byt5) == 'bytes'
