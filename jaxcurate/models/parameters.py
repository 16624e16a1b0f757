"""What a parameter tree looks like: stacked layers and logical axes.

T5X stores every layer of a stack under its own name (`layers_0`, ...); a
scanned stack stores all of them in one tree `layers` whose leaves have a
leading layer axis. Checkpoints on disk are always T5X's form.
"""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcurate import types

_LAYER = re.compile(r'layers_(\d+)')

# T5X's logical axis names (t5x/examples/t5/layers.py) by the last two names.
_AXES = {
  ('token_embedder', 'embedding'): ('vocab', 'embed'),
  ('relpos_bias', 'rel_embedding'): ('heads', 'relpos_buckets'),
  ('query', 'kernel'): ('embed', 'joined_kv'),
  ('key', 'kernel'): ('embed', 'joined_kv'),
  ('value', 'kernel'): ('embed', 'joined_kv'),
  ('query', 'bias'): ('joined_kv',),
  ('key', 'bias'): ('joined_kv',),
  ('value', 'bias'): ('joined_kv',),
  ('query_norm', 'scale'): ('kv',),
  ('key_norm', 'scale'): ('kv',),
  ('out', 'kernel'): ('joined_kv', 'embed'),
  ('wi', 'kernel'): ('embed', 'mlp'),
  ('wi_0', 'kernel'): ('embed', 'mlp'),
  ('wi_1', 'kernel'): ('embed', 'mlp'),
  ('wo', 'kernel'): ('mlp', 'embed'),
  ('logits_dense', 'kernel'): ('embed', 'vocab'),
}


def logical_axes(params: types.Params) -> types.Params:
  """Logical axis names of every leaf; () for a replicated one.

  Args:
    params: nested dict of arrays or shape structs, stacked or not.

  Returns:
    The same nested dict with a tuple of axis names per leaf; the leading axis
    of stacked layers is 'layers'.
  """

  def axes(path: tuple, leaf: jax.ShapeDtypeStruct) -> tuple[str, ...]:
    names = tuple(entry.key for entry in path)
    norm = ('embed',) if names[-1] == 'scale' else ()
    found = _AXES.get(names[-2:], norm)
    if found and 'layers' in names:
      found = ('layers', *found)
    if found and len(found) != len(leaf.shape):
      raise ValueError(
        f'{"/".join(names)} has shape {leaf.shape}, expected axes {found}'
      )
    return found

  return jax.tree_util.tree_map_with_path(axes, params)


def flatten(params: types.Params) -> dict[tuple[str, ...], Any]:
  """Leaf of each path of names.

  >>> flatten({'encoder': {'encoder_norm': {'scale': 1.0}}})
  {('encoder', 'encoder_norm', 'scale'): 1.0}
  """
  leaves, _ = jax.tree_util.tree_flatten_with_path(params)
  return {tuple(entry.key for entry in path): leaf for path, leaf in leaves}


def stack_layers(params: types.Params) -> types.Params:
  """T5X's `layers_0`, `layers_1`, ... -> one `layers` with a leading axis.

  >>> stacked = stack_layers({'encoder': {'layers_0': 1., 'layers_1': 2.}})
  >>> stacked['encoder']['layers'].tolist()
  [1.0, 2.0]
  """
  if not isinstance(params, dict):
    return params
  numbered = sorted(int(m[1]) for m in map(_LAYER.fullmatch, params) if m)
  if numbered != list(range(len(numbered))):
    raise ValueError(f'layers are numbered {numbered}, expected 0, 1, 2, ...')
  result = {
    name: stack_layers(value)
    for name, value in params.items()
    if not _LAYER.fullmatch(name)
  }
  if numbered:
    trees = [params[f'layers_{i}'] for i in numbered]
    result['layers'] = jax.tree.map(lambda *leaves: _stack(leaves), *trees)
  return result


def unstack_layers(params: types.Params) -> types.Params:
  """The inverse of `stack_layers`."""
  if not isinstance(params, dict):
    return params
  result = {
    name: unstack_layers(value)
    for name, value in params.items()
    if name != 'layers'
  }
  if 'layers' in params:
    num_layers = len(jax.tree.leaves(params['layers'])[0])
    for i in range(num_layers):
      result[f'layers_{i}'] = jax.tree.map(
        lambda leaf, i=i: leaf[i], params['layers']
      )
  return result


def _stack(leaves: tuple) -> np.ndarray | jax.Array:
  # On the host where the leaves are: an imported model need not fit twice.
  if isinstance(leaves[0], jax.Array):
    return jnp.stack(leaves)
  return np.stack(leaves)
