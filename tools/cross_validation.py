"""Repeated cross-validation of classifiers on the same folds, and its errors.

An *arm* sees the labels of the pages that it is fitted on and no others. The
area under the ROC curve is that of each fold, averaged: scores of different
folds come from different classifiers and are not compared.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from jaxtyping import Bool, Float, Int
import numpy as np

from jaxcurate.evaluate import bootstrap

# (train [M] int, label of these [M] bool, test [T] int) -> name -> [T] scores.
Arm = Callable[[np.ndarray, np.ndarray, np.ndarray], dict[str, np.ndarray]]


class Area(NamedTuple):
  """Area under the ROC curve of one arm.

  Attributes:
    auc: mean over folds and repeats.
    error: its standard error over pages.
  """

  auc: float
  error: float


class Difference(NamedTuple):
  """Difference in area between two arms, the first minus the second.

  Attributes:
    difference: of the areas.
    error: its standard error over pages, which are the same for both.
    low: lower end of the 95 % interval, see `compare`.
    high: upper end.
    verdict: of `evaluate.bootstrap`, on the first arm.
  """

  difference: float
  error: float
  low: float
  high: float
  verdict: str


def deal(
  label: Bool[np.ndarray, ' N'], num_folds: int, repeats: int, seed: int
) -> Int[np.ndarray, 'R N']:
  """Fold of every page in every repeat, both labels spread evenly.

  >>> deal(np.array([True, False] * 4), 2, 1, 0).sum()
  4
  """
  rng = np.random.default_rng(seed)
  fold_RxN = np.zeros((repeats, len(label)), int)
  for fold_N in fold_RxN:
    for value in (True, False):
      own = rng.permutation(np.flatnonzero(label == value))
      fold_N[own] = np.arange(len(own)) % num_folds
  return fold_RxN


def out_of_fold(
  arms: Sequence[Arm],
  label: Bool[np.ndarray, ' N'],
  fold_RxN: Int[np.ndarray, 'R N'],
) -> dict[str, Float[np.ndarray, 'R N']]:
  """Scores of every page by arms that were fitted without its fold."""
  scores: dict[str, np.ndarray] = {}
  for repeat, fold_N in enumerate(fold_RxN):
    for fold in np.unique(fold_N):
      train, test = (
        np.flatnonzero(fold_N != fold),
        np.flatnonzero(fold_N == fold),
      )
      for arm in arms:
        for name, scored in arm(train, label[train], test).items():
          scores.setdefault(name, np.full(fold_RxN.shape, np.nan))
          scores[name][repeat, test] = scored
  return scores


def auc_shares(
  score: Float[np.ndarray, ' N'],
  label: Bool[np.ndarray, ' N'],
  fold: Int[np.ndarray, ' N'],
) -> Float[np.ndarray, ' N']:
  """What each page adds to the mean of the folds' AUCs.

    share_i = A + N / (K n_i) (v_i - A_k)

  with v_i the share of the other label's pages in fold k that page i is on
  the right side of, n_i the pages of its own label there, A_k the fold's AUC
  and A their mean. The mean of the shares is A, and their deviation
  / sqrt(N) DeLong's standard error (Biometrics 44, 1988), so that resampling
  pages is resampling shares.

  Args:
    score: [N], higher = rather good; compared within folds only.
    label: [N] True = good.
    fold: [N] in [0, K); both labels in each.

  >>> auc_shares(np.array([1., 2., 3.]), np.array([False, True, True]),
  ...            np.zeros(3, int)).tolist()
  [1.0, 1.0, 1.0]
  """
  folds = np.unique(fold)
  deviation, areas = np.zeros(len(score)), []
  for k in folds:
    good, bad = (np.flatnonzero((fold == k) & (label == v)) for v in (1, 0))
    above = score[good][:, None] - score[bad]
    wins = (above > 0) + 0.5 * (above == 0)
    areas.append(wins.mean())
    for own, side in ((good, wins.mean(axis=1)), (bad, wins.mean(axis=0))):
      scale = len(score) / (len(folds) * len(own))
      deviation[own] = scale * (side - areas[-1])
  return np.mean(areas) + deviation


def area_of(share_RxN: Float[np.ndarray, 'R N']) -> Area:
  """Area and standard error from the `auc_shares` of every repeat."""
  return Area(float(share_RxN.mean()), _error(share_RxN))


def compare(
  share_RxN: Float[np.ndarray, 'R N'], baseline_RxN: Float[np.ndarray, 'R N']
) -> Difference:
  """Difference between two arms, with an interval.

  The interval resamples pages in pairs and adds the spread over repeats, as
  `evaluate.bootstrap` does for losses and seeds.

  Args:
    share_RxN: [repeats, N] of `auc_shares`.
    baseline_RxN: [repeats, N] of the other arm, on the same folds.
  """
  ones = np.ones(share_RxN.shape[1])
  found = bootstrap.paired_bootstrap(1 - share_RxN, 1 - baseline_RxN, ones)
  return Difference(
    -found.difference,
    _error(share_RxN - baseline_RxN),
    -found.high,
    -found.low,
    found.verdict,
  )


def _error(share_RxN: np.ndarray) -> float:
  """Standard error over pages of the mean over repeats."""
  share_N = share_RxN.mean(axis=0)
  return float(share_N.std(ddof=1) / np.sqrt(len(share_N)))
