"""Proxies side by side against one after another: tokens per second.

  python tools/bench_population.py                  # about three minutes

Decoders of 1.4 M parameters, AdamW, one example per row, no padding. All rows
of the table make the same step, batches put on the device and metrics fetched;
the base trains one model alone. Where there are several devices, the largest
population is also shared among them; a CPU counts as one per core.
"""

import argparse
from collections.abc import Sequence
import json
import os
import pathlib
import statistics
import time
from typing import Any, NamedTuple

import benchmarking
import jax
import workloads

from jaxcurate.cli import gin_files
from jaxcurate.models import decoder
from jaxcurate.models import mesh as meshes
from jaxcurate.ops import flops
from jaxcurate.train import optimizers
from jaxcurate.train.program import StepSettings, make_program
from jaxcurate.weightings import uniform


class Case(NamedTuple):
  """A contender.

  Attributes:
    row: of the table.
    members: models that it trains.
    compile_seconds: of its step.
    memory: bytes of arguments, temporaries and results, on all devices.
  """

  row: benchmarking.Row
  members: int
  compile_seconds: float
  memory: dict[str, int]


def make_case(
  name: str, flags: argparse.Namespace, members: int, devices: int = 1
) -> Case:
  """Compiles the step of a population, or of one model where there are 0.

  Args:
    name: for the table.
    flags: the command line.
    members: of the population, 0 = a model by itself.
    devices: that share the members.
  """
  config = gin_files.call(decoder.DecoderConfig)
  network = decoder.make_network(config)
  mesh = None
  if devices > 1:
    mesh = meshes.make_mesh(None, jax.devices()[:devices])
  program = make_program(
    network,
    optimizers.make_optimizer(
      'adamw', schedule='constant', learning_rate=4e-4, warmup_steps=100
    ),
    uniform.make(),
    StepSettings(1, z_loss=0.0, chunk_tokens=flags.chunk_tokens),
    seeds=range(max(members, 1)),
    population=members > 0,
    mesh=mesh,
  )
  batches = [
    {
      key: value
      for key, value in workloads.full_batch(
        flags.rows, 1, flags.length, vocab_size=config.vocab_size, seed=seed
      ).items()
      if key.startswith('decoder_')
    }
    for seed in range(max(members, 1))
  ]
  state, batch = program.init(), program.put(batches)
  started = time.perf_counter()
  lowered = jax.jit(program.step, donate_argnums=0).lower(state, batch)
  step = lowered.compile()
  seconds = time.perf_counter() - started
  stats: Any = step.memory_analysis()

  def call() -> None:
    nonlocal state
    for _ in range(flags.alone if not members else 1):
      state, metrics = step(state, program.put(batches))
      jax.device_get(metrics)
    jax.block_until_ready(state)

  tokens = flags.rows * flags.length * (members or flags.alone)
  memory = {
    'arguments': stats.argument_size_in_bytes,
    'temporaries': stats.temp_size_in_bytes,
    # Donated buffers are counted with the arguments.
    'results': stats.output_size_in_bytes - stats.alias_size_in_bytes,
  }
  memory = {name: own * devices for name, own in memory.items()}
  products = flops.count_matmul_flops(program.step, state, batch)
  if not members:
    products *= flags.alone
  row = benchmarking.Row(name, call, tokens, products)
  return Case(row, members or 1, seconds, memory)


def describe(case: Case) -> str:
  """One line: tokens per second of each member, compile time, memory."""
  rate = case.row.units / statistics.median(case.row.wall)
  whole = sum(case.memory.values()) / 1e6
  return (
    f'  {case.row.name:32}{rate / case.members:>12,.0f} tokens/s per proxy,'
    f' compiled in {case.compile_seconds:.1f} s, {whole:,.0f} MB'
    f' ({whole / case.members:,.0f} per proxy)'
  )


def main(argv: Sequence[str] | None = None) -> None:
  """Parses the flags and runs the comparison."""
  jax.config.update('jax_num_cpu_devices', os.cpu_count() or 1)
  on_cpu = jax.default_backend() == 'cpu'
  parser = argparse.ArgumentParser(description='Proxies side by side.')
  add = parser.add_argument
  add('--model', default='models/proxy_1m.gin', help='gin file')
  add('--members', default='1,8,32', help='sizes of populations')
  add('--rows', type=int, default=4 if on_cpu else 16, help='per batch')
  add('--length', type=int, default=256 if on_cpu else 1024, help='tokens')
  add('--chunk_tokens', type=int, help='logits held at a time')
  add('--alone', type=int, default=8, help='steps of the base per round')
  add('--rounds', type=int, default=5)
  add('--output', type=pathlib.Path, help='all seconds as JSON')
  flags = parser.parse_args(argv)
  print(benchmarking.device_line())
  dtype = 'float32' if on_cpu else 'bfloat16'
  gin_files.parse(
    files=[flags.model], bindings=[f'decoder.DecoderConfig.dtype = {dtype!r}']
  )
  sizes = [int(size) for size in flags.members.split(',')]
  cases = [make_case('one after another', flags, 0)]
  cases += [make_case(f'population of {size}', flags, size) for size in sizes]
  devices = jax.device_count()
  if devices > 1 and max(sizes) % devices == 0:
    name = f'population of {max(sizes)}, {devices} devices'
    cases.append(make_case(name, flags, max(sizes), devices))
  rows = [case.row for case in cases]
  if on_cpu:
    rows.append(benchmarking.dot_row())
  benchmarking.run_rounds(rows, rounds=flags.rounds)
  title = (
    f'Training steps, {flags.model}, {flags.rows} rows of {flags.length}'
    ' tokens per model'
  )
  print(benchmarking.table(title, rows, 'tokens'))
  print('\n'.join(describe(case) for case in cases))
  if flags.output:
    found = {
      **benchmarking.as_dict(rows),
      'costs': {
        case.row.name: {
          'compile_seconds': case.compile_seconds,
          'memory': case.memory,
        }
        for case in cases
      },
      'device': benchmarking.device_line(),
    }
    flags.output.write_text(json.dumps(found, indent=1))


if __name__ == '__main__':
  main()
