"""What each weighting costs per training step, over uniform, in turn.

  python tools/bench_weighting.py                 # about five minutes
  python tools/bench_weighting.py --rows=32 --length=128

A decoder from scratch, AdamW, one example per row, no padding; subset methods
keep half. Left out of the steps and printed: refreshes of the anchors, and what
a step in microbatches costs where weights look at the whole batch. Beside the
steps, gradients of the same examples are taken one by one: by `vmap(grad)` with
their Gram matrix, and in turn.
"""

import argparse
from collections.abc import Callable, Sequence
import dataclasses
import json
import pathlib
from typing import Any

import benchmarking
import count_flops
import jax
import jax.numpy as jnp
import numpy as np
import workloads

from jaxcurate.ops.dense_gradients import DenseGradients
from jaxcurate.ops.flops import count_flops as count
from jaxcurate.ops.flops import count_matmul_flops
from jaxcurate.train import (
  anchors,
  forward,
  gradient_bytes,
  optimizers,
  state,
  step,
)
from jaxcurate.types import AnchorSet, Batch, Network, Params, Weighting
from jaxcurate.weightings import (
  adapt,
  filter_then_weight,
  greats,
  lin_upper,
  uniform,
)

ON_CPU = jax.default_backend() == 'cpu'
WEIGHTINGS: dict[str, Callable[[], Weighting]] = {
  'uniform': uniform.make,
  'LinUpper': lin_upper.make,
  'ADAPT': adapt.make,
  'GREATS': greats.make,
  'Filter-then-Weight': lambda: filter_then_weight.make(warmup_updates=1),
}
# Largest overheads over uniform that the project aims at.
AIMS = {
  'LinUpper': 0.01,
  'ADAPT': 0.03,
  'GREATS': 0.35,
  'Filter-then-Weight': 0.35,
}


def make_optimizer() -> optimizers.Optimizer:
  """AdamW at a constant rate, no warm-up."""
  return optimizers.make_optimizer(
    'adamw', schedule='constant', learning_rate=1e-4, warmup_steps=0
  )


def make_batch(rows: int, length: int, vocab_size: int) -> dict[str, Any]:
  """Full rows of tokens as frequent as words are: Zipf's law."""
  rng = np.random.default_rng(0)
  tokens = rng.zipf(1.3, (rows, length + 1)) % (vocab_size - 3) + 3
  tokens = tokens.astype(np.int32)
  return {
    'decoder_input_tokens': tokens[:, :-1],
    'decoder_target_tokens': tokens[:, 1:],
    'decoder_segment_ids': np.ones((rows, length), np.int32),
    'decoder_loss_weights': np.ones((rows, length), np.float32),
  }


def make_row(
  name: str, network: Network, params: Params, batch: Batch, chunk: int | None
) -> tuple[benchmarking.Row, dict[str, Any]]:
  """A weighting's step: its row and its counted costs."""
  weighting, optimizer = WEIGHTINGS[name](), make_optimizer()
  run = step.make_train_step(
    network, optimizer, weighting, max_segments=1, chunk_tokens=chunk
  )
  current = state.init_state(network, optimizer, weighting, params=params)
  costs: dict[str, Any] = {}
  if weighting.refresh is not None:
    refresh = anchors.make_refresh_step(network, weighting, max_segments=1)
    few = AnchorSet('few', ({k: v[:8] for k, v in batch.items()},))
    stacked = anchors.stack_anchors(few)
    current = dataclasses.replace(
      current, weighting_state=refresh(current, stacked)
    )
    costs['refresh_flops'] = count(refresh, current, stacked)
    costs['refresh_interval'] = weighting.refresh_interval
  shapes = workloads.shapes(current), workloads.shapes(batch)
  costs |= {
    'flops': count(run, *shapes),
    'memory': benchmarking.compiled_memory(run, *shapes)['temporaries'],
  }
  on_device = jax.device_put(dict(batch))

  def call() -> None:
    nonlocal current
    current, metrics = run(current, on_device)
    jax.block_until_ready((current, metrics))
    if 'weights/fallbacks' in metrics:
      costs['fallbacks'] = int(metrics['weights/fallbacks'])

  matmul = count_matmul_flops(run, *shapes)
  return benchmarking.Row(name, call, len(batch), matmul), costs


def print_in_parts(
  names: Sequence[str],
  network: Network,
  batch: Batch,
  accumulate: int,
  chunk: int | None,
) -> None:
  """Counted operations of weightings that look at more than a microbatch."""

  def step_flops(name: str) -> int:
    weighting, optimizer = WEIGHTINGS[name](), make_optimizer()
    run = step.make_train_step(
      network,
      optimizer,
      weighting,
      max_segments=1,
      chunk_tokens=chunk,
      accumulate=accumulate,
    )
    current = count_flops.abstract_state(network, optimizer, weighting)
    return count(run, current, workloads.shapes(batch))

  params = jax.eval_shape(network.init, jax.random.key(0))
  once = count(
    lambda params, batch: forward.forward(network, params, batch),
    params,
    workloads.shapes(batch),
  )
  base = step_flops('uniform')
  print(f'In {accumulate} microbatches, by counted operations:')
  for name in names:
    if WEIGHTINGS[name]().batch_coupled:
      extra = step_flops(name) - base
      print(
        f'  {name}: {extra / base:+.1%} of uniform, {extra / once:.2f} forward'
        ' passes'
      )


