"""Density estimates against the exact sum: time and rank agreement, in turn.

  python tools/bench_density.py                       # about three minutes
  python tools/bench_density.py --model=judge --input='docs/*.jsonl.gz'
  python tools/bench_density.py --embeddings=vectors.npy

Without a model or a file of vectors: 20,000 synthetic unit vectors around 200
unequal clusters, d=384. All rows estimate the same quantity, the mean kernel
between each document and all documents; embedding time is left out. The base
is the exact Gaussian sum by the project's own tiled matrix products; NumPy's
tiled sum is the peer. Printed beside: the Spearman correlation with the exact
density, and the smallest share of near-duplicates that can be resolved.
"""

import argparse
from collections.abc import Callable, Sequence
import json
import pathlib
from typing import Any, NamedTuple

import benchmarking
import jax
import jax.numpy as jnp
import numpy as np

from jaxcurate.data import readers
from jaxcurate.data.vocabulary import load_vocabulary
from jaxcurate.models import forward, load
from jaxcurate.models import mesh as mesh_lib
from jaxcurate.ops import ids as ids_lib
from jaxcurate.ops import kernel_density, lsh, ranks
from jaxcurate.scorers import density, density_references, embedding
from jaxcurate.types import Scorer

BATCH = 4096  # documents per call, as in the engine
NUMPY_SHARE = 10  # the peer computes one in ten documents
GOAL_SPEARMAN, GOAL_SPEED = 0.95, 8.0


class Estimate(NamedTuple):
  """A contender: its row of the table, and what it estimates."""

  row: benchmarking.Row
  densities: Callable[[], np.ndarray]
  resolvable_share: float | None


def synthetic(num: int, width: int, seed: int = 0) -> np.ndarray:
  """Unit vectors around 200 random centres of unequal shares."""
  rng = np.random.default_rng(seed)
  centres = rng.normal(size=(200, width))
  centres /= np.linalg.norm(centres, axis=1, keepdims=True)
  noise = rng.normal(size=(num, width)) / np.sqrt(width)
  share = rng.dirichlet(np.ones(200))
  points = centres[rng.choice(200, num, p=share)] + 0.6 * noise
  norm = np.linalg.norm(points, axis=1, keepdims=True)
  return (points / norm).astype(np.float32)


def embed(
  model: str, inputs: Sequence[str], num: int, max_length: int
) -> np.ndarray:
  """Encoder embeddings of the first `num` documents with at least one token."""
  loaded = load.load(model)
  vocabulary = load_vocabulary(loaded.vocabulary)
  features = embedding.encoder_embedding(
    loaded.network, vocabulary, max_length=max_length
  )
  run = forward.Forward(
    features, jax.device_put(loaded.params), mesh_lib.make_mesh()
  )
  vectors, count = [], 0
  for block in readers.open_corpus(inputs).blocks(block_rows=2048):
    tokens = vocabulary.encode_batch([row.text for row in block.rows])
    documents = features.examples(block.rows, tokens)
    examples = [example for document in documents for example in document]
    vectors.append(run(forward.prepare(features, examples))['embedding'])
    count += len(examples)
    if count >= num:
      break
  return np.concatenate(vectors)[:num]


def features_of(points: np.ndarray) -> dict[str, jax.Array]:
  """All documents as one batch of a summary."""
  hashes = ids_lib.hash_ids(str(i) for i in range(len(points)))
  halves = np.stack([hashes >> np.uint64(32), hashes & np.uint64(2**32 - 1)], 1)
  return {
    'embedding': jnp.asarray(points),
    'id_hash': jnp.asarray(halves.astype(np.uint32)),
    'mask': jnp.ones(len(points), bool),
  }


def batches(features: dict[str, jax.Array]) -> list[dict[str, jax.Array]]:
  """The documents in the engine's batches, the last one padded."""
  made = []
  for start in range(0, len(features['mask']), BATCH):
    part = {k: v[start : start + BATCH] for k, v in features.items()}
    missing = BATCH - len(part['mask'])
    made.append(
      {
        k: jnp.pad(v, [(0, missing)] + [(0, 0)] * (v.ndim - 1))
        for k, v in part.items()
      }
    )
  return made


