"""How long thousands of QuaDMix parameter sets take to evaluate.

  python tools/bench_mixtures.py                      # about two minutes

A million documents, three criteria, 26 domains, on all cores of this machine:
sampling values of every document for one parameter set, by histograms of ranks
(what a search uses) and by exact ranks (what a Selection uses), in turn. No
document is scored again in either. Printed beside: by how much ranks of the
histogram are off at most, and the time of 3,000 sets.
"""

import argparse
import itertools

import benchmarking
import numpy as np

from jaxcurate.mixtures import document_values, quadmix
from jaxcurate.ops import quality_ranks
from jaxcurate.types import ScoreTable

SETS = 3_000


def pool(num: int, domains: int, criteria: int) -> ScoreTable:
  """Documents of log-normal length in domains of Zipf's sizes."""
  rng = np.random.default_rng(0)
  share = 1 / np.arange(1, domains + 1)
  share /= share.sum()
  names = np.array([f'domain {i:02}' for i in range(domains)], object)
  return ScoreTable(
    id=np.arange(num).astype(str).astype(object),
    domain=names[rng.choice(domains, num, p=share)],
    num_tokens=rng.lognormal(6, 1, num).astype(np.int32) + 1,
    scores={
      f'criterion {i}': rng.normal(size=num).astype(np.float32)
      for i in range(criteria)
    },
    units={f'criterion {i}': 'nats' for i in range(criteria)},
  )


def rows(table: ScoreTable, num_sets: int) -> list[benchmarking.Row]:
  """The contenders; each call takes the next of `num_sets` sets."""
  space = quadmix.quality_space(table)
  domains, code = np.unique(table.domain.astype(str), return_inverse=True)
  sets = space.draw(0, num_sets)
  criteria = tuple(table.scores)
  near, exact = itertools.cycle(sets), itertools.cycle(sets)
  return [
    benchmarking.Row('histograms', lambda: space.values(next(near))),
    benchmarking.Row(
      'exact ranks',
      lambda: document_values.document_values(
        quadmix.shape_of(next(exact), len(domains), criteria), table, code
      ),
    ),
  ]


def rank_error(table: ScoreTable) -> float:
  """The most by which a rank is off, where criteria weigh the same."""
  score = np.stack(list(table.scores.values()), axis=1)
  domains, code = np.unique(table.domain.astype(str), return_inverse=True)
  weights = np.full((len(domains), score.shape[1]), 1 / score.shape[1])
  return quality_ranks.histogram_ranks(
    quality_ranks.merge(quality_ranks.percentiles(score), code, weights),
    table.num_tokens.astype(np.float64),
    code,
    len(domains),
  ).error


def main() -> None:
  """Parses flags, runs all rounds and prints the table."""
  parser = argparse.ArgumentParser(description=str(__doc__).partition('\n')[0])
  parser.add_argument('--documents', type=int, default=1_000_000)
  parser.add_argument('--domains', type=int, default=26)
  parser.add_argument('--criteria', type=int, default=3)
  parser.add_argument('--rounds', type=int, default=7)
  flags = parser.parse_args()
  table = pool(flags.documents, flags.domains, flags.criteria)
  contenders = rows(table, flags.rounds + 1)
  benchmarking.run_rounds(contenders, rounds=flags.rounds)
  title = (
    f'{flags.documents:,} documents, {flags.criteria} criteria,'
    f' {flags.domains} domains'
  )
  print(benchmarking.table(title, contenders, 'sets'))
  for row in contenders:
    minutes = float(np.median(row.wall)) * SETS / 60
    print(f'{SETS:,} sets by {row.name}: {minutes:.1f} minutes')
  print(f'ranks of a histogram are off by at most {rank_error(table):.1e}')


if __name__ == '__main__':
  main()
