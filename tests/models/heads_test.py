"""A head lies beside its network and is read as it was written."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.io.errors import UserError
from jaxcurate.models import heads, load
from jaxcurate.types import Head, HeadSettings

SETTINGS = HeadSettings(('a', 'b'), 'log P(yes)', 'mean', 64, 3, 2)
PARAMS = {
  'kernel': np.arange(6, dtype=np.float32).reshape(3, 2),
  'length': jnp.array([1.0, 2.0]),
  'bias': np.zeros(2, np.float32),
}


def test_what_is_written_is_read(tmp_path):
  heads.write(tmp_path, Head(SETTINGS, PARAMS))
  found = heads.read(str(tmp_path))
  assert found.settings == SETTINGS
  assert found.params.keys() == PARAMS.keys()
  for name, array in PARAMS.items():
    np.testing.assert_array_equal(found.params[name], array)
    assert found.params[name].dtype == np.float32


def test_a_turned_array_is_written_in_order(tmp_path):
  turned = {**PARAMS, 'kernel': np.arange(6, dtype=np.float32).reshape(2, 3).T}
  heads.write(tmp_path, Head(SETTINGS, turned))
  np.testing.assert_array_equal(
    heads.read(str(tmp_path)).params['kernel'], turned['kernel']
  )


def test_a_folder_without_a_head(tmp_path):
  with pytest.raises(UserError, match=r'has no head\.safetensors'):
    heads.read(str(tmp_path))
  assert heads.folder_of('judge') == load.judge_folder()


@pytest.mark.parametrize('content', [b'', b'no safetensors at all, but long'])
def test_a_damaged_head_is_named(tmp_path, content):
  (tmp_path / heads.NAME).write_bytes(content)
  with pytest.raises(UserError, match=r'head\.safetensors: is no head of'):
    heads.read(str(tmp_path))


def test_tensors_of_something_else_are_named(tmp_path):
  from safetensors.numpy import save_file

  save_file({'x': np.zeros(1)}, tmp_path / heads.NAME)
  with pytest.raises(UserError, match=r"is no head of a judge .*'settings'"):
    heads.read(str(tmp_path))
