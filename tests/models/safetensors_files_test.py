import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxcurate.io.errors import UserError
from jaxcurate.models import safetensors_files


def test_reads_one_tensor_as_float32(tmp_path):
  array = np.arange(6, dtype=np.float16).reshape(2, 3)
  save_file({'a': array}, tmp_path / 'model.safetensors')
  with safetensors_files.open_tensors(tmp_path) as tensors:
    assert tensors.names() == {'a'}
    found = tensors.read('a', (2, 3))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, array)
    with pytest.raises(UserError, match=r"'a' has shape \(2, 3\).*\(3, 2\)"):
      tensors.read('a', (3, 2))
    with pytest.raises(UserError, match="no tensor 'b'"):
      tensors.read('b', (1,))


@pytest.mark.parametrize(
  'name', ['pytorch_model.bin', 'model.pt', 'tf_model.h5', 'x.ckpt']
)
def test_pickles_are_refused_by_name(name, tmp_path):
  (tmp_path / name).write_bytes(b'\x80\x04.')
  with (
    pytest.raises(UserError, match=f'{name}.*pickle.*convert'),
    safetensors_files.open_tensors(tmp_path),
  ):
    pass


def test_no_weights_at_all(tmp_path):
  with (
    pytest.raises(UserError, match='neither'),
    safetensors_files.open_tensors(tmp_path),
  ):
    pass


def test_a_truncated_file_and_a_missing_shard(tmp_path):
  whole = tmp_path / 'model.safetensors'
  save_file({'a': np.zeros(100, np.float32)}, whole)
  whole.write_bytes(whole.read_bytes()[:-8])
  with (
    pytest.raises(UserError, match=r'model\.safetensors cannot be read'),
    safetensors_files.open_tensors(tmp_path),
  ):
    pass
  whole.unlink()
  index = tmp_path / 'model.safetensors.index.json'
  index.write_text(json.dumps({'weight_map': {'a': 'gone.safetensors'}}))
  with (
    pytest.raises(UserError, match=r'gone\.safetensors cannot be read'),
    safetensors_files.open_tensors(tmp_path),
  ):
    pass
  index.write_text('{}')
  with (
    pytest.raises(UserError, match='is no safetensors index'),
    safetensors_files.open_tensors(tmp_path),
  ):
    pass
