"""What each weighting costs per training step, over uniform, in turn.

  python tools/bench_weighting.py                 # about five minutes
  python tools/bench_weighting.py --rows=32 --length=128

A decoder from scratch, AdamW, one example per row, no padding; subset methods
keep half. Refreshes of the anchors are left out of the steps and printed. The
Gram matrix of the same examples' gradients is taken in three ways: from the
step's factors, by `vmap(grad)`, and one gradient at a time.
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

from jaxcurate.models import decoder
from jaxcurate.ops.dense_gradients import DenseGradients
from jaxcurate.ops.flops import count_flops as count
from jaxcurate.train import anchors, forward, optimizers, state, step
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
  'Filter-then-Weight': lambda: filter_then_weight.make(warmup_updates=0),
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
  flops, matmul = count_flops.train_step_flops(
    network, weighting, batch, segments=1, optimizer=optimizer
  )
  shapes = workloads.shapes(current), workloads.shapes(batch)
  costs |= {
    'flops': flops,
    'memory': benchmarking.compiled_memory(run, *shapes)['temporaries'],
  }
  on_device = jax.device_put(dict(batch))

  def call() -> None:
    nonlocal current
    current, metrics = run(current, on_device)
    jax.block_until_ready((current, metrics))

  return benchmarking.Row(name, call, len(batch), matmul), costs


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
  add('--chunk_tokens', type=int, help='logits held at a time')
  add('--output', type=pathlib.Path, help='all seconds as JSON')
  flags = parser.parse_args(argv)
  print(benchmarking.device_line())
  network = decoder.make_network(
    decoder.DecoderConfig(
      vocab_size=flags.vocab,
      embed_dim=flags.width,
      num_heads=max(1, flags.width // 64),
      num_kv_heads=max(1, flags.width // 64),
      head_dim=min(64, flags.width),
      mlp_dim=flags.width * 11 // 4,
      num_layers=flags.layers,
      tied_head=True,
      dtype='float32' if ON_CPU else 'bfloat16',
    )
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
  base = costs[flags.weightings[0]]
  for row, name in zip(rows, costs, strict=True):
    own = costs[name]
    more = [
      benchmarking.format_range(
        [1 / r for r in benchmarking.per_round_ratios(rows[0], row, kind)]
      )
      for kind in ('wall', 'cpu')
    ]
    print(
      f'  {name}: {more[0]} of the wall time of uniform, {more[1]} of its CPU'
      f' time, operations {own["flops"] / base["flops"] - 1:+.4%}, temporaries'
      f' {own["memory"] / 1e6:.1f} MB'
    )
    if 'refresh_flops' in own:
      share = own['refresh_flops'] / own['refresh_interval'] / own['flops']
      print(
        f'    refresh of 8 anchors every {own["refresh_interval"]} steps:'
        f' {share:.3%} of a step'
      )
  for name, size in memory.items():
    print(f'  {name}: temporaries {size / 1e6:.1f} MB')
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
