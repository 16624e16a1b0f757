"""LAMDAS scoring: the project against transformers with SDPA, in turn.

  python tools/bench_lamdas.py                      # about four minutes

Per document both read the tokens twice, with and without a prefix; the project
packs, the peer sorts and pads to each batch's longest. A third row is the
project's perplexity, which reads once: its time over LAMDAS's is what LAMDAS
costs in forward passes; the operations are counted too. The network has random
weights, the same in both, and the scores are compared. Timed: everything from
token ids to scores on the host; not timed: tuning the prefix and compiling.
"""

import argparse
from collections.abc import Sequence
import dataclasses
import json
import pathlib
import statistics
from typing import Any, NamedTuple

import benchmarking
import decoder_peers
import jax
import numpy as np
import workloads

from jaxcurate.cli import gin_files
from jaxcurate.models import decoder, forward, load
from jaxcurate.models import mesh as mesh_lib
from jaxcurate.ops import flops
from jaxcurate.scorers import lamdas, perplexity
from jaxcurate.types import Document, Features, Params, Scorer

ON_CPU = jax.default_backend() == 'cpu'
MODEL = 'models/tinyllama_120m.gin'


class Project(NamedTuple):
  """The network and its two scorers, with what their passes read."""

  config: decoder.DecoderConfig
  params: Params
  prefix: dict[str, np.ndarray]  # [layers, P, heads, head_dim]
  twice: tuple[Scorer, Params]
  once: tuple[Scorer, Params]


def make_project(flags: argparse.Namespace) -> Project:
  """Random weights and a random prefix."""
  gin_files.parse(files=[flags.model])
  config = dataclasses.replace(
    gin_files.call(decoder.DecoderConfig),
    dtype='float32' if ON_CPU else 'bfloat16',
  )
  model = load.LoadedModel(decoder.make_network(config), {}, config, 'bytes')
  network = load.for_scoring(model)
  params = jax.jit(network.init)(jax.random.key(0))
  assert network.prefix_shape is not None, 'every decoder has one'
  layers, heads, head_dim = network.prefix_shape
  shape = (2, layers, flags.prefix_length, heads, head_dim)
  rng = np.random.default_rng(flags.seed)
  key, value = rng.normal(size=shape).astype(np.float32)
  parts = {'network': network, 'vocabulary': workloads.WordVocabulary()}
  twice = lamdas.make(
    anchors=[Document(i, 'any two words', None) for i in 'ab'],
    prefix_length=flags.prefix_length,
    max_length=flags.max_length,
    **parts,
  )
  once = perplexity.make(max_length=flags.max_length, **parts)
  fitted = {'key': key[None], 'value': value[None]}
  return Project(
    config,
    params,
    {'key': key, 'value': value},
    (twice, jax.device_put((params, fitted))),
    (once, params),
  )


def examples_of(features: Features, documents: list[list[int]]) -> list[dict]:
  """One example per document; none is longer than a window."""
  rows = [Document(str(i), '', None) for i in range(len(documents))]
  return [own for [own] in features.examples(rows, documents)]


def make_row(
  name: str,
  scorer: Scorer,
  params: Params,
  documents: list[list[int]],
  rows: int | None,
) -> tuple[benchmarking.Row, float]:
  """A contender on the engine's own path, and its operations per row."""
  features = scorer.features
  examples = examples_of(features, documents)
  run = forward.Forward(features, params, mesh_lib.make_mesh(), rows=rows)

  def call() -> np.ndarray:
    out = run(forward.prepare(features, examples))
    if 'with' not in out:
      return out['log_prob'] / out['targets']
    return (out['with'][:, 0] - out['without']) / out['count']

  batch = forward.prepare(features, examples).batch
  one = {
    name: jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype)
    for name, x in batch.items()
  }
  count = flops.count_flops(
    lambda p, b: features.apply(p, b, features.max_segments),
    workloads.shapes(params),
    one,
  )
  num_rows = len(next(iter(batch.values())))
  matmul = flops.count_matmul_flops(
    lambda p, b: features.apply(p, b, features.max_segments),
    workloads.shapes(params),
    one,
  )
  row = benchmarking.Row(name, call, len(documents), float(matmul * num_rows))
  return row, float(count)


