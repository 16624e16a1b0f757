"""Memory of a training step that looks at its examples' gradients.

  python tools/measure_gradient_memory.py --lengths 128 512

For a decoder with its layers written out, and with scanned layers recomputed
on the way back: what the compiler allots to the uniform step, to GREATS both
ways, and to `vmap(grad)` with a Gram matrix, alone or with the weighted sum of
the gradients that a step makes of it. Nothing is run. 'planned' is what the
command compares where it is to choose.
"""

import argparse
from collections.abc import Sequence
from typing import Any

import bench_weighting
import benchmarking
import jax
import jax.numpy as jnp
import workloads

from jaxcurate.ops.dense_gradients import DenseGradients
from jaxcurate.train import forward, gradient_bytes, state, step
from jaxcurate.train.gradient_settings import GradientSettings
from jaxcurate.types import Batch, Network, Params, Weighting
from jaxcurate.weightings import greats, uniform


def step_memory(
  network: Network, batch: Batch, weighting: Weighting, way: Any, chunk: int
) -> int:
  """Bytes of temporaries of one step.

  Args:
    network: the network.
    batch: shapes.
    weighting: how examples are weighted.
    way: see `GradientSettings`.
    chunk: tokens whose logits are held at a time.
  """
  optimizer = bench_weighting.make_optimizer()
  run = step.make_train_step(
    network,
    optimizer,
    weighting,
    max_segments=1,
    chunk_tokens=chunk,
    example_gradients=GradientSettings(way),
  )
  like = jax.eval_shape(lambda: state.init_state(network, optimizer, weighting))
  return benchmarking.compiled_memory(run, like, batch)['temporaries']


def vmap_memory(
  network: Network, params: Params, batch: Batch, chunk: int, *, weigh: bool
) -> int:
  """Bytes of temporaries of all gradients by `vmap`, and their Gram matrix.

  Args:
    network: the network.
    params: shapes.
    batch: shapes.
    chunk: tokens whose logits are held at a time.
    weigh: keep them, as a step must for the sum weighted by what it shows.
  """

  def loss(params: Params, row: Batch) -> jax.Array:
    alone = {name: values[None] for name, values in row.items()}
    outputs = forward.forward(network, params, alone, chunk_tokens=chunk)
    assert outputs.log_prob_BxT is not None
    return -jnp.sum(outputs.log_prob_BxT)

  def gram(params: Params, batch: Batch) -> Any:
    gradients = jax.vmap(jax.grad(loss), (None, 0))(params, batch)
    found = DenseGradients(gradients).gram()
    if not weigh:
      return found
    weights = jax.nn.softmax(jnp.sum(found, axis=1))
    return jax.tree.map(lambda g: jnp.tensordot(weights, g, 1), gradients)

  return benchmarking.compiled_memory(jax.jit(gram), params, batch)[
    'temporaries'
  ]


def report(
  network: Network, rows: int, length: int, chunk: int
) -> dict[str, int]:
  """What -> bytes of temporaries, for full rows of one example each.

  Args:
    network: a decoder-only one.
    rows: n, examples.
    length: T, tokens of each.
    chunk: tokens whose logits are held at a time.
  """
  params = jax.eval_shape(network.init, jax.random.key(0))
  ids = jax.ShapeDtypeStruct((rows, length), jnp.int32)
  names = ('input_tokens', 'target_tokens', 'segment_ids')
  batch = {f'decoder_{name}': ids for name in names}
  planned = gradient_bytes.planned_bytes(
    network, params, batch, max_segments=1, chunk_tokens=chunk
  )
  found = {
    'uniform': step_memory(network, batch, uniform.make(), 'auto', chunk)
  }
  for way in ('keep_factors', 'second_pass'):
    found[way] = step_memory(network, batch, greats.make(), way, chunk)
    found[f'{way}, planned'] = getattr(planned, way)
  for name, weigh in (('vmap(grad), Gram alone', False), ('vmap(grad)', True)):
    found[name] = vmap_memory(network, params, batch, chunk, weigh=weigh)
  return found


def main(argv: Sequence[str] | None = None) -> None:
  """Prints a table for each length and kind of stack."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  add = parser.add_argument
  add('--rows', type=int, default=32, help='n, examples per step')
  add('--lengths', type=int, nargs='+', default=[128, 512])
  add('--width', type=int, default=512)
  add('--layers', type=int, default=4)
  add('--vocab', type=int, default=4096)
  add('--chunk_tokens', type=int, default=2048, help='logits at a time')
  flags = parser.parse_args(argv)
  print(benchmarking.device_line())
  for recompute in (False, True):
    network = workloads.make_decoder(
      flags.width,
      flags.layers,
      flags.vocab,
      scan_layers=recompute,
      remat=recompute,
    )
    for length in flags.lengths:
      found = report(network, flags.rows, length, flags.chunk_tokens)
      kind = 'scanned and recomputed' if recompute else 'written out'
      print(f'{flags.rows} x {length} x {flags.width}, layers {kind}')
      for name, size in found.items():
        more = ''
        if 'planned' not in name and name != 'uniform':
          extra = size - found['uniform']
          share = extra / max(1, found['vmap(grad)'] - found['uniform'])
          more = f'  {extra / 1e6:+9,.0f} MB, {share:.2f} of vmap(grad)'
        print(f'  {name:24}{size / 1e6:>9,.0f} MB{more}', flush=True)


if __name__ == '__main__':
  main()
