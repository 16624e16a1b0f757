"""Timing that can be trusted on a shared machine, for the bench_* scripts.

All rows of a comparison run in turn, round by round, with a pause between
calls (the worker threads of one runtime spin on after a call and would slow
the next). A ratio is the median of the per-round ratios, with their range; it
shows a difference only where the range leaves out 1. CPU seconds are printed
beside wall seconds, and the table says whether the machine was quiet.
"""

from collections.abc import Callable, Mapping
import dataclasses
import os
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp

PAUSE_SECONDS = 0.25
QUIET = 1.15  # largest max/min of the base row on a quiet machine
# The shape of T5-small's feed-forward block at 4,096 tokens.
DOT_SHAPE = (4096, 512, 1024)
# Dense bfloat16 peak of one device, FLOP/s, from the vendors' data sheets;
# the first name that the device's kind contains counts.
PEAKS = {
  'H200': 989e12,
  'H100 PCIe': 756e12,
  'H100': 989e12,
  'A100': 312e12,
  'L4': 121e12,
  'TPU v6 lite': 918e12,
  'TPU v5 lite': 197e12,
  'TPU v5': 459e12,
  'TPU v4': 275e12,
}


@dataclasses.dataclass
class Row:
  """One contender: what it runs, and what came of it.

  Attributes:
    name: for the table.
    call: runs the work once and returns when it is done.
    units: documents (or steps) per call.
    flops: multiply-adds per call, times 2; None where they were not counted.
    wall, cpu: seconds of each round.
  """

  name: str
  call: Callable[[], Any]
  units: float = 1.0
  flops: float | None = None
  wall: list[float] = dataclasses.field(default_factory=list)
  cpu: list[float] = dataclasses.field(default_factory=list)


def run_rounds(
  rows: list[Row],
  *,
  rounds: int,
  warm_up: int = 1,
  pause: float = PAUSE_SECONDS,
) -> None:
  """Runs all rows in turn, `rounds` times, and records their seconds.

  Args:
    rows: the contenders; the first is the base of the ratios.
    rounds: measured rounds, at least 1.
    warm_up: calls of each row before the first round.
    pause: seconds of sleep before each measured call.
  """
  for row in rows:
    for _ in range(warm_up):
      row.call()
  for _ in range(rounds):
    for row in rows:
      time.sleep(pause)
      wall, cpu = time.perf_counter(), time.process_time()
      row.call()
      row.cpu.append(time.process_time() - cpu)
      row.wall.append(time.perf_counter() - wall)


def per_round_ratios(base: Row, row: Row, kind: str = 'wall') -> list[float]:
  """Speed of `row` over the base in each round; above 1 = faster.

  Args:
    base: the contender in the denominator of speed.
    row: the contender in question.
    kind: 'wall' or 'cpu'.
  """
  pairs = zip(getattr(base, kind), getattr(row, kind), strict=True)
  scale = row.units / base.units
  return [scale * b / r for b, r in pairs]


def is_quiet(base: Row) -> bool:
  """Whether the base row's wall times differ by at most 15 %."""
  return max(base.wall) / min(base.wall) <= QUIET


def format_range(values: list[float], digits: int = 2) -> str:
  """'1.05 [0.98-1.11]': median and range."""
  low, mid, high = min(values), statistics.median(values), max(values)
  return f'{mid:.{digits}f} [{low:.{digits}f}-{high:.{digits}f}]'


