"""Do proxies of two sizes rank mixtures alike?

  python tools/compare_proxies.py small_mixture large_mixture

Two folders of `jaxcurate mix` that drew the same candidates: the same method,
tables and seed, and networks, steps or targets that differ. Prints how many
candidates both have finished, and the rank correlation of their losses with a
95 % interval over resampled candidates: what a search with the small ones knows
about the large ones ("rank invariance", arXiv 2407.01492, section 2).
"""

import argparse
import pathlib

import numpy as np
import scipy.stats

from jaxcurate.train import proxies, run_log

_SAMPLES = 2_000


def losses(
  one: pathlib.Path, other: pathlib.Path
) -> tuple[np.ndarray, np.ndarray]:
  """Losses of the candidates that both folders have finished.

  Raises:
    ValueError: fewer than three.
  """
  logs = [run_log.read_log(f / 'proxies' / proxies.LOG) for f in (one, other)]
  shared = sorted(set(logs[0]) & set(logs[1]))
  rows = [[log[key]['loss'] for log in logs] for key in shared]
  both = np.array([row for row in rows if None not in row], np.float64)
  if len(both) < 3:
    raise ValueError(
      f'{one} and {other} share {len(both)} finished candidates; give searches'
      ' of the same method, tables and seed'
    )
  return both[:, 0], both[:, 1]


def agreement(
  one: np.ndarray, other: np.ndarray, seed: int = 0
) -> tuple[float, float, float]:
  """Spearman's correlation and its 95 % interval by resampling pairs."""
  rng = np.random.default_rng(seed)
  picks = rng.integers(len(one), size=(_SAMPLES, len(one)))
  found = [
    scipy.stats.spearmanr(one[pick], other[pick]).statistic
    for pick in picks
    if np.ptp(one[pick]) > 0 and np.ptp(other[pick]) > 0
  ]
  low, high = np.quantile(found, [0.025, 0.975])
  return float(scipy.stats.spearmanr(one, other).statistic), low, high


def main() -> None:
  """Parses flags and prints the agreement."""
  parser = argparse.ArgumentParser(description=str(__doc__).partition('\n')[0])
  parser.add_argument('one', type=pathlib.Path)
  parser.add_argument('other', type=pathlib.Path)
  flags = parser.parse_args()
  one, other = losses(flags.one, flags.other)
  rank, low, high = agreement(one, other)
  print(f'{len(one)} candidates: Spearman {rank:.2f} [{low:.2f}, {high:.2f}]')


if __name__ == '__main__':
  main()
