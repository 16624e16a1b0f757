"""Meshes by text."""

import jax
import pytest

from jaxcurate.io.errors import UserError
from jaxcurate.models import mesh


@pytest.mark.parametrize(
  'text, data, model',
  [
    (None, 8, 1),
    ('', 8, 1),
    ('data=4,model=2', 4, 2),
    ('model=2', 4, 2),
    ('data=8', 8, 1),
    (' model=8 , data=1', 1, 8),
  ],
)
def test_sizes(text, data, model):
  made = mesh.make_mesh(text)
  assert dict(made.shape) == {'data': data, 'model': model}


def test_fewer_devices():
  assert mesh.make_mesh(None, jax.devices()[:2]).shape['data'] == 2


@pytest.mark.parametrize(
  'text, message',
  [
    ('data=3', 'needs 3 devices, but 8'),
    ('rows=8', "expected e.g. 'data=4"),
    ('data=0', 'expected'),
    ('model=16', 'needs'),
  ],
)
def test_bad_text(text, message):
  with pytest.raises(UserError, match=message):
    mesh.make_mesh(text)
