"""Key/value prefixes and caches: their shapes, and slots that fill up.

A prefix (arXiv:2101.00190: slots of keys and values before the text, at every
decoder layer) and the cache of tokens already read are one type,
`types.Prefix`; learning one is `scorers/prefix_tuning.py`.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxcurate import types


def check(
  prefix: types.Prefix, prefix_shape: tuple[int, int, int], num_rows: int
) -> None:
  """Refuses a prefix of another network.

  Args:
    prefix: to be checked.
    prefix_shape: `Network.prefix_shape`.
    num_rows: rows B that it is for.

  Raises:
    ValueError: says both shapes.
  """
  layers, heads, head_dim = prefix_shape
  rows, slots = prefix.mask.shape
  expected = (layers, rows, slots, heads, head_dim)
  if prefix.key.shape != expected or prefix.value.shape != expected:
    raise ValueError(
      f'the prefix has keys {prefix.key.shape} and values '
      f'{prefix.value.shape}, expected {expected} (layers, rows, slots, heads, '
      'head_dim): it belongs to another network'
    )
  if rows not in (1, num_rows):
    raise ValueError(
      f"the prefix has {rows} rows, expected 1 or the batch's {num_rows}"
    )


def reserve(prefix: types.Prefix, num_slots: int) -> types.Prefix:
  """The prefix with empty slots after its own, to be written to.

  Args:
    prefix: [layers, B, P, heads, head_dim].
    num_slots: how many more, at least 0.
  """

  def pad(x: Array, axis: int) -> Array:
    return jnp.pad(x, [(0, num_slots * (i == axis)) for i in range(x.ndim)])

  return types.Prefix(
    pad(prefix.key, 2), pad(prefix.value, 2), pad(prefix.mask, 1)
  )


def write(
  prefix: types.Prefix, new: types.Prefix, slot: int | Int[Array, '']
) -> types.Prefix:
  """The prefix with the slots from `slot` on overwritten by new ones.

  Args:
    prefix: what `reserve` made.
    new: of as many rows; what `Network.extend` returns.
    slot: the first to be overwritten; all of `new` fits.
  """

  def put(whole: Array, part: Array, axis: int) -> Array:
    return jax.lax.dynamic_update_slice_in_dim(
      whole, part.astype(whole.dtype), slot, axis
    )

  return types.Prefix(
    put(prefix.key, new.key, 2),
    put(prefix.value, new.value, 2),
    put(prefix.mask, new.mask, 1),
  )
