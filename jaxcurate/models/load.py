"""One way to open any checkpoint: `load(path)` looks at what the folder is."""

import dataclasses
import pathlib
import re
from typing import NamedTuple

from jaxcurate import types
from jaxcurate.io.errors import UserError
from jaxcurate.models import (
  attention,
  decoder,
  decoder_settings,
  huggingface,
  huggingface_decoder,
  lora,
  parameters,
  sentence_t5,
  t5,
  t5x_checkpoint,
)

# Of the networks that can be loaded.
Config = t5.T5Config | decoder.DecoderConfig

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
    vocabulary: path of a SentencePiece model or tokenizer.json, or 'bytes'.
  """

  network: types.Network
  params: types.Params
  config: Config
  vocabulary: str


def load(path: str, *, dtype: str | None = None) -> LoadedModel:
  """Loads a checkpoint of whatever kind lies at `path`.

  Args:
    path: an existing path wins: a Hugging Face folder of a T5 or of a decoder
      (`decoder_settings.MODEL_TYPES`), PEFT's folder of LoRA adapters for one
      (merged), a sentence-transformers T5 folder, a T5X checkpoint directory
      (or a folder of several: the last step) or legacy file. Else 'judge', the
      one shipped with jaxcurate, or 'hf:owner/name', which is downloaded.
    dtype: 'bfloat16' or 'float32' activations; None keeps float32.

  Raises:
    UserError: nothing loadable is there.
  """
  params, config, vocabulary = _read(path)
  if isinstance(config, decoder.DecoderConfig):
    num_layers = config.num_layers
  else:
    num_layers = max(config.num_encoder_layers, config.num_decoder_layers)
  config = dataclasses.replace(
    config, dtype=dtype or config.dtype, scan_layers=num_layers > _SCAN_ABOVE
  )
  if config.scan_layers:
    params = parameters.stack_layers(params)
  return LoadedModel(make_network(config), params, config, vocabulary)


def make_network(config: Config) -> types.Network:
  """The network of either kind of config."""
  if isinstance(config, decoder.DecoderConfig):
    return decoder.make_network(config)
  return t5.make_network(config)


def for_scoring(model: LoadedModel) -> types.Network:
  """The network as it runs fastest where no gradient is taken."""
  return make_network(
    dataclasses.replace(model.config, blocked_attention=attention.blocks_pay())
  )


def for_training(model: LoadedModel) -> types.Network:
  """The network as it runs fastest where gradients are taken."""
  if isinstance(model.config, decoder.DecoderConfig):
    return model.network
  return t5.make_network(t5.for_training(model.config))


def export_huggingface(
  path: str | pathlib.Path,
  params: types.Params,
  config: Config,
  vocabulary: str,
) -> None:
  """Writes a folder that `load` and transformers read.

  Args:
    path: folder, made if absent.
    params: as `make_network(config)` has them, on device or host.
    config: of the same network.
    vocabulary: as `LoadedModel` has it.

  Raises:
    ValueError: Hugging Face has no model that computes the config.
  """
  if isinstance(config, decoder.DecoderConfig):
    huggingface_decoder.export_huggingface(path, params, config, vocabulary)
  else:
    huggingface.export_huggingface(path, params, config, vocabulary)


def _read(path: str) -> tuple[types.Params, Config, str]:
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
    return _read_huggingface(folder)
  if (folder / lora.CONFIG).is_file():
    base, alpha = lora.read_config(folder)
    params, config, vocabulary = _read(base)
    adapters = lora.read(folder, config)
    return lora.merged(params, adapters, alpha), config, vocabulary
  steps = [p for p in folder.iterdir() if _STEP.fullmatch(p.name)]
  if steps:
    last = max(steps, key=lambda p: int(p.name.removeprefix('checkpoint_')))
    return _read_t5x(str(last))
  raise UserError(
    f'{folder} is no checkpoint: expected config.json (Hugging Face), '
    'modules.json (sentence-transformers) or checkpoint (T5X) in it'
  )


def _read_huggingface(
  folder: pathlib.Path,
) -> tuple[types.Params, Config, str]:
  file = folder / 'config.json'
  model_type = huggingface.read_json(file).get('model_type', 't5')
  if model_type in decoder_settings.MODEL_TYPES:
    params, config = huggingface_decoder.read(folder)
    return params, config, huggingface_decoder.vocabulary(folder)
  known = (*huggingface.MODEL_TYPES, *decoder_settings.MODEL_TYPES)
  if model_type not in known:
    raise UserError(
      f'{file}: model_type is {model_type!r}, known: {", ".join(known)}'
    )
  params, config = huggingface.read(folder)
  return params, config, huggingface.vocabulary(folder)


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
