"""Training steps: uniform and ADAPT against PyTorch eager, in turn.

  python tools/bench_training.py                    # about four minutes

The same T5 1.1, parameters and batch in all rows, AdamW, no dropout. What
weighting costs is far below what a clock on a shared machine resolves, so
operations and memory of the compiled steps are printed too.

On a GPU or TPU the batch is large, the arithmetic is bfloat16, and the share
of the device's peak is printed.
"""

import argparse
from collections.abc import Callable, Sequence
import json
import pathlib
from typing import Any

import benchmarking
import count_flops
import jax
import numpy as np
import peers
import workloads

from jaxcurate.models.t5 import for_training, make_network
from jaxcurate.train import optimizers, state, step
from jaxcurate.types import Network, Weighting
from jaxcurate.weightings import adapt, uniform

ON_CPU = jax.default_backend() == 'cpu'


def make_row(
  name: str,
  network: Network,
  params: Any,
  weighting: Weighting,
  batch: dict[str, np.ndarray],
  flags: argparse.Namespace,
) -> tuple[benchmarking.Row, dict[str, Any], Callable[[], float]]:
  """A contender of ours: its row, its costs, and one step's loss.

  Args:
    name: for the table.
    network: the network.
    params: initial parameters.
    weighting: how examples are weighted.
    batch: one example per row, no padding.
    flags: the command line.
  """
  optimizer = optimizers.make_optimizer(
    'adamw',
    schedule='constant',
    learning_rate=peers.LEARNING_RATE,
    warmup_steps=0,
  )
  run = step.make_train_step(
    network,
    optimizer,
    weighting,
    max_segments=1,
    z_loss=0.0,
    accumulate=flags.accumulate,
    chunk_tokens=flags.chunk_tokens,
  )
  current = state.init_state(network, optimizer, weighting, params=params)
  flops, matmul = count_flops.train_step_flops(
    network, weighting, batch, segments=1, optimizer=optimizer
  )
  costs = {
    'flops': flops,
    'memory': benchmarking.compiled_memory(
      run, workloads.shapes(current), workloads.shapes(batch)
    ),
  }
  on_device = jax.device_put(batch)

  def call() -> float:
    nonlocal current
    current, metrics = run(current, on_device)
    jax.block_until_ready(current)
    return float(metrics['loss'])

  return benchmarking.Row(name, call, flags.rows, matmul), costs, call


def main(argv: Sequence[str] | None = None) -> None:
  """Parses the flags and runs the comparison."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  add = parser.add_argument
  add('--model', default=workloads.SMALL, help='gin file')
  add('--rows', type=int, default=4 if ON_CPU else 128, help='per batch')
  add('--encoder_length', type=int, default=512)
  add('--decoder_length', type=int, default=114)
  add('--accumulate', type=int, default=1, help='microbatches per step')
  add('--chunk_tokens', type=int, help='logits held at a time')
  add('--rounds', type=int, default=7)
  add('--output', type=pathlib.Path, help='all seconds as JSON')
  flags = parser.parse_args(argv)
  print(benchmarking.device_line())
  config = workloads.read_config(
    flags.model, dtype='float32' if ON_CPU else 'bfloat16'
  )
  network = make_network(for_training(config))
  params = jax.jit(network.init)(jax.random.key(0))
  batch = workloads.full_batch(
    flags.rows, flags.encoder_length, flags.decoder_length
  )
  plain, plain_costs, plain_loss = make_row(
    'project, uniform', network, params, uniform.make(), batch, flags
  )
  weighted, costs, _ = make_row(
    'project, ADAPT', network, params, adapt.make(), batch, flags
  )
  rows = [plain, weighted]
  absent = peers.why_not(jax.default_backend())
  if absent:
    print(absent)
  else:
    model = peers.make_peer(config, params)
    call = peers.training_step(model, batch)
    theirs, ours = call(), plain_loss()
    print(f'loss of the first step: transformers {theirs:.6f}, ours {ours:.6f}')
    rows.insert(0, benchmarking.Row('PyTorch eager, sdpa', call, flags.rows))
  benchmarking.run_rounds(rows, rounds=flags.rounds)
  title = (
    f'Training step, {flags.model}, {flags.rows} rows of'
    f' {flags.encoder_length} + {flags.decoder_length} tokens'
  )
  print(benchmarking.table(title, rows, 'rows'))
  more = costs['flops'] / plain_costs['flops'] - 1
  memory = [c['memory']['temporaries'] for c in (plain_costs, costs)]
  print(
    f'  operations: uniform {plain_costs["flops"]:,}, ADAPT +{more:.6%}\n'
    f'  temporaries: uniform {memory[0] / 1e6:.2f} MB, ADAPT'
    f' {memory[1] / 1e6:.2f} MB\n'
    '  ADAPT over uniform, CPU seconds per round: '
    + benchmarking.format_range(
      [1 / r for r in benchmarking.per_round_ratios(plain, weighted, 'cpu')]
    )
  )
  if not ON_CPU:
    print(f'  {benchmarking.share_of_peak(plain)}')
  if flags.output:
    found = {
      **benchmarking.as_dict(rows),
      'costs': {'uniform': plain_costs, 'adapt': costs},
      'device': benchmarking.device_line(),
    }
    flags.output.write_text(json.dumps(found, indent=1))


if __name__ == '__main__':
  main()
