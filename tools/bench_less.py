"""LESS's per-example gradients: the project against PyTorch, in turn.

  python tools/bench_less.py                      # about three minutes

Both compute the gradient of the mean loss of every document with respect to
the same LoRA adapters of the same random network: the project for a batch of
32, PyTorch one document after the other, as princeton-nlp/LESS does. The
gradients are compared. A third row adds what makes them features: Adam's
direction and the projection, whose signs are never stored; the projection's
own rate is printed apart. Not timed: compiling, and making the batch.
"""

import argparse
from collections.abc import Sequence
import dataclasses
import json
import pathlib
import statistics
from typing import Any

import benchmarking
import decoder_peers
import jax
import jax.numpy as jnp
import numpy as np
import workloads

from jaxcurate.cli import gin_files
from jaxcurate.data import packing
from jaxcurate.models import decoder, load
from jaxcurate.ops import adam_direction, lora
from jaxcurate.scorers import gradient_features

ON_CPU = jax.default_backend() == 'cpu'
MODEL = 'models/tinyllama_120m.gin'


def make_network(flags: argparse.Namespace) -> tuple[Any, Any, Any, Any]:
  """Config, network, random weights and random adapters."""
  gin_files.parse(files=[flags.model])
  config = gin_files.call(decoder.DecoderConfig)
  config = dataclasses.replace(
    config,
    dtype='float32' if ON_CPU else 'bfloat16',
    num_layers=flags.layers or config.num_layers,
  )
  model = load.LoadedModel(decoder.make_network(config), {}, config, 'bytes')
  network = load.for_scoring(model)
  params = jax.jit(network.init)(jax.random.key(0))
  adapters = lora.init(jax.random.key(1), params, rank=flags.rank)
  # B is 0 at first, and the gradient of A with it.
  keys = iter(jax.random.split(jax.random.key(2), 10_000))
  adapters = jax.tree.map(
    lambda x: x + 0.01 * jax.random.normal(next(keys), x.shape), adapters
  )
  return config, network, params, adapters


def batch_of(documents: list[list[int]], length: int) -> dict[str, jax.Array]:
  """One document per row, as the engine packs them."""
  examples = [
    {
      'decoder_inputs': np.asarray(own[:-1], np.int32),
      'decoder_targets': np.asarray(own[1:], np.int32),
    }
    for own in documents
  ]
  packed = packing.pack(
    examples, encoder_length=0, decoder_length=length, max_segments=1
  )
  return jax.tree.map(jnp.asarray, packed.batch)


def difference(ours: Any, theirs: list[np.ndarray]) -> float:
  """Largest relative error of a document's whole gradient."""
  flat = np.concatenate(
    [np.asarray(x).reshape(len(x), -1) for x in jax.tree.leaves(ours)], axis=1
  )
  return max(
    float(np.linalg.norm(one - two) / np.linalg.norm(two))
    for one, two in zip(flat, theirs, strict=True)
  )


def main(argv: Sequence[str] | None = None) -> None:
  """Parses the flags and runs the comparison."""
  parser = argparse.ArgumentParser(description=str(__doc__).split('\n')[0])
  add = parser.add_argument
  add('--model', default=MODEL, help='gin file of a decoder')
  add('--layers', type=int, default=4 if ON_CPU else None, help="the model's")
  add('--max_length', type=int, default=128 if ON_CPU else 512)
  add('--batch', type=int, default=32)
  add('--rank', type=int, default=128)
  add('--alpha', type=float, default=512.0)
  add('--width', type=int, default=8192)
  add('--rounds', type=int, default=3 if ON_CPU else 10)
  add('--seed', type=int, default=0)
  add('--output', type=pathlib.Path, help='all seconds as JSON')
  flags = parser.parse_args(argv)
  print(benchmarking.device_line())
  config, network, params, adapters = make_network(flags)
  documents = workloads.random_documents(
    [flags.max_length + 1] * flags.batch,
    vocab_size=config.vocab_size,
    seed=flags.seed,
  )
  batch = batch_of(documents, flags.max_length)
  settings = gradient_features.Settings(flags.alpha, flags.width)
  moments = [
    jax.tree.map(lambda x, s=s: jnp.full(x.shape, s), adapters)
    for s in (1e-6, 1e-10)
  ]

  def gradients(params: Any, adapters: Any, batch: Any) -> Any:
    return gradient_features.example_gradients(
      network,
      params,
      adapters,
      batch,
      alpha=flags.alpha,
      objective=gradient_features.mean_loss,
    )[0]

  def features(found: Any) -> Any:
    direction = adam_direction.adam_direction(found, *moments)
    return gradient_features.unit(
      gradient_features.project(direction, settings)
    )

  compute, project = jax.jit(gradients), jax.jit(features)
  ours = benchmarking.Row(
    f'project, batch {flags.batch}',
    lambda: jax.block_until_ready(compute(params, adapters, batch)),
    flags.batch,
  )
  found = ours.call()
  count = sum(x[0].size for x in jax.tree.leaves(found))
  apart = benchmarking.Row(
    f'direction, projection to {flags.width}',
    lambda: jax.block_until_ready(project(found)),
    flags.batch,
    flops=2.0 * flags.batch * flags.width * count,
  )
  rows, absent = [], decoder_peers.why_not(jax.default_backend())
  if absent:
    print(absent)
  else:
    model = decoder_peers.make_peer(config, params)
    call = decoder_peers.lora_gradients(
      model, adapters, flags.alpha, [np.asarray(own) for own in documents]
    )
    rows.append(
      benchmarking.Row('PyTorch backward, one by one', call, flags.batch)
    )
    error = difference(found, decoder_peers.as_arrays(call()))
    print(f'largest relative difference of a gradient: {error:.1e}')
  benchmarking.run_rounds([*rows, ours], rounds=flags.rounds, warm_up=0)
  benchmarking.run_rounds([apart], rounds=2)
  title = (
    f'LESS, {flags.model}, {config.num_layers} layers, {flags.batch} documents'
    f' of {flags.max_length} tokens, {count / 1e6:.1f} M numbers of LoRA'
  )
  print(benchmarking.table(title, [*rows, ours], 'examples'))
  seconds = statistics.median(apart.wall)
  print(
    f'  {apart.name}: {flags.batch / seconds:.1f} examples/s apart from that,'
    f' {(apart.flops or 0.0) / seconds / 1e9:.0f} GFLOP/s'
  )
  if flags.output:
    every = benchmarking.as_dict([*rows, ours])
    device = {'device': benchmarking.device_line(), 'projection': apart.wall}
    flags.output.write_text(json.dumps({**every, **device}, indent=1))


if __name__ == '__main__':
  main()
