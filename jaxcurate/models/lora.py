"""LoRA adapters on disk, in the layout of Hugging Face's PEFT.

`adapter_model.safetensors` holds A as [rank, in] and B as [out, rank] under
`base_model.model.` and the module's own name, `adapter_config.json` what they
belong to (huggingface/peft, src/peft/utils/save_and_load.py). A folder of
these is a model as any other: `load.load` reads the base model it names and
merges, and `load.export_huggingface` then writes the whole.
"""

from collections.abc import Mapping
import pathlib
from typing import Any

from flax import traverse_util
import jax
import numpy as np
import safetensors
from safetensors import numpy as safetensors_numpy

from jaxcurate import types
from jaxcurate.io import atomic
from jaxcurate.io.errors import UserError
from jaxcurate.models import (
  decoder,
  decoder_tensor_names,
  huggingface,
  parameters,
  t5,
  tensor_names,
)
from jaxcurate.ops import lora

CONFIG, _WEIGHTS = 'adapter_config.json', 'adapter_model.safetensors'
_BASE = 'base_model.model.'
_SIDES = {lora.A: 'lora_A', lora.B: 'lora_B'}
# What we do not compute, and the value with which it is off.
_OFF = {
  'bias': 'none',
  'fan_in_fan_out': False,
  'use_rslora': False,
  'use_dora': False,
  'modules_to_save': None,
  'rank_pattern': {},
  'alpha_pattern': {},
}

Config = t5.T5Config | decoder.DecoderConfig


def write(
  path: str | pathlib.Path,
  adapters: types.Params,
  config: Config,
  *,
  alpha: float,
  base: str,
) -> None:
  """Writes adapters as PEFT does.

  Args:
    path: folder, made if absent.
    adapters: from `ops.lora.init`, on device or host, layers stacked or not.
    config: of the network they belong to.
    alpha: LoRA's scale, before it is divided by the rank.
    base: where the base model is, as `load.load` takes it.

  Raises:
    ValueError: Hugging Face has no module where an adapter lies.
  """
  flat = parameters.flatten(parameters.unstack_layers(jax.device_get(adapters)))
  tensors = {
    f'{_BASE}{_module(where[:-1], config)}.{_SIDES[where[-1]]}.weight': (
      np.ascontiguousarray(np.asarray(leaf, np.float32).T)
    )
    for where, leaf in flat.items()
  }
  ranks = {
    leaf.shape[-1] for where, leaf in flat.items() if where[-1] == lora.A
  }
  if len(ranks) != 1:
    raise ValueError(f'adapters have ranks {sorted(ranks)}, expected one')
  causal = isinstance(config, decoder.DecoderConfig)
  values = {
    'peft_type': 'LORA',
    'task_type': 'CAUSAL_LM' if causal else 'SEQ_2_SEQ_LM',
    'base_model_name_or_path': base,
    'r': ranks.pop(),
    'lora_alpha': alpha,
    'lora_dropout': 0.0,
    'target_modules': sorted({_module(where[:-1], config) for where in flat}),
    'inference_mode': True,
    **_OFF,
  }
  folder = pathlib.Path(path)
  atomic.write_with(
    folder / _WEIGHTS,
    lambda file: safetensors_numpy.save_file(
      tensors, file, metadata={'format': 'pt'}
    ),
  )
  huggingface.write_json(folder / CONFIG, values)


def read_config(folder: pathlib.Path) -> tuple[str, float]:
  """The base model that adapters name, and their alpha.

  Args:
    folder: holds adapter_config.json.

  Raises:
    UserError: they are not LoRA as we compute it.
  """
  file = folder / CONFIG
  values = huggingface.read_json(file)
  for name, off in {'peft_type': 'LORA', **_OFF}.items():
    if (values.get(name, off) or off) != off:
      raise UserError(
        f'{file}: {name} is {values[name]!r}, which we do not have (expected'
        f' {off!r}); merge the adapters with PEFT and give the merged folder'
      )
  for name in ('base_model_name_or_path', 'lora_alpha'):
    if not values.get(name):
      raise UserError(f'{file} lacks {name}')
  return values['base_model_name_or_path'], float(values['lora_alpha'])


def read(folder: pathlib.Path, config: Config) -> types.Params:
  """Adapters of a folder.

  Args:
    folder: holds adapter_model.safetensors.
    config: of the base model.

  Returns:
    As `ops.lora.init` makes them, layers not stacked; NumPy float32.

  Raises:
    UserError: a tensor belongs to no matrix of the model, is of another shape,
      or has no other half.
  """
  file = folder / _WEIGHTS
  try:
    tensors = safetensors_numpy.load_file(file)
  except (safetensors.SafetensorError, OSError) as error:
    what = f'{file}: cannot be read as safetensors ({error})'
    raise UserError(what) from error
  flat: dict[tuple[str, ...], np.ndarray] = {}
  for where, (rows, columns) in _kernels(config).items():
    module = _BASE + _module(where, config)
    names = [f'{module}.{side}.weight' for side in _SIDES.values()]
    halves = [tensors.pop(name, None) for name in names]
    if all(half is None for half in halves):
      continue
    found = [None if half is None else half.shape for half in halves]
    rank = next(half for half in found if half)[0 if found[0] else 1]
    if found != [(rank, rows), (columns, rank)]:
      raise UserError(
        f'{file}: {module} has A and B of shapes {found}, expected'
        f' {[(rank, rows), (columns, rank)]}: they are of another model'
      )
    for side, half in zip(_SIDES, halves, strict=True):
      assert half is not None, 'its shape was checked'
      flat[*where, side] = np.ascontiguousarray(half.T, np.float32)
  if tensors or not flat:
    raise UserError(
      f'{file}: {next(iter(tensors), "nothing")!r} belongs to no matrix of the'
      ' base model; give the model that the adapters were trained on'
    )
  return traverse_util.unflatten_dict(flat)


def merged(
  params: types.Params, adapters: types.Params, alpha: float
) -> types.Params:
  """`ops.lora.merge` on the host, where a model is before it is placed.

  Args:
    params: of the network, NumPy arrays.
    adapters: of it, NumPy arrays, layers stacked as in `params`.
    alpha: LoRA's scale, before it is divided by the rank.
  """
  flat, halves = parameters.flatten(params), parameters.flatten(adapters)
  for where in {path[:-1] for path in halves}:
    a, b = (halves[*where, side] for side in _SIDES)
    kernel = flat[*where, 'kernel']
    flat[*where, 'kernel'] = kernel + np.float32(alpha / a.shape[-1]) * (a @ b)
  return traverse_util.unflatten_dict(flat)


def _kernels(config: Config) -> Mapping[tuple[str, ...], tuple[int, ...]]:
  """Path of every linear module -> shape of its kernel, layers not stacked."""
  make: Any = t5 if isinstance(config, t5.T5Config) else decoder
  shapes = jax.eval_shape(make.make_network(config).init, jax.random.key(0))
  return {
    where[:-1]: leaf.shape
    for where, leaf in parameters.flatten(shapes).items()
    if where[-1] == 'kernel'
  }


def _module(where: tuple[str, ...], config: Config) -> str:
  """What Hugging Face calls the linear module at a path."""
  path = (*where, 'kernel')
  if isinstance(config, t5.T5Config):
    name = tensor_names.huggingface_name(path)
  else:
    name = decoder_tensor_names.huggingface_name(path, config.post_norms)
    if name != decoder_tensor_names.HEAD:
      name = f'model.{name}'
  return name.removesuffix('.weight')
