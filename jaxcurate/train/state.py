"""What training carries from step to step, and how it lies on a mesh."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jax.sharding import (
  Mesh,
  NamedSharding,
  PartitionSpec,
  SingleDeviceSharding,
)

from jaxcurate.models import partitioning
from jaxcurate.train.optimizers import Optimizer
from jaxcurate.types import Network, Params, TrainingShapes, Weighting


@flax.struct.dataclass
class TrainState:
  """The state of a training run between two steps; all of it checkpointed.

  Leaves are arrays, or in their place shapes, shardings or metadata.

  Attributes:
    step: [] int32, steps already made.
    params: parameters of the network.
    opt_state: state of the optimizer.
    weighting_state: state of the weighting.
  """

  step: Any
  params: Params
  opt_state: Any
  weighting_state: Any


def init_state(
  network: Network,
  optimizer: Optimizer,
  weighting: Weighting,
  *,
  seed: int = 0,
  params: Params | None = None,
  mesh: Mesh | None = None,
  domains: Sequence[str] = (),
  anchor_domains: Sequence[str] = (),
) -> TrainState:
  """The state before step 1, laid out on the mesh if there is one.

  Args:
    network: the network.
    optimizer: its optimizer.
    weighting: the weighting.
    seed: of the parameters, where none are given.
    params: parameters to begin with; they are copied, because the steps
      overwrite their buffers.
    mesh: axes 'data' and 'model', or None for one device.
    domains: names of the corpus's domain codes.
    anchor_domains: names of the anchors' domain codes.
  """
  names = (tuple(domains), tuple(anchor_domains))
  make = make_state(network, optimizer, weighting, names)
  # The key is an argument: as a constant it would be compiled in, and every
  # seed compile anew.
  arguments = jax.random.key(seed), params
  layout = None
  if mesh is not None:
    layout = state_shardings(network, jax.eval_shape(make, *arguments), mesh)
  return jax.jit(make, out_shardings=layout)(*arguments)


def abstract_state(
  network: Network,
  optimizer: Optimizer,
  weighting: Weighting,
  *,
  params: Params | None = None,
  mesh: Mesh | None = None,
  domains: Sequence[str] = (),
  anchor_domains: Sequence[str] = (),
) -> TrainState:
  """Shapes, dtypes and shardings of `init_state`'s result, without memory.

  Args:
    network: as for `init_state`.
    optimizer: as for `init_state`.
    weighting: as for `init_state`.
    params: as for `init_state`, or their shapes.
    mesh: as for `init_state`.
    domains: as for `init_state`.
    anchor_domains: as for `init_state`.
  """
  names = (tuple(domains), tuple(anchor_domains))
  make = make_state(network, optimizer, weighting, names)
  shapes = jax.eval_shape(make, jax.random.key(0), params)
  if mesh is None:
    device = SingleDeviceSharding(jax.devices()[0])
    layout = jax.tree.map(lambda _: device, shapes)
  else:
    layout = state_shardings(network, shapes, mesh)
  return jax.tree.map(
    lambda leaf, on: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=on),
    shapes,
    layout,
  )


def make_state(
  network: Network,
  optimizer: Optimizer,
  weighting: Weighting,
  domains: tuple[tuple[str, ...], tuple[str, ...]],
) -> Callable[[jax.Array, Params | None], TrainState]:
  """The traceable (key, parameters or None) -> state before step 1.

  Args:
    network: as for `init_state`.
    optimizer: as for `init_state`.
    weighting: as for `init_state`.
    domains: names of the corpus's domain codes, and of the anchors'.
  """

  def make(key: jax.Array, params: Params | None) -> TrainState:
    if params is None:
      params = network.init(key)
    return TrainState(
      step=jnp.int32(0),
      params=jax.tree.map(jnp.copy, params),
      opt_state=optimizer.init(params),
      weighting_state=weighting.init(
        TrainingShapes(network.width, jax.eval_shape(lambda: params), *domains)
      ),
    )

  return make


def state_shardings(
  network: Network, state: TrainState, mesh: Mesh
) -> TrainState:
  """How each leaf of the state lies on the mesh.

  Parameters follow their logical axes; the optimizer's moments and what a
  weighting keeps per parameter follow their parameters; what has another shape
  (Adafactor's row and column moments, counters) is on every device.

  Args:
    network: names the parameters' axes.
    state: the state, or its shapes.
    mesh: axes 'data' and 'model'.
  """
  param_layout = partitioning.param_shardings(
    mesh, network.logical_axes, state.params
  )
  replicated = NamedSharding(mesh, PartitionSpec())
  shapes = jax.tree_util.tree_leaves_with_path(state.params)
  by_path = {
    path: (leaf.shape, layout)
    for (path, leaf), layout in zip(
      shapes, jax.tree.leaves(param_layout), strict=True
    )
  }

  def moment_layout(path: tuple, leaf: Any) -> NamedSharding:
    # optax keeps moments in trees shaped like the parameters, so the path of
    # a moment ends with its parameter's path.
    for start in range(len(path)):
      shape, layout = by_path.get(path[start:], (None, replicated))
      if shape == leaf.shape:
        return layout
    return replicated

  return TrainState(
    step=replicated,
    params=param_layout,
    opt_state=jax.tree_util.tree_map_with_path(moment_layout, state.opt_state),
    weighting_state=jax.tree_util.tree_map_with_path(
      moment_layout, state.weighting_state
    ),
  )


def batch_sharding(mesh: Mesh, *, leading: int = 0) -> NamedSharding:
  """Rows over the axis 'data'; `leading` axes before the rows are whole.

  Args:
    mesh: axes 'data' and 'model'.
    leading: number of axes before the rows.
  """
  return NamedSharding(mesh, PartitionSpec(*(None,) * leading, 'data'))
