"""Where parameters lie on a mesh of axes `data` and `model`.

T5X's standard rules (t5x/partitioning.py) with one-dimensional activation
partitioning: batches over `data`; vocabulary, heads and feed-forward over
`model`; the width replicated.
"""

from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxcurate import types

# Logical axis -> mesh axis; what is not named is replicated.
_RULES = {
  'vocab': 'model',
  'heads': 'model',
  'joined_kv': 'model',
  'mlp': 'model',
}


def param_shardings(
  mesh: Mesh, logical_axes: types.Params, params: types.Params | None = None
) -> types.Params:
  """One NamedSharding per parameter.

  Args:
    mesh: with axes 'data' and 'model'.
    logical_axes: `Network.logical_axes`.
    params: parameters or their shapes; a dimension that the mesh does not
      divide is then replicated instead of refused by JAX later.

  Returns:
    A tree like `logical_axes` with a NamedSharding per leaf.
  """
  _check(mesh)

  def sharding(axes: tuple[str, ...], leaf: Any) -> NamedSharding:
    spec = [_RULES.get(axis) for axis in axes]
    if leaf is not None:
      spec = [
        name if name and size % mesh.shape[name] == 0 else None
        for name, size in zip(spec, leaf.shape, strict=False)
      ]
    return NamedSharding(mesh, PartitionSpec(*spec))

  def is_axes(node: object) -> bool:
    return isinstance(node, tuple)

  if params is None:
    return jax.tree.map(
      lambda axes: sharding(axes, None), logical_axes, is_leaf=is_axes
    )
  return jax.tree.map(sharding, logical_axes, params, is_leaf=is_axes)


def _check(mesh: Mesh) -> None:
  if set(mesh.axis_names) != {'data', 'model'}:
    raise ValueError(
      f"the mesh has axes {mesh.axis_names}, expected ('data', 'model')"
    )
