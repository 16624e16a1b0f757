"""Tensors of a Hugging Face folder, one file or sharded, never a pickle."""

from collections.abc import Iterator
import contextlib
import json
import pathlib
from typing import Any

import numpy as np
import safetensors

from jaxcurate.io.errors import UserError

_PICKLES = ('*.bin', '*.pt', '*.pth', '*.ckpt', '*.pkl', '*.msgpack', '*.h5')


class Tensors:
  """Open safetensors files, read one tensor at a time.

  A class because the open handles are state: a model larger than memory's
  half is imported without holding all of its files.
  """

  def __init__(self, folder: pathlib.Path, handles: dict[str, Any]):
    self.folder = folder
    self._handle_of = {
      name: (file, handle)
      for file, handle in handles.items()
      for name in handle.keys()
    }

  def names(self) -> set[str]:
    """Names of all tensors."""
    return set(self._handle_of)

  def read(self, name: str, shape: tuple[int, ...] | None) -> np.ndarray:
    """One tensor as float32.

    Args:
      name: its name in the file.
      shape: what the config asks for; None takes any.

    Raises:
      UserError: it is absent or has another shape.
    """
    if name not in self._handle_of:
      raise UserError(
        f'{self.folder} has no tensor {name!r}, which its config.json asks '
        f'for with shape {shape}: the download is incomplete, or config.json '
        'belongs to another model'
      )
    file, handle = self._handle_of[name]
    found = tuple(handle.get_slice(name).get_shape())
    if shape is not None and found != shape:
      raise UserError(
        f'{self.folder / file}: tensor {name!r} has shape {found}, expected '
        f'{shape} from config.json: they belong to different models'
      )
    return np.asarray(handle.get_tensor(name), np.float32)


@contextlib.contextmanager
def open_tensors(folder: pathlib.Path) -> Iterator[Tensors]:
  """Opens `model.safetensors`, or the shards its index names.

  Args:
    folder: local folder.

  Yields:
    The tensors of all files.

  Raises:
    UserError: no safetensors, a shard is missing, or a file is damaged.
  """
  with contextlib.ExitStack() as stack:
    handles = {}
    for file in _files(folder):
      path = folder / file
      try:
        handle = safetensors.safe_open(path, framework='numpy')
        handles[file] = stack.enter_context(handle)
      except (safetensors.SafetensorError, OSError) as error:
        raise UserError(
          f'{path} cannot be read as safetensors ({error}): download it again'
        ) from error
    yield Tensors(folder, handles)


def _files(folder: pathlib.Path) -> list[str]:
  if (folder / 'model.safetensors').is_file():
    return ['model.safetensors']
  index = folder / 'model.safetensors.index.json'
  if index.is_file():
    try:
      weight_map = json.loads(index.read_text())['weight_map']
    except (json.JSONDecodeError, KeyError) as error:
      raise UserError(f'{index} is no safetensors index: {error!r}') from error
    return sorted(set(weight_map.values()))
  for pattern in _PICKLES:
    for path in sorted(folder.glob(pattern)):
      raise UserError(
        f'{path} is not safetensors, and loading a pickle can run any code: '
        'convert the folder once to model.safetensors, for example with '
        'https://huggingface.co/spaces/safetensors/convert'
      )
  raise UserError(
    f'{folder} holds neither model.safetensors nor model.safetensors.index.json'
  )
