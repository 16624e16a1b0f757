"""The head of a judge as a file beside its network: head.safetensors.

It lies in the same folder as the Hugging Face checkpoint, which other programs
read as if the head were not there.
"""

import json
import pathlib

import jax
import numpy as np
import safetensors
from safetensors import numpy as safetensors_numpy

from jaxcurate.io import atomic
from jaxcurate.io.errors import UserError
from jaxcurate.models import huggingface, load
from jaxcurate.types import Head, HeadSettings

NAME = 'head.safetensors'


def write(folder: str | pathlib.Path, head: Head) -> None:
  """Writes head.safetensors.

  Args:
    folder: of the checkpoint.
    head: tensors on device or host.
  """
  tensors = {
    name: np.ascontiguousarray(jax.device_get(array), np.float32)
    for name, array in head.params.items()
  }
  metadata = {'settings': json.dumps(head.settings._asdict())}
  atomic.write_with(
    pathlib.Path(folder) / NAME,
    lambda file: safetensors_numpy.save_file(tensors, file, metadata=metadata),
  )


def read(model: str) -> Head:
  """The head beside a checkpoint.

  Args:
    model: as for `load.load`.

  Raises:
    UserError: there is none, or it is damaged.
  """
  path = folder_of(model) / NAME
  if not path.is_file():
    raise UserError(
      f'{model}: has no {NAME}, so it rates nothing; give a folder that'
      ' `jaxcurate train --targets=... ` wrote (OUTPUT/model)'
    )
  try:
    with safetensors.safe_open(path, framework='numpy') as file:
      values = json.loads((file.metadata() or {})['settings'])
      tensors = {name: file.get_tensor(name) for name in file.keys()}
    settings = HeadSettings(**values)
  except (safetensors.SafetensorError, OSError, KeyError, TypeError,
          ValueError) as error:  # fmt: skip
    raise UserError(
      f'{path}: is no head of a judge ({error!r}); train it again'
    ) from error
  return Head(settings._replace(criteria=tuple(settings.criteria)), tensors)


def folder_of(model: str) -> pathlib.Path:
  """The local folder of what --model names.

  Args:
    model: as for `load.load`; one of the hub is downloaded.
  """
  folder = pathlib.Path(model)
  if not folder.exists():
    if model == 'judge':
      return load.judge_folder()
    if model.startswith('hf:'):
      return huggingface.download(model.removeprefix('hf:'))
  return folder
