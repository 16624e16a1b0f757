#!/usr/bin/env python3
"""Do searches find a mixture whose answer is known?

Three domains of letters drawn from Markov chains; the target needs two of them,
in other proportions than the pool has them. Documents are damaged to a degree
that one criterion tells, and another does not. QuaDMix and RegMix search with
proxies; what they choose is compared with equal shares, with the pool as it is,
and with the best of a grid of shares (and, for QuaDMix, of undamaged documents
only), all trained alike and paired over seeds.

  python tools/study_synthetic_mixture.py \\
    gin_configs/studies/synthetic_mixture.gin --output=study

What is finished is not run again. The table is printed as Markdown.
"""

import argparse
from collections.abc import Sequence
import concurrent.futures
import itertools
import json
import multiprocessing
import pathlib
from typing import Any

import numpy as np
import scipy.stats

from jaxcurate.cli import gin_files
from jaxcurate.data import row_shape, token_cache
from jaxcurate.data import vocabulary as vocabularies
from jaxcurate.mixtures import quadmix, regmix
from jaxcurate.models import decoder
from jaxcurate.train import optimizers, proxies, text
from jaxcurate.types import Document, Proxies, ScoreTable
from jaxcurate.weightings import uniform

LETTERS = 'abcdefghijkl'
NETWORK = decoder.DecoderConfig(
  vocab_size=384, embed_dim=32, num_heads=2, num_kv_heads=2, head_dim=16,
  mlp_dim=64, num_layers=1, max_length=128, tied_head=False,
)  # fmt: skip


def run(
  *,
  output: pathlib.Path,
  jobs: int,
  seeds: Sequence[int],
  documents: int,
  sizes: Sequence[float],
  wanted: Sequence[float],
  steps: int,
  regmix_rounds: Sequence[int],
  quadmix_rounds: Sequence[int],
) -> str:
  """Runs every seed; returns the table.

  Args:
    output: folder of the study.
    jobs: seeds at once.
    seeds: of text, parameters and draws.
    documents: of the pool.
    sizes: shares of the domains in the pool.
    wanted: shares of the domains in the target.
    steps: of a proxy.
    regmix_rounds, quadmix_rounds: of the searches.
  """
  settings = [
    (output / f'seed{seed}', seed, documents, tuple(sizes), tuple(wanted),
     steps, tuple(regmix_rounds), tuple(quadmix_rounds))
    for seed in seeds
  ]  # fmt: skip
  context = multiprocessing.get_context('spawn')
  with concurrent.futures.ProcessPoolExecutor(jobs, context) as pool:
    results = list(pool.map(one_seed, settings))
  return table(results)


def one_seed(settings: tuple[Any, ...]) -> dict[str, float]:
  """Losses of all contenders with one seed."""
  folder, seed, documents, sizes, wanted, steps, shares, shapes = settings
  done = folder / 'losses.json'
  if done.exists():
    return json.loads(done.read_text())
  pool, corpus, target = make_text(seed, documents, sizes, wanted)
  words = vocabularies.load_vocabulary('bytes')
  cache = token_cache.build(
    folder / 'cache', corpus, words, settings={'seed': seed},
    holdout_share=0.0, eval_rows=target,
  )  # fmt: skip
  rows = row_shape.causal_settings(length=128, max_segments=1)
  train = proxies.make_proxies(
    proxies.ProxyText(
      cache.train,
      token_cache.document_rows(cache.train, pool.id, 'pool'),
      words,
      rows,
      text.held_out_batches(cache.eval, cache.domains, words, rows, 16),
    ),
    network=decoder.make_network(NETWORK),
    optimizer=optimizers.make_optimizer(
      'adamw', schedule='constant', learning_rate=0.01, warmup_steps=10
    ),
    weighting=uniform.make(),
    steps=steps,
    rows_per_batch=8,
    members=32,
    folder=folder,
    seed=seed,
    progress=False,
  )
  losses = brute_force(train, pool)
  for name, found in {
    'RegMix': regmix.mix(pool, train, seed=seed, rounds=shares),
    'QuaDMix': quadmix.mix(pool, train, seed=seed, rounds=shapes),
  }.items():
    losses[name] = found.diagnostics['loss/realised']
    losses[f'{name}, predicted'] = found.diagnostics['loss/predicted']
    losses[f'{name}, Spearman'] = found.diagnostics['regressor'][-1]['spearman']
    losses[f'{name}, best proxy'] = found.diagnostics['loss/best_proxy']
  done.write_text(json.dumps(losses))
  return losses


