"""T5 checkpoints of Hugging Face: read a folder or hub id, write a folder.

T5 1.0, 1.1, Flan, mT5 and ByT5. Two traps of `transformers`: version 5 states
the d_model^-0.5 scaling as `scale_decoder_outputs` and overwrites
`tie_word_embeddings`, from which version 4 derived it; and the head is
separate exactly when the file holds `lm_head.weight`, whatever config says.
"""

import dataclasses
import json
import pathlib
from typing import Any

from flax import traverse_util
import jax
import numpy as np
from safetensors import numpy as safetensors_numpy

from jaxcurate import types
from jaxcurate.io import atomic
from jaxcurate.io.errors import UserError
from jaxcurate.models import parameters, safetensors_files, t5, tensor_names

# Of each feed_forward_proj. T5's 'gated-gelu' is the tanh approximation.
_ACTIVATIONS = {
  'relu': ('relu',),
  'gated-relu': ('relu', 'linear'),
  'gated-gelu': ('gelu', 'linear'),
  'gated-silu': ('silu', 'linear'),
}
MODEL_TYPES = ('t5', 'mt5')
_SPIECE = 'spiece.model'
_WANTED = (
  '*.json',
  '*.safetensors',
  '*.jinja',
  f'*{_SPIECE}',
  '*tokenizer.model',
)
_TWICE = ('consolidated*', 'original/*')  # the same weights in another layout


def download(name: str) -> pathlib.Path:
  """Folder of a hub model in the local cache; no pickle is downloaded.

  Args:
    name: 'owner/name'.

  Raises:
    UserError: huggingface_hub is missing, or the hub refuses.
  """
  try:
    import huggingface_hub
    from huggingface_hub import errors
  except ImportError as error:
    raise UserError(
      f'hf:{name} needs huggingface_hub: pip install huggingface_hub, or give '
      'a folder that holds the model'
    ) from error
  try:
    folder = huggingface_hub.snapshot_download(
      name, allow_patterns=list(_WANTED), ignore_patterns=list(_TWICE)
    )
  except (errors.HFValidationError, errors.HfHubHTTPError, OSError) as error:
    reason = str(error).strip().splitlines()[0]
    raise UserError(
      f'hf:{name} cannot be downloaded ({reason}): check the name and the '
      'network, or give a folder that holds the model'
    ) from error
  return pathlib.Path(folder)


def read(
  folder: pathlib.Path, *, encoder_only: bool = False
) -> tuple[types.Params, t5.T5Config]:
  """Parameters and config of a T5 folder.

  Args:
    folder: holds config.json and safetensors.
    encoder_only: leave the decoder out where there is one.

  Returns:
    (params with T5X's names as float32 NumPy arrays, config).

  Raises:
    UserError: names the file or tensor that is missing or wrong.
  """
  values = read_json(folder / 'config.json')
  with safetensors_files.open_tensors(folder) as tensors:
    names = tensors.names()
    config = _config(values, folder / 'config.json', names)
    if encoder_only:
      config = dataclasses.replace(config, num_decoder_layers=0)
    shapes = jax.eval_shape(t5.make_network(config).init, jax.random.key(0))
    flat = {}
    for path, leaf in parameters.flatten(shapes).items():
      name = tensor_names.huggingface_name(path)
      if name == 'shared.weight' and name not in names:
        name = 'encoder.embed_tokens.weight'  # encoders saved by some tools
      turned = tensor_names.is_transposed(path)
      shape = leaf.shape[::-1] if turned else leaf.shape
      flat[path] = tensor_names.turn(path, tensors.read(name, shape))
  return traverse_util.unflatten_dict(flat), config


def vocabulary(folder: pathlib.Path) -> str:
  """Path of the folder's spiece.model, or 'bytes' for ByT5.

  Raises:
    UserError: it has neither.
  """
  if (folder / _SPIECE).is_file():
    return str(folder / _SPIECE)
  for file in ('tokenizer_config.json', 'config.json'):
    if (folder / file).is_file():
      if read_json(folder / file).get('tokenizer_class') == 'ByT5Tokenizer':
        return 'bytes'
  raise UserError(
    f'{folder} has no {_SPIECE}: copy the SentencePiece model of its '
    'tokenizer there'
  )


def export_huggingface(
  path: str | pathlib.Path,
  params: types.Params,
  config: t5.T5Config,
  vocabulary: str,
) -> None:
  """Writes config.json, model.safetensors and the tokenizer's files.

  Args:
    path: folder, made if absent.
    params: as `make_network(config)` has them, on device or host.
    config: of the same network.
    vocabulary: path of a spiece.model, or 'bytes'.

  Raises:
    ValueError: the network has a projection, for which T5 has no tensor.
  """
  params = parameters.unstack_layers(jax.device_get(params))
  tensors = {
    tensor_names.huggingface_name(path): tensor_names.turn(
      path, np.asarray(array, np.float32)
    )
    for path, array in parameters.flatten(params).items()
  }
  if config.tied_head and not config.scale_decoder_outputs:
    # transformers 4 has one flag for both; an explicit head says it to all.
    tensors['lm_head.weight'] = tensors['shared.weight'].copy()
  folder = pathlib.Path(path)
  atomic.write_with(
    folder / 'model.safetensors',
    lambda file: safetensors_numpy.save_file(
      tensors,
      file,
      metadata={'format': 'pt'},  # transformers refuses a file without it
    ),
  )
  write_vocabulary(folder, vocabulary)
  write_json(folder / 'config.json', _config_values(config))