def compare(
  title: str,
  project: Project,
  documents: list[list[int]],
  flags: argparse.Namespace,
) -> dict[str, Any]:
  """Runs one comparison and prints its table."""
  ours, twice = make_row('project', *project.twice, documents, flags.rows)
  plain, once = make_row(
    'project, perplexity', *project.once, documents, flags.rows
  )
  rows, absent = [], decoder_peers.why_not(jax.default_backend())
  if absent:
    print(absent)
  else:
    model = decoder_peers.make_peer(project.config, project.params)
    arrays = [np.asarray(own, np.int64) for own in documents]
    for size in flags.peer_batch:
      call = decoder_peers.log_ratios(model, arrays, project.prefix, size)
      name = f'transformers sdpa, batch {size}'
      rows.append(benchmarking.Row(name, call, len(documents)))
    difference = np.max(np.abs(rows[0].call() - ours.call()))
    print(f'largest difference of the log ratios: {difference:.2e}')
  benchmarking.run_rounds([*rows, ours, plain], rounds=flags.rounds)
  rows.sort(key=lambda row: statistics.median(row.wall))
  every = [*rows, ours, plain]
  print(benchmarking.table(title, every, 'documents'))
  passes = {
    kind: benchmarking.per_round_ratios(ours, plain, kind)
    for kind in ('wall', 'cpu')
  }
  print(
    f'  forward passes per document: counted {twice / once:.3f}, by wall time'
    f' {benchmarking.format_range(passes["wall"])}, by CPU time'
    f' {benchmarking.format_range(passes["cpu"])}'
  )
  if not ON_CPU:
    print(f'  {benchmarking.share_of_peak(ours)}')
  return {
    **benchmarking.as_dict(every),
    'passes': {**passes, 'counted': twice / once},
  }


def main(argv: Sequence[str] | None = None) -> None:
  """Parses the flags and runs both comparisons."""
  parser = argparse.ArgumentParser(description=str(__doc__).split('\n')[0])
  add = parser.add_argument
  add('--model', default=MODEL, help='gin file of a decoder')
  add('--max_length', type=int, default=512)
  add('--prefix_length', type=int, default=30)
  add('--full', type=int, default=4 if ON_CPU else 512, help='full documents')
  add('--documents', type=int, default=8 if ON_CPU else 2048)
  add('--rows', type=int, help="the project's rows at a time (its default)")
  add('--peer_batch', type=int, nargs='+', default=[4] if ON_CPU else [64])
  add('--rounds', type=int, default=5)
  add('--seed', type=int, default=0)
  add('--output', type=pathlib.Path, help='all seconds as JSON')
  flags = parser.parse_args(argv)
  print(benchmarking.device_line())
  project = make_project(flags)
  size = project.config.vocab_size
  full = workloads.random_documents(
    [flags.max_length + 1] * flags.full, vocab_size=size, seed=flags.seed
  )
  lengths = workloads.lognormal_lengths(
    flags.documents, longest=flags.max_length, seed=flags.seed
  )
  real = workloads.random_documents(lengths, vocab_size=size, seed=flags.seed)
  print(f'LAMDAS, {flags.model}, prefix of {flags.prefix_length}')
  found = {
    'full': compare(
      f'{flags.full} documents of {flags.max_length} tokens',
      project, full, flags,
    ),
    'real': compare(
      f'{flags.documents} documents of {min(lengths)} to {max(lengths)} tokens,'
      f' mean {np.mean(lengths):.0f}',
      project, real, flags,
    ),
    'device': benchmarking.device_line(),
  }  # fmt: skip
  if flags.output:
    flags.output.write_text(json.dumps(found, indent=1))


if __name__ == '__main__':
  main()
