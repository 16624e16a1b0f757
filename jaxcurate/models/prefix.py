"""Key/value prefixes: learned ones, and those of real tokens.

Prefix tuning (arXiv:2101.00190): every decoder layer attends to P slots of
keys and values before the text. Learned keys are stored as the layer compares
them, rotation included.
"""

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
