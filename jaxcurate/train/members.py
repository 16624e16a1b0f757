"""The members of a population: many models in one program, on many devices.

Every leaf of their state and of their batch has a leading axis. On a mesh that
axis goes over 'data', so that each device trains whole members and none waits
for another; what all members share lies on every device. A device's members
are one batch of products (vmap); on a CPU, which one member keeps busy, they
take turns within the program.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import numpy as np

from jaxcurate.models import mesh as meshes
from jaxcurate.train.optimizers import Optimizer
from jaxcurate.train.state import TrainState, make_state
from jaxcurate.types import Batch, Network, Params, Weighting

_MEMBERS, _SHARED = PartitionSpec('data'), PartitionSpec()


def check(members: int, mesh: Mesh | None) -> None:
  """Raises ValueError unless the devices can share the members equally."""
  devices = 1 if mesh is None else mesh.shape['data']
  if members % devices:
    raise ValueError(
      f"{members} members for {devices} devices of the axis 'data'; train a"
      f' multiple of {devices}, or give a mesh of fewer devices'
    )


def mesh_for(members: int, devices: Sequence[Any] | None = None) -> Mesh | None:
  """A mesh of as many devices as can share the members; None for one device.

  Args:
    members: their number, >= 1.
    devices: to choose from; None for all of this host.

  >>> mesh_for(1) is None
  True
  """
  devices = jax.local_devices() if devices is None else devices
  size = next(n for n in range(len(devices), 0, -1) if members % n == 0)
  return None if size == 1 else meshes.make_mesh(None, devices[:size])


def lift(
  fn: Callable[..., Any],
  shared: Sequence[bool],
  mesh: Mesh | None,
  *,
  donate: bool = False,
  take_turns: bool | None = None,
) -> Callable[..., Any]:
  """The jitted function of all members, from that of one.

  Args:
    fn: the function.
    shared: of each argument, whether it is the same for all members.
    mesh: axes 'data' and 'model', or None for one device.
    donate: the first argument's buffers may be overwritten.
    take_turns: loop over a device's members; None = on a CPU.
  """
  if take_turns is None:
    take_turns = jax.default_backend() == 'cpu'
  lifted = jax.vmap(fn, in_axes=tuple(None if one else 0 for one in shared))
  if take_turns:
    lifted = _loop(fn, shared)
  if mesh is not None:
    # No communication can come in, as it could if XLA chose the layouts.
    lifted = jax.shard_map(
      lifted,
      mesh=mesh,
      in_specs=tuple(_SHARED if one else _MEMBERS for one in shared),
      out_specs=_MEMBERS,
      check_vma=False,
    )
  return jax.jit(lifted, donate_argnums=(0,) if donate else ())


def _loop(fn: Callable[..., Any], shared: Sequence[bool]) -> Callable[..., Any]:
  """As vmap, member by member."""

  def looped(*arguments: Any) -> Any:
    def call(own: tuple) -> Any:
      rest = iter(own)
      return fn(
        *(
          argument if one else next(rest)
          for argument, one in zip(arguments, shared, strict=True)
        )
      )

    each = [a for a, one in zip(arguments, shared, strict=True) if not one]
    return jax.lax.map(call, tuple(each))

  return looped


def init(
  network: Network,
  optimizer: Optimizer,
  weighting: Weighting,
  seeds: Sequence[int],
  params: Params | None,
  mesh: Mesh | None,
  *,
  domains: Sequence[str],
  anchor_domains: Sequence[str],
) -> tuple[Callable[[], TrainState], TrainState]:
  """How the state before step 1 is made, and its shapes and shardings.

  Args:
    network: of every member.
    optimizer: of every member.
    weighting: of every member.
    seeds: of the members' parameters.
    params: parameters of every member; None = from the seeds.
    mesh: axes 'data' and 'model', or None for one device.
    domains: names of the corpus's domain codes.
    anchor_domains: names of the anchors' domain codes.
  """
  make = make_state(
    network, optimizer, weighting, (tuple(domains), tuple(anchor_domains))
  )
  # One program for all: made one by one, each seed would compile anew.
  every = lift(make, [False, True], mesh)
  keys = jnp.stack([jax.random.key(seed) for seed in seeds])
  on = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  if mesh is not None:
    on = NamedSharding(mesh, _MEMBERS)
  shapes = jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=on),
    jax.eval_shape(every, keys, params),
  )
  return lambda: every(keys, put_shared(params, mesh)), shapes


def put(rows: Sequence[Batch], mesh: Mesh | None) -> Batch:
  """The members' batches, one above the other, on the devices.

  Args:
    rows: one batch per member, all of one shape.
    mesh: axes 'data' and 'model', or None for one device.
  """
  return _put(
    {name: np.stack([row[name] for row in rows]) for name in rows[0]},
    mesh,
    _MEMBERS,
  )


def put_shared(tree: Any, mesh: Mesh | None) -> Any:
  """What all members share, on every device.

  Args:
    tree: arrays.
    mesh: axes 'data' and 'model', or None for one device.
  """
  return _put(tree, mesh, _SHARED)


def _put(tree: Any, mesh: Mesh | None, spec: PartitionSpec) -> Any:
  return jax.device_put(tree, mesh and NamedSharding(mesh, spec))
