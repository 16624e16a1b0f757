"""The other hosts of a run: one process on each."""

from collections.abc import Callable, Mapping
import os
from typing import Any, TypeVar

import jax
from jax.experimental import multihost_utils
import numpy as np

from jaxcurate.io.errors import UserError

_ADDRESS = 'JAX_COORDINATOR_ADDRESS'
_COUNT, _INDEX = 'JAX_NUM_PROCESSES', 'JAX_PROCESS_ID'
_PATIENCE_MS = 7 * 24 * 3600 * 1000

_T = TypeVar('_T')


def join() -> None:
  """Joins the run's other hosts, if there are any.

  JAX finds them by itself on Cloud TPU, and under SLURM, Open MPI and
  Kubernetes; elsewhere the variables JAX_COORDINATOR_ADDRESS (HOST:PORT, of the
  first host), JAX_NUM_PROCESSES and JAX_PROCESS_ID (from 0) name them.
  JAX_NUM_PROCESSES=1 stays alone. Must come before the first use of a device.

  Raises:
    UserError: a variable is no whole number, or the hosts do not meet.
  """
  count, index = _whole_number(_COUNT), _whole_number(_INDEX)
  if count == 1:
    return
  if os.environ.get(_ADDRESS) and None in (count, index):
    raise UserError(f'{_ADDRESS} is set: set {_COUNT} and {_INDEX} as well')
  try:
    jax.distributed.initialize(num_processes=count, process_id=index)
  except Exception as error:  # of many kinds: HTTP, RPC, JAX
    if 'coordinator_address should be defined' in str(error):
      return  # no cluster: alone
    raise UserError(
      f'cannot join the other hosts of this run ({error}); start the same'
      f' command on all of them, or set {_COUNT}=1 to run on this one alone'
    ) from error


def wait(stage: str) -> None:
  """All hosts meet here, whenever the last one comes; nothing to do for one.

  Args:
    stage: what has been done; names the barrier.
  """
  if jax.process_count() > 1:
    import orbax.checkpoint as ocp  # takes a second

    # Not by a collective of the devices: its timeout is half a minute on CPU.
    meet = ocp.multihost.get_barrier_sync_fn()
    meet(key=stage, timeout_ms=_PATIENCE_MS)


def first_then_others(stage: str, make: Callable[[], _T]) -> _T:
  """`make()` on the first host, then on all others, which may find its files.

  Args:
    stage: names the barrier.
    make: makes files, or opens those that are there.
  """
  if jax.process_index() == 0:
    made = make()
    wait(stage)
    return made
  wait(stage)
  return make()


def fetch(arrays: Any) -> Any:
  """A pytree of device arrays as NumPy arrays, whole on every host."""
  if jax.process_count() > 1:
    return multihost_utils.process_allgather(arrays, tiled=True)
  return jax.device_get(arrays)


def add_up(counts: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """The sum over all hosts of what each counted; the same on every host.

  Args:
    counts: name -> array of any dtype, of one shape everywhere.
  """
  if jax.process_count() == 1:
    return dict(counts)
  wait('counted')
  total = {}
  for name, array in counts.items():
    # As bytes: JAX would make 32 bits of 64.
    data = np.frombuffer(array.tobytes(), np.uint8)
    everyone = np.asarray(multihost_utils.process_allgather(data))
    whole = np.frombuffer(everyone.tobytes(), array.dtype)
    total[name] = whole.reshape(-1, *array.shape).sum(axis=0)
  return total


def _whole_number(variable: str) -> int | None:
  text = os.environ.get(variable)
  if not text:
    return None
  if not text.isdecimal():
    raise UserError(f'{variable} is {text!r}, expected a whole number')
  return int(text)