def table(title: str, rows: list[Row], unit: str) -> str:
  """The rows as text; ratios against the first row.

  Args:
    title: printed above.
    rows: after `run_rounds`.
    unit: what `Row.units` counts, in the plural.
  """
  base = rows[0]
  lines = [
    title,
    f'{"":34}{"wall s":>20}{f"{unit}/s":>13}{"speed":>18}{"CPU s":>9}'
    f'{"CPU speed":>18}{"GFLOP/s":>10}',
  ]
  for row in rows:
    wall = statistics.median(row.wall)
    rate = f'{row.flops / wall / 1e9:.1f}' if row.flops else '-'
    lines.append(
      f'{row.name:34}{format_range(row.wall, 3):>20}{row.units / wall:>13.2f}'
      f'{format_range(per_round_ratios(base, row)):>18}'
      f'{statistics.median(row.cpu):>9.3f}'
      f'{format_range(per_round_ratios(base, row, "cpu")):>18}{rate:>10}'
    )
  spread = max(base.wall) / min(base.wall)
  load, cores = os.getloadavg()[0], os.cpu_count() or 1
  # The benchmark itself is a load of at most the cores.
  quiet = is_quiet(base) and load < 1.5 * cores
  verdict = 'quiet' if quiet else 'NOT quiet: trust CPU seconds'
  lines.append(
    f'  {len(base.wall)} rounds; base max/min {spread:.2f} (at most {QUIET}),'
    f' load average {load:.1f} on {cores} cores: {verdict}'
  )
  return '\n'.join(lines)


def dot_row(seconds: float = 0.3) -> Row:
  """jnp.dot of 4096x512x1024 in float32, repeated to last about `seconds`.

  Its rate is what a CPU reaches on T5-small's own matrix products; run it in
  the same rounds as the work to be judged.

  Args:
    seconds: about how long one call shall take.
  """
  n, k, m = DOT_SHAPE
  left, right = jnp.ones((n, k)), jnp.ones((k, m))
  dot = jax.jit(jnp.dot)
  dot(left, right).block_until_ready()
  start = time.perf_counter()
  dot(left, right).block_until_ready()
  repeats = max(1, round(seconds / (time.perf_counter() - start)))

  def call():
    for _ in range(repeats):
      dot(left, right).block_until_ready()

  name = f'jnp.dot {n}x{k}x{m} f32'
  return Row(name, call, units=repeats, flops=repeats * 2.0 * n * k * m)


def rate_ratios(base: Row, row: Row) -> list[float]:
  """Rate of executed multiply-adds over the base's, in each round."""
  if base.flops is None or row.flops is None:
    raise ValueError(f'{base.name} or {row.name} has no operation count')
  scale = row.flops / base.flops
  return [scale * b / r for b, r in zip(base.wall, row.wall, strict=True)]


def peak_flops() -> float | None:
  """Dense bfloat16 peak of all devices together; None where unknown."""
  kind = jax.devices()[0].device_kind
  for name, peak in PEAKS.items():
    if name in kind:
      return peak * jax.device_count()
  return None


def share_of_peak(row: Row) -> str:
  """One line: the row's rate as a share of the hardware's peak."""
  peak, flops = peak_flops(), row.flops
  if peak is None or flops is None:
    return f'{row.name}: the peak of this device is not known'
  rate = flops / statistics.median(row.wall)
  return f'{row.name}: {rate / peak:.1%} of {peak / 1e12:.0f} TFLOP/s bf16 peak'


def device_line() -> str:
  """One line: devices, cores and versions."""
  device = jax.devices()[0]
  return (
    f'{device.platform} {device.device_kind} x{jax.device_count()}, '
    f'{os.cpu_count()} cores, jax {jax.__version__}'
  )


def compiled_memory(fn: Callable[..., Any], *args: Any) -> dict[str, int]:
  """Bytes of temporaries, arguments and results of a jitted function.

  Args:
    fn: a function made by jax.jit.
    *args: arrays or jax.ShapeDtypeStruct.
  """
  stats = fn.lower(*args).compile().memory_analysis()  # pyright: ignore
  return {
    'temporaries': stats.temp_size_in_bytes,
    'arguments': stats.argument_size_in_bytes,
    'results': stats.output_size_in_bytes,
  }


def as_dict(rows: list[Row]) -> Mapping[str, Any]:
  """Seconds and ratios of the rows for a JSON file."""
  return {
    row.name: {
      'units': row.units,
      'flops': row.flops,
      'wall': row.wall,
      'cpu': row.cpu,
      'speed': per_round_ratios(rows[0], row),
      'cpu_speed': per_round_ratios(rows[0], row, 'cpu'),
    }
    for row in rows
  } | {'quiet': is_quiet(rows[0])}
