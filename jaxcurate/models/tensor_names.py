"""How Hugging Face calls T5X's parameters.

Hugging Face stores a linear map as [out, in] and the relative position bias
as [bucket, head]; both are transposed against T5X.
"""

import re

import numpy as np

_LAYER = re.compile(r'layers_(\d+)')

# Per stack: T5X module -> (index of the sublayer, Hugging Face module).
_SUBLAYERS = {
  'encoder': {
    'attention': (0, 'SelfAttention'),
    'pre_attention_layer_norm': (0, 'layer_norm'),
    'mlp': (1, 'DenseReluDense'),
    'pre_mlp_layer_norm': (1, 'layer_norm'),
  },
  'decoder': {
    'self_attention': (0, 'SelfAttention'),
    'pre_self_attention_layer_norm': (0, 'layer_norm'),
    'encoder_decoder_attention': (1, 'EncDecAttention'),
    'pre_cross_attention_layer_norm': (1, 'layer_norm'),
    'mlp': (2, 'DenseReluDense'),
    'pre_mlp_layer_norm': (2, 'layer_norm'),
  },
}
_KERNELS = {'query': 'q', 'key': 'k', 'value': 'v', 'out': 'o'}


def huggingface_name(path: tuple[str, ...]) -> str:
  """Name of the tensor that holds the parameter at `path`.

  >>> huggingface_name(('encoder', 'layers_3', 'attention', 'key', 'kernel'))
  'encoder.block.3.layer.0.SelfAttention.k.weight'
  >>> huggingface_name(('decoder', 'decoder_norm', 'scale'))
  'decoder.final_layer_norm.weight'
  """
  if path == ('token_embedder', 'embedding'):
    return 'shared.weight'
  if path == ('decoder', 'logits_dense', 'kernel'):
    return 'lm_head.weight'
  stack, module = path[:2]
  if module == 'relpos_bias':
    attention = 'layer.0.SelfAttention.relative_attention_bias'
    return f'{stack}.block.0.{attention}.weight'
  if module == f'{stack}_norm':
    return f'{stack}.final_layer_norm.weight'
  layer = _LAYER.fullmatch(module)
  if layer is None or stack not in _SUBLAYERS:
    raise ValueError(f'no Hugging Face tensor holds {"/".join(path)}')
  index, name = _SUBLAYERS[stack][path[2]]
  if len(path) == 5:  # stack, layer, module, kernel's name, 'kernel'
    name = f'{name}.{_KERNELS.get(path[3], path[3])}'
  return f'{stack}.block.{layer[1]}.layer.{index}.{name}.weight'


def is_transposed(path: tuple[str, ...]) -> bool:
  """Whether Hugging Face stores the transpose."""
  return path[-1] in ('kernel', 'rel_embedding')


def turn(path: tuple[str, ...], array: np.ndarray) -> np.ndarray:
  """The array of one side as the other side stores it, contiguous."""
  return np.ascontiguousarray(array.T if is_transposed(path) else array)
