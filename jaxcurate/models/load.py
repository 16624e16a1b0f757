"""One way to open any checkpoint: `load(path)` looks at what the folder is."""

import dataclasses
import pathlib
import re
from typing import NamedTuple

from jaxcurate import types
from jaxcurate.io.errors import UserError
from jaxcurate.models import (
  huggingface,
  parameters,
  sentence_t5,
  t5,
  t5x_checkpoint,
)

_JUDGE = pathlib.Path(__file__).parent / 'judge'
_STEP = re.compile(r'checkpoint_(\d+)')

# Deeper stacks are scanned: 24 unrolled layers compile 1.8 times as long as
# scanned ones, 8 no longer, and unrolled they run a tenth faster on a CPU.
_SCAN_ABOVE = 12


class LoadedModel(NamedTuple):
  """A checkpoint, ready to run.

  Attributes:
    network: as functions of the parameters.
    params: float32 NumPy arrays on the host; put them on the devices once.
    config: shape and arithmetic.
    vocabulary: path of a SentencePiece model, or 'bytes'.
  """

  network: types.Network
  params: types.Params
  config: t5.T5Config
  vocabulary: str


def load(path: str, *, dtype: str | None = None) -> LoadedModel:
  """Loads a checkpoint of whatever kind lies at `path`.

  Args:
    path: an existing path wins: a Hugging Face folder, a sentence-transformers
      T5 folder, a T5X checkpoint directory (or a folder of several: the last
      step) or legacy file. Else 'judge', the one shipped with jaxcurate, or
      'hf:owner/name', which is downloaded.
    dtype: 'bfloat16' or 'float32' activations; None keeps float32.

  Raises:
    UserError: nothing loadable is there.
  """
  params, config, vocabulary = _read(path)
  num_layers = max(config.num_encoder_layers, config.num_decoder_layers)
  config = dataclasses.replace(
    config, dtype=dtype or config.dtype, scan_layers=num_layers > _SCAN_ABOVE
  )
  if config.scan_layers:
    params = parameters.stack_layers(params)
  return LoadedModel(t5.make_network(config), params, config, vocabulary)


def _read(path: str) -> tuple[types.Params, t5.T5Config, str]:
  if path.startswith('gs://'):
    return _read_t5x(path)
  folder = pathlib.Path(path)
  if not folder.exists():
    if path == 'judge':
      folder = judge_folder()
    elif path.startswith('hf:'):
      folder = huggingface.download(path.removeprefix('hf:'))
    else:
      raise UserError(
        f'no checkpoint at {path}: give a folder, hf:owner/name for a model of '
        "the Hugging Face hub, or 'judge' for the shipped one"
      )
  if folder.is_file() or (folder / 'checkpoint').is_file():
    return _read_t5x(str(folder))
  if (folder / 'modules.json').is_file():
    return sentence_t5.read(folder)
  if (folder / 'config.json').is_file():
    params, config = huggingface.read(folder)
    return params, config, huggingface.vocabulary(folder)
  steps = [p for p in folder.iterdir() if _STEP.fullmatch(p.name)]
  if steps:
    last = max(steps, key=lambda p: int(p.name.removeprefix('checkpoint_')))
    return _read_t5x(str(last))
  raise UserError(
    f'{folder} is no checkpoint: expected config.json (Hugging Face), '
    'modules.json (sentence-transformers) or checkpoint (T5X) in it'
  )


def _read_t5x(path: str) -> tuple[types.Params, t5.T5Config, str]:
  params, config = t5x_checkpoint.read(path)
  return params, config, t5x_checkpoint.vocabulary(path, config)


def judge_folder() -> pathlib.Path:
  """Folder of the shipped judge.

  Raises:
    UserError: it is not in this installation.
  """
  if not (_JUDGE / 'config.json').is_file():
    raise UserError(
      f'the shipped judge is not in this installation ({_JUDGE}): install '
      'jaxcurate from its repository or wheel, or give another --model'
    )
  return _JUDGE