def brute_force(train: Proxies, pool: ScoreTable) -> dict[str, float]:
  """Losses of equal and natural shares, and the best of grids."""
  space = regmix.share_space(pool)
  grid = np.array(
    [p for p in itertools.product(range(11), repeat=3) if sum(p) == 10]
  )
  domains = np.array(space.names)
  natural = [(pool.domain == d).mean() for d in domains]
  plain = train(space, np.array([np.full(3, 1 / 3), natural]))
  clean = pool.scores['damage'] > np.quantile(pool.scores['damage'], 0.9)
  best = regmix.share_space(pool.take(np.flatnonzero(clean)))

  def of_clean(share: np.ndarray) -> np.ndarray:
    value = np.zeros(len(pool.id))
    value[clean] = best.values(share)
    return value

  undamaged = best._replace(
    names=tuple(f'undamaged {name}' for name in best.names), values=of_clean
  )
  return {
    'equal shares': float(plain[0]),
    'the pool as it is': float(plain[1]),
    'best of the grid': float(np.nanmin(train(space, grid / 10))),
    'best of the grid, undamaged': float(
      np.nanmin(train(undamaged, grid / 10))
    ),
  }


def make_text(
  seed: int, documents: int, sizes: Sequence[float], wanted: Sequence[float]
) -> tuple[ScoreTable, list[Document], list[Document]]:
  """A pool with its criteria, its text, and the target's text."""
  rng = np.random.default_rng((seed, 9))
  letters = len(LETTERS)
  chains = rng.dirichlet(np.full(letters, 0.15), size=(3, letters))

  def write(domain: int, damage: float) -> str:
    place = [int(rng.integers(letters))]
    uniform_T, noise_T = rng.random((2, 100))
    ends = chains[domain].cumsum(axis=1)
    for value in uniform_T[1:]:
      place.append(
        min(int(np.searchsorted(ends[place[-1]], value)), letters - 1)
      )
    other = rng.integers(letters, size=100)
    place = np.where(noise_T < damage, other, place)
    return ''.join(LETTERS[i] for i in place)

  domain = rng.choice(3, size=documents, p=sizes)
  damage = rng.uniform(0, 0.8, documents)
  ids = np.array([f'doc{i}' for i in range(documents)], object)
  names = np.array(list('ABC'), object)[domain]
  pool = ScoreTable(
    ids, names, np.full(documents, 100, np.int32),
    {
      'damage': (-damage + rng.normal(0, 0.1, documents)).astype(np.float32),
      'noise': rng.normal(size=documents).astype(np.float32),
    },
    {'damage': 'share', 'noise': 'none'},
  )  # fmt: skip
  corpus = [
    Document(i, write(d, bad), n)
    for i, d, bad, n in zip(ids, domain, damage, names, strict=True)
  ]
  target = [
    Document(f't{i}', write(int(rng.choice(3, p=wanted)), 0.0), None)
    for i in range(100)
  ]
  return pool, corpus, target


def table(results: Sequence[dict[str, float]]) -> str:
  """Means over seeds with 95 % intervals, and shares of the gap closed."""
  gaps = {
    'RegMix': 'best of the grid',
    'QuaDMix': 'best of the grid, undamaged',
  }
  lines = [
    '| mixture | target loss | against equal shares | against the pool as it is'
    ' | gap closed | Spearman |',
    '|---|---|---|---|---|---|',
  ]
  for name in results[0]:
    if ', predicted' in name or ', Spearman' in name or ', best' in name:
      continue
    loss = np.array([result[name] for result in results])
    cells = [f'{loss.mean():.4f}']
    for base in ('equal shares', 'the pool as it is'):
      difference = loss - [result[base] for result in results]
      cells.append('' if name == base else interval(difference))
    gap = spearman = ''
    if name in gaps:
      equal = np.array([result['equal shares'] for result in results])
      best = np.array([result[gaps[name]] for result in results])
      gap = interval((equal - loss) / (equal - best))
      spearman = f'{np.mean([r[f"{name}, Spearman"] for r in results]):.2f}'
    lines.append('| ' + ' | '.join([name, *cells, gap, spearman]) + ' |')
  return '\n'.join(lines)


def interval(values: np.ndarray) -> str:
  """Mean and 95 % interval of Student's t."""
  error = scipy.stats.sem(values) * scipy.stats.t.ppf(0.975, len(values) - 1)
  mean = values.mean()
  return f'{mean:+.3f} [{mean - error:+.3f}, {mean + error:+.3f}]'


def main(argv: Sequence[str] | None = None) -> None:
  """Parses the study file, runs it and prints its table."""
  parser = argparse.ArgumentParser(description=str(__doc__).partition('\n')[0])
  parser.add_argument('study', help='Gin file')
  parser.add_argument('--output', type=pathlib.Path, required=True)
  parser.add_argument('--jobs', type=int, default=1, help='seeds at once')
  flags = parser.parse_args(argv)
  gin_files.parse(files=[flags.study])
  # By its module's name: what Gin binds is not the function of __main__.
  import study_synthetic_mixture as study

  print(gin_files.call(study.run, output=flags.output, jobs=flags.jobs))


if __name__ == '__main__':
  main()
