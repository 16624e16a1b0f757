"""The device mesh: axes `data` and `model`, T5X's names."""

from collections.abc import Sequence
import re
from typing import Any

import jax
import numpy as np

from jaxcurate.io.errors import UserError

AXES = ('data', 'model')


def make_mesh(
  text: str | None = None, devices: Sequence[Any] | None = None
) -> jax.sharding.Mesh:
  """A mesh from 'data=4,model=2'; all devices on `data` by default.

  Args:
    text: sizes of the axes; an axis that is not named has size 1, or what is
      left over when it is `data`.
    devices: None for all devices of all hosts.

  Raises:
    UserError: the text is malformed, or does not use every device.

  >>> make_mesh('model=1', jax.devices()[:1]).shape['data']
  1
  """
  devices = jax.devices() if devices is None else devices
  sizes = {}
  for part in (text or '').replace(' ', '').split(','):
    match = re.fullmatch(r'(data|model)=([1-9]\d*)', part)
    if match is None and part:
      raise UserError(f"mesh {text!r}: expected e.g. 'data=4,model=2'")
    if match is not None:
      sizes[match[1]] = int(match[2])
  model = sizes.get('model', 1)
  data = sizes.get('data', len(devices) // model)
  if data * model != len(devices):
    raise UserError(
      f'mesh data={data},model={model} needs {data * model} devices, but'
      f' {len(devices)} are there'
    )
  return jax.sharding.Mesh(np.array(devices).reshape(data, model), AXES)