def write_vocabulary(folder: pathlib.Path, vocabulary: str) -> None:
  """Writes a T5 vocabulary as `vocabulary` finds it again.

  Args:
    folder: of the model.
    vocabulary: path of a spiece.model, or 'bytes'.
  """
  by_bytes = vocabulary == 'bytes'
  tokenizer = 'ByT5Tokenizer' if by_bytes else 'T5Tokenizer'
  if not by_bytes:
    pieces = pathlib.Path(vocabulary).read_bytes()
    atomic.write_bytes(folder / _SPIECE, pieces)
  write_json(
    folder / 'tokenizer_config.json',
    {
      'tokenizer_class': tokenizer,
      'eos_token': '</s>',
      'pad_token': '<pad>',
      'unk_token': '<unk>',
      'extra_ids': 125 if by_bytes else 100,  # ByT5's and T5's sentinels
    },
  )


def read_json(path: pathlib.Path) -> Any:
  """Content of a JSON file.

  Raises:
    UserError: it is absent or no JSON.
  """
  try:
    return json.loads(path.read_text(encoding='utf-8'))
  except FileNotFoundError as error:
    raise UserError(f'{path} does not exist') from error
  except (json.JSONDecodeError, UnicodeDecodeError) as error:
    raise UserError(f'{path} is no JSON: {error}') from error


def _config(values: dict, path: pathlib.Path, names: set[str]) -> t5.T5Config:
  model_type = values.get('model_type', 't5')
  if model_type not in MODEL_TYPES:
    raise UserError(
      f'{path}: model_type is {model_type!r}, known: '
      f'{", ".join(MODEL_TYPES)} (1.0, 1.1, Flan, ByT5)'
    )
  projection = values.get('feed_forward_proj', 'relu')
  if projection not in _ACTIVATIONS:
    raise UserError(
      f'{path}: feed_forward_proj is {projection!r}, known: '
      f'{", ".join(_ACTIVATIONS)}'
    )
  tied = values.get('tie_word_embeddings', model_type == 't5')
  has_decoder = 'decoder.final_layer_norm.weight' in names
  try:
    num_layers = values['num_layers']
    num_decoder_layers = values.get('num_decoder_layers') or num_layers
    return t5.T5Config(
      vocab_size=values['vocab_size'],
      embed_dim=values['d_model'],
      num_heads=values['num_heads'],
      head_dim=values['d_kv'],
      mlp_dim=values['d_ff'],
      num_encoder_layers=num_layers,
      num_decoder_layers=num_decoder_layers if has_decoder else 0,
      activations=_ACTIVATIONS[projection],
      tied_head='lm_head.weight' not in names,
      scale_decoder_outputs=values.get('scale_decoder_outputs', tied),
      # transformers' defaults, for the older files that lack them
      relpos_buckets=values.get('relative_attention_num_buckets', 32),
      relpos_max_distance=values.get('relative_attention_max_distance', 128),
      norm_eps=values.get('layer_norm_epsilon', 1e-6),
      dropout_rate=values.get('dropout_rate', 0.1),
    )
  except KeyError as error:
    raise UserError(f'{path} lacks {error}') from error


def _config_values(config: t5.T5Config) -> dict[str, Any]:
  projections = {value: key for key, value in _ACTIVATIONS.items()}
  decoder = config.num_decoder_layers > 0
  architecture = 'T5ForConditionalGeneration' if decoder else 'T5EncoderModel'
  return {
    'architectures': [architecture],
    'model_type': 't5',
    'vocab_size': config.vocab_size,
    'd_model': config.embed_dim,
    'num_heads': config.num_heads,
    'd_kv': config.head_dim,
    'd_ff': config.mlp_dim,
    'num_layers': config.num_encoder_layers,
    'num_decoder_layers': config.num_decoder_layers,
    'feed_forward_proj': projections[config.activations],
    'tie_word_embeddings': config.scale_decoder_outputs,
    'scale_decoder_outputs': config.scale_decoder_outputs,
    'relative_attention_num_buckets': config.relpos_buckets,
    'relative_attention_max_distance': config.relpos_max_distance,
    'layer_norm_epsilon': config.norm_eps,
    'dropout_rate': config.dropout_rate,
    'is_encoder_decoder': decoder,
    'decoder_start_token_id': 0,
    'eos_token_id': 1,
    'pad_token_id': 0,
  }


def write_json(path: pathlib.Path, values: dict[str, Any]) -> None:
  """Writes a JSON file, keys sorted, replacing it at once."""
  atomic.write_text(path, json.dumps(values, indent=2, sort_keys=True) + '\n')
