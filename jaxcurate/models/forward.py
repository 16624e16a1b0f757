"""One forward pass over many examples on all local devices.

Examples are packed into rows of one fixed shape, so a pass compiles once;
rows go to the devices in batches sharded over the mesh's `data` axis. When a
batch does not fit in memory it is halved, said so, and work goes on.
"""

from collections.abc import Callable, Sequence
import concurrent.futures
import dataclasses
from typing import Any

import jax
import numpy as np

from jaxcurate.data import packing
from jaxcurate.io.errors import UserError
from jaxcurate.ops import flops
from jaxcurate.types import Features

# Rows in flight per pass: enough to keep the device busy, few enough that
# outputs never pile up on it.
_IN_FLIGHT = 4
_CPU_STREAMS = 2
# On CPU two rows of 512 tokens stay in cache (docs/benchmarks.md); an
# accelerator wants large matrix products.
_CPU_ROWS, _ACCELERATOR_ROWS = 2, 64


@dataclasses.dataclass
class Prepared:
  """Packed rows of one block, still on the host.

  Attributes:
    batch: [R, ...] arrays.
    row, segment: where each example went (segment is 1-based).
    tokens, slots: real tokens and token slots, for the padding share.
  """

  batch: dict[str, np.ndarray]
  row: np.ndarray
  segment: np.ndarray
  tokens: int
  slots: int


def prepare(features: Features, examples: Sequence[dict]) -> Prepared:
  """Packs a block's examples into rows; safe to call from a host thread.

  Args:
    features: the pass, for its lengths.
    examples: as `Features.examples` makes them, documents concatenated.
  """
  packed = packing.pack(
    examples,
    encoder_length=features.encoder_length,
    decoder_length=decoder_slots(features),
    max_segments=features.max_segments,
  )
  segments = []
  if features.encoder_length:
    segments.append(packed.batch['encoder_segment_ids'])
  # A lone decoder position beside an encoder costs nothing.
  if features.decoder_length > 1 or not segments:
    segments.append(packed.batch['decoder_segment_ids'])
  return Prepared(
    batch=packed.batch,
    row=packed.row,
    segment=packed.segment,
    tokens=sum(int(np.count_nonzero(ids)) for ids in segments),
    slots=sum(ids.size for ids in segments),
  )


def decoder_slots(features: Features) -> int:
  """Decoder length of a packed row: one position per segment at least."""
  if not features.decoder_length:
    return 0
  return max(features.decoder_length, features.max_segments)


def _row_length(features: Features) -> int:
  return max(features.encoder_length, features.decoder_length)


class Forward:
  """A jitted pass with its parameters on the mesh.

  A class because it owns what must outlive a call: parameters on the devices,
  the compiled function and the batch size that was found to fit.
  """

  def __init__(
    self,
    features: Features,
    params: Any,
    mesh: jax.sharding.Mesh,
    *,
    rows: int | None = None,
    say: Callable[[str], object] = print,
  ):
    """Compiles nothing yet.

    Args:
      features: the pass.
      params: already placed on the mesh (`place`).
      mesh: axes 'data' and 'model', local devices.
      rows: rows per device batch over the whole mesh; None takes the pass's own
        or chooses by device.
      say: where the one line about a halved batch goes.
    """
    self._features, self._params, self._mesh = features, params, mesh
    self._shards = mesh.shape['data']
    default = features.rows
    if default is None:
      on_cpu = jax.default_backend() == 'cpu'
      default = _CPU_ROWS if on_cpu else _ACCELERATOR_ROWS
    per_shard = -(-(rows or default * self._shards) // self._shards)
    self.rows = per_shard * self._shards
    self._say = say
    self._run = jax.jit(features.apply, static_argnums=2)
    self._flops_per_row: float | None = None
    self._compiled = False

  def cost(self, prepared: Prepared) -> float:
    """Floating-point operations of a block's rows; a row is traced once."""
    if not len(prepared.row):
      return 0.0
    if self._flops_per_row is None:
      shapes = {
        name: jax.ShapeDtypeStruct((1, *array.shape[1:]), array.dtype)
        for name, array in prepared.batch.items()
      }

      def one_row(params: Any, batch: Any) -> Any:
        return self._features.apply(params, batch, self._features.max_segments)

      self._flops_per_row = float(
        flops.count_flops(one_row, self._params, shapes)
      )
    return self._flops_per_row * len(next(iter(prepared.batch.values())))

  def __call__(self, prepared: Prepared) -> dict[str, np.ndarray]:
    """Outputs of every example, name -> [num_examples, ...] float32.

    Raises:
      UserError: a single row does not fit in memory.
    """
    while True:
      try:
        return self._outputs(prepared)
      except jax.errors.JaxRuntimeError as error:
        if 'RESOURCE_EXHAUSTED' not in str(error):
          raise
        if self.rows <= self._shards:
          raise UserError(
            f'a batch of {self.rows} rows of'
            f' {_row_length(self._features)} tokens does not fit in device'
            ' memory; shorten max_length, use a smaller model, or shard it'
            ' over more devices with --mesh'
          ) from error
        self._compiled = False
        self.rows = max(self.rows // 2 // self._shards, 1) * self._shards
        self._say(f'out of device memory: batch halved to {self.rows} rows')

  def _outputs(self, prepared: Prepared) -> dict[str, np.ndarray]:
    """Runs all rows in batches of `rows` and gathers by example."""
    rows = jax.sharding.PartitionSpec('data')
    sharding = jax.sharding.NamedSharding(self._mesh, rows)
    num_rows = len(next(iter(prepared.batch.values())))

    def dispatch(start: int) -> dict[str, jax.Array]:
      batch = {
        name: jax.device_put(
          _padded(array[start : start + self.rows], self.rows), sharding
        )
        for name, array in prepared.batch.items()
      }
      return self._run(self._params, batch, self._features.max_segments)

    starts = range(0, num_rows, self.rows)
    if jax.default_backend() == 'cpu' and self._mesh.size == 1:
      # Elementwise work keeps one core busy; a second batch takes the other.
      alone = starts[: 0 if self._compiled else 1]  # two would compile twice
      done = [jax.device_get(dispatch(start)) for start in alone]
      self._compiled = True
      with concurrent.futures.ThreadPoolExecutor(_CPU_STREAMS) as pool:
        rest = pool.map(
          lambda s: jax.device_get(dispatch(s)), starts[len(alone) :]
        )
        done.extend(rest)
    else:
      waiting, done = [], []
      for start in starts:
        waiting.append(dispatch(start))
        if len(waiting) > _IN_FLIGHT:
          done.append(jax.device_get(waiting.pop(0)))
      done.extend(jax.device_get(waiting))
    names = done[0] if done else {}
    return {
      name: np.concatenate([part[name] for part in done])[
        prepared.row, prepared.segment - 1
      ]
      for name in names
    }


def _padded(rows: np.ndarray, count: int) -> np.ndarray:
  """Rows, with empty ones appended up to `count`."""
  missing = count - len(rows)
  return np.pad(rows, [(0, missing), *[(0, 0)] * (rows.ndim - 1)])