def fitted(scorer: Scorer, features: dict[str, jax.Array]) -> Any:
  """The state after the whole corpus; ids are random, so the head samples."""
  assert scorer.summary is not None and scorer.summary.update is not None
  size = scorer.summary.sample_size
  sample = {k: v[:size] for k, v in features.items()}
  state = scorer.summary.init(sample, len(features['mask']))
  update = jax.jit(scorer.summary.update)
  for batch in batches(features):
    state = update(state, batch)
  return state


def exact(points: np.ndarray, bandwidth: float) -> Estimate:
  """The base: every document against every document."""
  num = len(points)
  sums = jax.jit(kernel_density.gaussian_sums)
  all_points, mask = jnp.asarray(points), jnp.ones(num, bool)

  def densities():
    return np.asarray(sums(all_points, all_points, mask, bandwidth)) / num

  flops = 2.0 * num * num * points.shape[1]
  row = benchmarking.Row('exact, tiled', densities, num, flops)
  return Estimate(row, densities, 1 / num)


def numpy_exact(points: np.ndarray, bandwidth: float) -> Estimate:
  """The peer: the same sum by NumPy, for a share of the documents."""
  queries = points[::NUMPY_SHARE]
  norm = (points**2).sum(1)

  def densities():
    found = []
    for start in range(0, len(queries), 1024):
      part = queries[start : start + 1024]
      square = 2 * part @ points.T
      square -= (part**2).sum(1)[:, None] + norm
      square /= 2 * bandwidth**2
      np.exp(square, out=square)
      found.append(square.mean(1))
    return np.concatenate(found)

  name = f'NumPy tiled, 1 of {NUMPY_SHARE} documents'
  row = benchmarking.Row(name, densities, len(queries))
  return Estimate(row, densities, None)


def references(
  features: dict[str, jax.Array],
  size: int,
  mean_kernel: float,
  *,
  measured: bool,
) -> Estimate:
  """Scores against `size` references; with the pass that measures, or not."""
  scorer = density_references.make(
    embedding='column:vector', num_references=size, mean_kernel=mean_kernel
  )
  assert scorer.summary is not None and scorer.summary.update is not None
  state = fitted(scorer, features)
  score, update = jax.jit(scorer.summary.score), jax.jit(scorer.summary.update)
  parts, num = batches(features), len(features['mask'])

  def densities():
    passed = state
    for part in parts if measured else ():
      passed = update(passed, part)
    jax.block_until_ready(passed)
    found = [score(state, part)['density_references'] for part in parts]
    return np.exp(-np.concatenate(found)[:num])

  share = scorer.summary.diagnose(state)['resolvable_share']
  name = f'{size} references' + (', measured' if measured else '')
  row = benchmarking.Row(name, densities, num)
  return Estimate(row, densities, share)


def sketch(
  features: dict[str, jax.Array],
  rows: int,
  hashes: int,
  mean_collision: float,
) -> Estimate:
  """Both passes of the hash sketch."""
  scorer = density.make(
    embedding='column:vector',
    num_rows=rows,
    hashes_per_row=hashes,
    mean_collision=mean_collision,
  )
  state = fitted(scorer, features)
  add = jax.jit(lsh.add, donate_argnums=0)
  mean_counts = jax.jit(lsh.mean_counts)
  parts, num = batches(features), len(features['mask'])
  buckets = state.sketch_RxK.shape[1]

  def densities():
    table = lsh.empty_sketch(rows, buckets)
    for part in parts:
      table = add(table, state.hashes, part['embedding'], part['mask'])
    found = [
      mean_counts(table, state.hashes, part['embedding'])[0] for part in parts
    ]
    return np.asarray(lsh.unbias(jnp.concatenate(found)[:num] / num, buckets))

  width = float(state.hashes.bandwidth)
  name = f'sketch {rows} x {hashes}, width {width:.2f}'
  row = benchmarking.Row(name, densities, num)
  return Estimate(row, densities, density.resolvable_share(state))


