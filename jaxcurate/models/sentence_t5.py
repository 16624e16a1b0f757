"""Sentence-T5: a T5 encoder, mean pooling, a dense layer, unit length.

Sentence-T5 (arXiv:2108.08877), the embedding of DENSITY, in the folder layout
of sentence-transformers: modules.json names the parts in order.
"""

import dataclasses
import pathlib

from jaxcurate import types
from jaxcurate.io.errors import UserError
from jaxcurate.models import huggingface, safetensors_files, t5, tensor_names


def read(folder: pathlib.Path) -> tuple[types.Params, t5.T5Config, str]:
  """Parameters, config and vocabulary of a sentence-transformers T5 folder.

  Args:
    folder: holds modules.json; the encoder at its root or in 0_Transformer.

  Returns:
    (params with a `projection` where the folder has a dense layer, config
    without decoder layers, vocabulary as `LoadedModel` has it).

  Raises:
    UserError: a part that `Network.pool` does not compute.
  """
  modules = huggingface.read_json(folder / 'modules.json')
  path_of = {m['type'].rsplit('.', 1)[-1]: folder / m['path'] for m in modules}
  unknown = set(path_of) - {'Transformer', 'Pooling', 'Dense', 'Normalize'}
  if unknown or 'Transformer' not in path_of:
    raise UserError(
      f'{folder / "modules.json"} names {", ".join(path_of)}, expected '
      'Transformer, Pooling and optionally Dense and Normalize, each once'
    )
  if 'Pooling' in path_of:
    _check_mean(path_of['Pooling'] / 'config.json')
  params, config = huggingface.read(path_of['Transformer'], encoder_only=True)
  if 'Dense' in path_of:
    kernel = _dense(path_of['Dense'], config.embed_dim)
    config = dataclasses.replace(config, projection_dim=kernel.shape[1])
    params = {**params, 'projection': {'kernel': kernel}}
  return params, config, huggingface.vocabulary(path_of['Transformer'])


def _check_mean(path: pathlib.Path) -> None:
  values = huggingface.read_json(path)
  modes = [
    name.removeprefix('pooling_mode_')
    for name, used in values.items()
    if name.startswith('pooling_mode_') and used is True
  ]
  if modes != ['mean_tokens'] and values.get('pooling_mode') != 'mean':
    raise UserError(
      f'{path} pools by {modes or values.get("pooling_mode")}, expected the '
      'mean of the tokens alone, as Sentence-T5 does'
    )


def _dense(folder: pathlib.Path, embed_dim: int) -> types.Params:
  values = huggingface.read_json(folder / 'config.json')
  activation = values.get('activation_function', 'Identity')
  if values.get('bias') or not activation.endswith('Identity'):
    raise UserError(
      f'{folder / "config.json"} has bias {values.get("bias")} and activation '
      f'{activation}, expected neither, as in Sentence-T5'
    )
  shape = (values['out_features'], embed_dim)
  with safetensors_files.open_tensors(folder) as tensors:
    weight = tensors.read('linear.weight', shape)
  return tensor_names.turn(('projection', 'kernel'), weight)