def gram_rows(
  network: Network, params: Params, batch: Batch
) -> tuple[list[benchmarking.Row], dict[str, int]]:
  """Every gradient by itself, by `vmap` or in turn; their temporaries."""

  def one(params: Params, row: Batch) -> Params:
    def loss(params: Params) -> jax.Array:
      alone = jax.tree.map(lambda x: x[None], dict(row))
      outputs = forward.forward(network, params, alone)
      assert outputs.log_prob_BxT is not None
      return -jnp.mean(outputs.log_prob_BxT)

    return jax.grad(loss)(params)

  def gram(params: Params, batch: Batch) -> jax.Array:
    gradients = jax.vmap(one, (None, 0))(params, dict(batch))
    return DenseGradients(gradients).gram()

  def in_turn(params: Params, batch: Batch) -> jax.Array:
    # The gradients alone: what one at a time costs before any product.
    def norm(row: Batch) -> jax.Array:
      squares = jax.tree.map(lambda g: jnp.vdot(g, g), one(params, row))
      return jax.tree.reduce(jnp.add, squares)

    return jax.lax.map(norm, dict(batch))

  rows, memory = [], {}
  for name, function in (('vmap(grad), Gram', gram), ('in turn', in_turn)):
    compiled = jax.jit(function)
    rows.append(
      benchmarking.Row(
        name,
        lambda compiled=compiled: compiled(params, batch).block_until_ready(),
        len(batch),
      )
    )
    memory[name] = benchmarking.compiled_memory(
      compiled, workloads.shapes(params), workloads.shapes(batch)
    )['temporaries']
  return rows, memory


def main(argv: Sequence[str] | None = None) -> None:
  """Parses the flags and runs the comparison."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  add = parser.add_argument
  add('--rows', type=int, default=16, help='n, examples per step')
  add('--length', type=int, default=256)
  add('--width', type=int, default=512)
  add('--layers', type=int, default=4)
  add('--vocab', type=int, default=4096)
  add('--weightings', nargs='+', default=list(WEIGHTINGS), help='uniform first')
  add('--rounds', type=int, default=5)
  add('--accumulate', type=int, default=4, help='microbatches, counted only')
  add('--chunk_tokens', type=int, help='logits held at a time')
  add('--output', type=pathlib.Path, help='all seconds as JSON')
  flags = parser.parse_args(argv)
  print(benchmarking.device_line())
  network = workloads.make_decoder(
    flags.width,
    flags.layers,
    flags.vocab,
    dtype='float32' if ON_CPU else 'bfloat16',
  )
  params = jax.jit(network.init)(jax.random.key(0))
  size = sum(leaf.size for leaf in jax.tree.leaves(params))
  batch = make_batch(flags.rows, flags.length, flags.vocab)
  made = {
    name: make_row(name, network, params, batch, flags.chunk_tokens)
    for name in flags.weightings
  }
  rows = [row for row, _ in made.values()]
  costs = {name: own for name, (_, own) in made.items()}
  apart, memory = gram_rows(network, params, jax.device_put(dict(batch)))
  benchmarking.run_rounds([*rows, *apart], rounds=flags.rounds)
  title = (
    f'Training step, decoder of {size / 1e6:.1f} M parameters,'
    f' {flags.rows} examples of {flags.length} tokens'
  )
  print(benchmarking.table(title, [*rows, *apart], 'rows'))
  planned = gradient_bytes.planned_bytes(
    network, params, batch, max_segments=1, chunk_tokens=flags.chunk_tokens
  )
  print(f"  examples' gradients: {planned.choice()} (plans: {planned})")
  base = costs[flags.weightings[0]]
  for row, name in zip(rows, costs, strict=True):
    own = costs[name]
    more = [
      benchmarking.format_range(
        [1 / r for r in benchmarking.per_round_ratios(rows[0], row, kind)]
      )
      for kind in ('wall', 'cpu')
    ]
    aim = f' (aim {1 + AIMS[name]:.2f})' if name in AIMS else ''
    print(
      f'  {name}: {more[0]} of the wall time of uniform{aim}, {more[1]} of its'
      f' CPU time, operations {own["flops"] / base["flops"] - 1:+.4%},'
      f' temporaries {own["memory"] / 1e6:.1f} MB'
    )
    if 'fallbacks' in own:
      print(f'    {own["fallbacks"]} steps fell back to uniform weights')
    if 'refresh_flops' in own:
      share = own['refresh_flops'] / own['refresh_interval'] / own['flops']
      print(
        f'    refresh of 8 anchors every {own["refresh_interval"]} steps:'
        f' {share:.3%} of a step'
      )
  for row in apart:
    more = [
      benchmarking.format_range(
        [1 / r for r in benchmarking.per_round_ratios(rows[0], row, kind)]
      )
      for kind in ('wall', 'cpu')
    ]
    print(
      f'  {row.name}, no step: {more[0]} of the wall time of uniform, {more[1]}'
      f' of its CPU time, temporaries {memory[row.name] / 1e6:.1f} MB'
    )
  print_in_parts(
    flags.weightings, network, batch, flags.accumulate, flags.chunk_tokens
  )
  if flags.output:
    found = {
      **benchmarking.as_dict([*rows, *apart]),
      'costs': costs,
      'memory': memory,
      'device': benchmarking.device_line(),
    }
    flags.output.write_text(json.dumps(found, indent=1))


if __name__ == '__main__':
  main()