def main() -> None:
  """Runs the comparison of the command line."""
  parser = argparse.ArgumentParser(description='Density against its exact sum.')
  parser.add_argument('--num', type=int, default=20_000, help='documents')
  parser.add_argument('--width', type=int, default=384, help='synthetic only')
  parser.add_argument('--references', type=int, default=2_000)
  parser.add_argument('--embeddings', help='.npy file of vectors')
  parser.add_argument('--model', help="checkpoint, or 'judge'")
  parser.add_argument('--input', nargs='+', help='corpus for --model')
  parser.add_argument('--max_length', type=int, default=128)
  parser.add_argument('--mean_kernel', type=float, default=0.45)
  parser.add_argument(
    '--mean_collision', type=float, nargs='+', default=[0.45, 0.1]
  )
  parser.add_argument('--rounds', type=int, default=5)
  parser.add_argument('--json', help='also write the figures here')
  flags = parser.parse_args()
  if flags.model and not flags.input:
    parser.error('--model needs --input')
  if flags.embeddings:
    points = np.load(flags.embeddings).astype(np.float32)[: flags.num]
  elif flags.model:
    points = embed(flags.model, flags.input, flags.num, flags.max_length)
  else:
    points = synthetic(flags.num, flags.width)
  features = features_of(points)
  reference = density_references.make(
    embedding='column:vector', mean_kernel=flags.mean_kernel
  )
  bandwidth = float(fitted(reference, features).check.bandwidth)
  print(benchmarking.device_line())
  print(
    f'n={len(points)}, d={points.shape[1]}, bandwidth {bandwidth:.3f} (random '
    f'pairs: mean kernel {flags.mean_kernel})'
  )
  settings = [
    (rows, hashes, mean_collision)
    for rows, hashes in [(1000, 1), (1000, 2), (1000, 4), (100, 2)]
    for mean_collision in flags.mean_collision
  ]
  mean = flags.mean_kernel
  contenders = [
    exact(points, bandwidth),
    references(features, flags.references, mean, measured=False),
    references(features, flags.references, mean, measured=True),
    *(sketch(features, *setting) for setting in settings),
    numpy_exact(points, bandwidth),
  ]
  rows = [contender.row for contender in contenders]
  benchmarking.run_rounds(rows, rounds=flags.rounds)
  print(benchmarking.table('density of every document', rows, 'documents'))
  truth = contenders[0].densities().astype(np.float64)
  agreement = {}
  print(f'{"":34}{"Spearman":>10}{"resolvable share":>18}')
  for contender in contenders:
    found = contender.densities().astype(np.float64)
    step = len(truth) // len(found)
    value = ranks.spearman(found, truth[::step][: len(found)])
    agreement[contender.row.name] = value
    share = contender.resolvable_share
    shown = '-' if share is None else f'{share:.1e}'
    print(f'{contender.row.name:34}{value:>10.3f}{shown:>18}')
  value = agreement[rows[1].name]
  for kind in ('wall', 'cpu'):
    speed = benchmarking.per_round_ratios(rows[0], rows[1], kind)
    met = value >= GOAL_SPEARMAN and min(speed) >= GOAL_SPEED
    print(
      f'{rows[1].name}: Spearman {value:.3f} (goal {GOAL_SPEARMAN}), {kind} '
      f'speed {benchmarking.format_range(speed)} (goal {GOAL_SPEED:g}): '
      f'{"met" if met else "NOT met"}'
    )
  if flags.json:
    figures = {**benchmarking.as_dict(rows), 'spearman': agreement}
    pathlib.Path(flags.json).write_text(json.dumps(figures, indent=2))


if __name__ == '__main__':
  main()
