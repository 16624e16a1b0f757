"""Decoder-only checkpoints of Hugging Face: read a folder, write a folder."""

import dataclasses
import pathlib
from typing import Any

from flax import traverse_util
import jax
import numpy as np
from safetensors import numpy as safetensors_numpy

from jaxcurate import types
from jaxcurate.io import atomic
from jaxcurate.io.errors import UserError
from jaxcurate.models import (
  decoder,
  decoder_settings,
  decoder_tensor_names,
  huggingface,
  parameters,
  safetensors_files,
)
from jaxcurate.models.decoder_tensor_names import EMBEDDING, HEAD

# Where the text model's tensors lie: causal models, bare models, and Gemma 3
# with eyes as transformers 4 and 5 write it.
_PREFIXES = ('model.', '', 'language_model.model.', 'model.language_model.')
# Constants that older files hold.
_COMPUTED = ('.rotary_emb.inv_freq',)
_JSON, _PIECES, _T5_PIECES = 'tokenizer.json', 'tokenizer.model', 'spiece.model'
# What travels with a vocabulary when a model is written again.
_COMPANIONS = (
  _JSON,
  _PIECES,
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'generation_config.json',
  'chat_template.jinja',
  'chat_template.json',
)
_TOKEN_IDS = ('bos_token_id', 'eos_token_id', 'pad_token_id')


def read(
  folder: pathlib.Path,
) -> tuple[types.Params, decoder.DecoderConfig]:
  """Parameters and config of a folder.

  Args:
    folder: holds config.json, of a model_type in
      `decoder_settings.MODEL_TYPES`, and safetensors.

  Returns:
    (params as `decoder.make_network(config)` has them, as float32 NumPy
    arrays, config).

  Raises:
    UserError: names the file, entry or tensor that is missing or wrong.
  """
  file = folder / 'config.json'
  try:
    config = decoder_settings.read(huggingface.read_json(file))
  except KeyError as error:
    raise UserError(f'{file} lacks {error}') from error
  except ValueError as error:
    raise UserError(f'{file}: {error}') from error
  with safetensors_files.open_tensors(folder) as tensors:
    names = tensors.names()
    start = next((p for p in _PREFIXES if p + EMBEDDING in names), _PREFIXES[0])
    head = _head_name(names, start)
    if config.tied_head and head in names:
      config = dataclasses.replace(
        config, tied_head=_same(tensors, start, head)
      )
    shapes = jax.eval_shape(
      decoder.make_network(config).init, jax.random.key(0)
    )
    flat, read_names = {}, {head}
    for path, leaf in parameters.flatten(shapes).items():
      name = decoder_tensor_names.huggingface_name(path, config.post_norms)
      name = head if name == HEAD else start + name
      turned = path[-1] == 'kernel'
      shape = leaf.shape[::-1] if turned else leaf.shape
      array = tensors.read(name, shape)
      flat[path] = np.ascontiguousarray(array.T) if turned else array
      read_names.add(name)
  unread = sorted(
    name
    for name in names - read_names
    if name.startswith(start) and not name.endswith(_COMPUTED)
  )
  if unread:
    raise UserError(
      f'{folder} holds {len(unread)} tensors that its config.json does not ask '
      f'for, the first is {unread[0]!r}: they belong to different models, or '
      'to a kind of network that we do not have'
    )
  return traverse_util.unflatten_dict(flat), config


def vocabulary(folder: pathlib.Path) -> str:
  """Path of the folder's tokenizer.json, else of its tokenizer.model.

  A decoder trained here may have T5's instead: spiece.model, or 'bytes'.

  Raises:
    UserError: it has none of them.
  """
  for name in (_JSON, _PIECES):
    if (folder / name).is_file():
      return str(folder / name)
  try:
    return huggingface.vocabulary(folder)
  except UserError as error:
    raise UserError(
      f'{folder} has no {_JSON} or {_PIECES}: copy the tokenizer of the model '
      'there'
    ) from error


def export_huggingface(
  path: str | pathlib.Path,
  params: types.Params,
  config: decoder.DecoderConfig,
  vocabulary: str,
) -> None:
  """Writes config.json, model.safetensors and the tokenizer's files.

  Args:
    path: folder, made if absent.
    params: as `make_network(config)` has them, on device or host.
    config: of the same network.
    vocabulary: path of a tokenizer.json or SentencePiece model; the small
      files beside it are copied too, and the ids of its special tokens kept.
      Or 'bytes'.

  Raises:
    ValueError: no model type of Hugging Face computes the config.
  """
  folder = pathlib.Path(path)
  values = decoder_settings.write(config)
  params = parameters.unstack_layers(jax.device_get(params))
  tensors = {}
  for where, leaf in parameters.flatten(params).items():
    name = decoder_tensor_names.huggingface_name(where, config.post_norms)
    array = np.asarray(leaf, np.float32)
    array = array.T if where[-1] == 'kernel' else array
    full = name if name == HEAD else _PREFIXES[0] + name
    tensors[full] = np.ascontiguousarray(array)
  atomic.write_with(
    folder / 'model.safetensors',
    lambda file: safetensors_numpy.save_file(
      tensors,
      file,
      metadata={'format': 'pt'},  # transformers refuses a file without it
    ),
  )
  values |= _write_vocabulary(folder, vocabulary)
  huggingface.write_json(folder / 'config.json', values)


def _head_name(names: set[str], start: str) -> str:
  # Gemma 3 with eyes keeps its text model's head, if any, beside it.
  beside = start.removesuffix('model.') + HEAD
  return beside if beside in names else HEAD


def _same(tensors: safetensors_files.Tensors, start: str, head: str) -> bool:
  """Whether a head that the config calls tied is the embedding."""
  # Where both are there and differ, transformers 5 believes the file.
  embedding = tensors.read(start + EMBEDDING, None)
  return np.array_equal(embedding, tensors.read(head, embedding.shape))


def _write_vocabulary(folder: pathlib.Path, vocabulary: str) -> dict[str, Any]:
  """Copies the tokenizer; returns its special ids, if config.json has them."""
  source = pathlib.Path(vocabulary)
  if vocabulary == 'bytes' or source.name == _T5_PIECES:
    huggingface.write_vocabulary(folder, vocabulary)
    return {}
  names = {name: name for name in _COMPANIONS}
  names[source.name] = _JSON if source.suffix == '.json' else _PIECES
  for name, written in names.items():
    if (source.parent / name).is_file():
      atomic.write_bytes(folder / written, (source.parent / name).read_bytes())
  file = source.parent / 'config.json'
  values = huggingface.read_json(file) if file.is_file() else {}
  return {name: values[name] for name in _TOKEN_IDS if name in values}
