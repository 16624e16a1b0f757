"""One forward pass over many examples on all local devices.

Examples are packed into rows, the longest first; a batch is cut to its longest
row, in steps so wide that a pass compiles for at most four lengths. Batches go
to the devices sharded over the mesh's `data` axis. When one does not fit in
memory it is halved, said so, and work goes on.
"""

import collections
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
_LENGTHS, _TILE = 4, 128  # row lengths per pass; multiples of what devices tile


@dataclasses.dataclass
class Prepared:
  """Packed rows of one block, still on the host.

  Attributes:
    batch: [R, ...] arrays.
    row, segment: where each example went (segment is 1-based).
    tokens, slots: real tokens and token slots, for the padding share.
    lengths: [R] slots to keep of each row's packed side, falling; None keeps
      all.
  """

  batch: dict[str, np.ndarray]
  row: np.ndarray
  segment: np.ndarray
  tokens: int
  slots: int
  lengths: np.ndarray | None = None


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
  side = _packed_side(features)
  segments_RxL = packed.batch[f'{side}_segment_ids']
  lengths = _kept(np.count_nonzero(segments_RxL, axis=1), segments_RxL.shape[1])
  order = np.argsort(-lengths, kind='stable')
  rank = np.empty_like(order)
  rank[order] = np.arange(len(order))
  tokens, slots = np.count_nonzero(segments_RxL), lengths.sum()
  # A lone decoder position beside an encoder costs nothing.
  if side == 'encoder' and features.decoder_length > 1:
    others_RxT = packed.batch['decoder_segment_ids']
    tokens, slots = (
      tokens + np.count_nonzero(others_RxT),
      slots + others_RxT.size,
    )
  return Prepared(
    batch={name: array[order] for name, array in packed.batch.items()},
    row=rank[packed.row],
    segment=packed.segment,
    tokens=int(tokens),
    slots=int(slots),
    lengths=lengths[order],
  )


def _packed_side(features: Features) -> str:
  return 'encoder' if features.encoder_length else 'decoder'


def _kept(used_R: np.ndarray, length: int) -> np.ndarray:
  """Slots to keep of rows of `length`, from how many they use."""
  step = -(-length // (_LENGTHS * _TILE)) * _TILE
  return np.minimum(-(-used_R // step) * step, length)


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
    self._features, self._params = features, params
    self._shards = mesh.shape['data']
    rows_axis = jax.sharding.PartitionSpec('data')
    self._sharding = jax.sharding.NamedSharding(mesh, rows_axis)
    self._alone = jax.default_backend() == 'cpu' and mesh.size == 1
    default = features.rows
    if default is None:
      on_cpu = jax.default_backend() == 'cpu'
      default = _CPU_ROWS if on_cpu else _ACCELERATOR_ROWS
    per_shard = -(-(rows or default * self._shards) // self._shards)
    self.rows = per_shard * self._shards
    self._say = say
    self._run = jax.jit(features.apply, static_argnums=2)
    self._flops_per_row: dict[int | None, float] = {}  # by length
    self._compiled: set[int | None] = set()  # lengths

  def cost(self, prepared: Prepared) -> float:
    """Floating-point operations of a block's rows, each at its own length.

    One row of every length is traced.
    """
    if not len(prepared.row):
      return 0.0

    def one_row(params: Any, batch: Any) -> Any:
      return self._features.apply(params, batch, self._features.max_segments)

    total = 0.0
    rows = range(len(next(iter(prepared.batch.values()))))
    counts = collections.Counter(_length(prepared, row) for row in rows)
    for length, count in counts.items():
      if length not in self._flops_per_row:
        shapes = {
          name: jax.ShapeDtypeStruct((1, *array.shape[1:]), array.dtype)
          for name, array in self._cut(prepared.batch, length).items()
        }
        self._flops_per_row[length] = float(
          flops.count_flops(one_row, self._params, shapes)
        )
      total += count * self._flops_per_row[length]
    return total

  def memory(self, prepared: Prepared) -> tuple[int, dict[str, Any]]:
    """Bytes of one device, as XLA plans them for a block's longest rows.

    Those of the parameters and of the batches that run at the same time; and
    the shapes of a batch's outputs.
    """
    batch = jax.device_put(self.batch(prepared, 0), self._sharding)
    compiled = self._run.lower(
      self._params, batch, self._features.max_segments
    ).compile()
    plan = compiled.memory_analysis()
    params = sum(
      leaf.addressable_shards[0].data.nbytes
      for leaf in jax.tree.leaves(self._params)
    )
    if plan is None:  # not every backend says
      return params, compiled.out_info
    arrays = plan.argument_size_in_bytes - params + plan.output_size_in_bytes
    batches = _CPU_STREAMS if self._alone else 1
    batches = min(batches, len(self.starts(prepared)))
    every = batches * (arrays + plan.temp_size_in_bytes)
    return params + every, compiled.out_info

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
        self._compiled.clear()
        self.rows = max(self.rows // 2 // self._shards, 1) * self._shards
        self._say(f'out of device memory: batch halved to {self.rows} rows')

  def starts(self, prepared: Prepared) -> range:
    """The first row of every batch."""
    return range(0, len(next(iter(prepared.batch.values()))), self.rows)

  def batch(self, prepared: Prepared, start: int) -> dict[str, np.ndarray]:
    """The rows that run together from `start` on; the last batch is filled."""
    arrays = self._cut(prepared.batch, _length(prepared, start))
    return {
      name: _padded(array[start : start + self.rows], self.rows)
      for name, array in arrays.items()
    }

  def _cut(
    self, batch: dict[str, np.ndarray], length: int | None
  ) -> dict[str, np.ndarray]:
    """The packed side's arrays [R, L] without the slots after `length`."""
    side = _packed_side(self._features)
    return {
      name: array[:, :length] if name.startswith(side) else array
      for name, array in batch.items()
    }

  def _outputs(self, prepared: Prepared) -> dict[str, np.ndarray]:
    """Runs all batches and gathers by example."""

    def dispatch(start: int) -> dict[str, jax.Array]:
      batch = jax.device_put(self.batch(prepared, start), self._sharding)
      return self._run(self._params, batch, self._features.max_segments)

    if self._alone:
      done = self._two_at_a_time(prepared, dispatch)
    else:
      waiting, done = [], []
      for start in self.starts(prepared):
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

  def _two_at_a_time(
    self, prepared: Prepared, dispatch: Callable[[int], dict[str, jax.Array]]
  ) -> list[dict[str, np.ndarray]]:
    """On a CPU elementwise work keeps one core busy; a second batch takes two.

    The first batch of a length runs alone: two at once would compile twice.
    """
    done = {}
    for start in self.starts(prepared):
      length = _length(prepared, start)
      if length not in self._compiled:
        done[start] = jax.device_get(dispatch(start))
        self._compiled.add(length)
    rest = [start for start in self.starts(prepared) if start not in done]
    with concurrent.futures.ThreadPoolExecutor(_CPU_STREAMS) as pool:
      found = pool.map(lambda start: jax.device_get(dispatch(start)), rest)
      done.update(zip(rest, found, strict=True))
    return [done[start] for start in sorted(done)]


def _length(prepared: Prepared, row: int) -> int | None:
  """Slots that a batch keeps whose first row this is: no other needs more."""
  return None if prepared.lengths is None else int(prepared.lengths[row])


def _padded(rows: np.ndarray, count: int) -> np.ndarray:
  """Rows, with empty ones appended up to `count`."""
  missing = count - len(rows)
  return np.pad(rows, [(0, missing), *[(0, 0)] * (rows.ndim - 1)])
