#!/usr/bin/env python3
"""How many labels does `sample --method=uncertainty` save?

A judge (logistic regression on hashed character n-grams) starts with a few
labels drawn at random and is given batch after batch, drawn either uniformly
or by `jaxcurate.samplers.uncertainty` around P = 1/2. After each batch it
judges documents that are never drawn. Real labels, several seeds.

  python tools/study_active_learning.py ../shared/data/quality

Prints Markdown: error of both and their difference, paired over seeds, and
how many labels of each are as good as the last of the uniform ones.
"""

import argparse
from collections.abc import Callable, Sequence
import gzip
import json
import pathlib
from typing import NamedTuple

import numpy as np
import scipy.optimize
import scipy.sparse
import scipy.stats

from jaxcurate.ops import ids as ids_lib
from jaxcurate.ops import ngrams
from jaxcurate.samplers import budget as budget_lib
from jaxcurate.samplers import uncertainty, uniform
from jaxcurate.types import Candidates, Selection

_CHARACTERS, _ORDER = 300, 4
# Of the squared weights, beside the mean loss; of 1e-3 to 1e-6 uniform draws
# do best with it or the next.
_PENALTY = 1e-5
_UNIT = 'log odds'
_TEST_SHARE = 0.3


class Task(NamedTuple):
  """Labelled texts as n-gram rows."""

  id: np.ndarray
  rows: scipy.sparse.csr_matrix
  label: np.ndarray


def read(path: pathlib.Path, limit: int, seed: int = 0) -> Task:
  """At most `limit` rows of a file with `text` and a binary `label`."""
  lines = gzip.open(path, 'rt', encoding='utf-8').read().splitlines()
  if '.tsv' in path.name:
    cells = [line.split('\t', 1) for line in lines[1:]]
    found = [(f'{path.name}:{i}', c[1], c[0]) for i, c in enumerate(cells)]
  else:
    rows = [json.loads(line) for line in lines]
    found = [(r['id'], r['text'], r['label']) for r in rows]
  order = np.argsort(ids_lib.hash_ids([row[0] for row in found], seed))[:limit]
  ids, texts, labels = zip(*(found[i] for i in order), strict=True)
  tokens = [
    np.frombuffer(text[:_CHARACTERS].encode(), np.uint8).astype(np.int32)
    for text in texts
  ]
  label = (np.array(labels) == max(labels)).astype(np.float64)
  return Task(np.array(ids, object), ngrams.matrix(tokens, _ORDER), label)


def learn(
  kernel: np.ndarray, label: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
  """L2-regularised logistic regression in the dual.

  Args:
    kernel: [n, n] inner products of the labelled rows.
    label: [n] 0 or 1.

  Returns:
    [m, n] inner products with the labelled rows -> [m] log odds.
  """
  sign = 2 * label - 1

  def loss(x: np.ndarray) -> tuple[float, np.ndarray]:
    alpha, bias = x[:-1], x[-1]
    out = kernel @ alpha
    margin = sign * (out + bias)
    pull = -sign / (1 + np.exp(np.clip(margin, -500, 500))) / len(label)
    value = np.logaddexp(0, -margin).mean() + _PENALTY * alpha @ out
    gradient = kernel @ (pull + 2 * _PENALTY * alpha)
    return float(value), np.append(gradient, pull.sum())

  start = np.zeros(len(label) + 1)
  alpha = scipy.optimize.minimize(loss, start, jac=True, method='L-BFGS-B').x
  return lambda inner: inner @ alpha[:-1] + alpha[-1]


def errors(
  task: Task, seed: int, batch: int, batches: int, by_uncertainty: bool
) -> list[float]:
  """Share of the held-out texts that are judged wrongly, after each batch."""
  order = np.random.default_rng(seed).permutation(len(task.label))
  test, pool = np.split(order, [int(_TEST_SHARE * len(order))])
  labelled = np.zeros(0, np.int64)
  score, found = np.zeros(len(pool)), []
  for turn in range(batches):
    rest = ~np.isin(pool, labelled)
    drawn = _draw(
      task.id[pool[rest]],
      score[rest],
      batch,
      seed * 1000 + turn,
      by_uncertainty and turn > 0,
    )
    labelled = np.append(labelled, pool[np.isin(task.id[pool], drawn.id)])
    rows = task.rows[labelled]
    judge = learn((rows @ rows.T).toarray(), task.label[labelled])
    score = judge((task.rows[pool] @ rows.T).toarray())
    right = judge((task.rows[test] @ rows.T).toarray()) > 0
    found.append(float(np.mean(right != (task.label[test] == 1))))
  return found


def _draw(
  ids: np.ndarray, score: np.ndarray, count: int, seed: int, near: bool
) -> Selection:
  candidates = Candidates(
    id=ids,
    id_hash=ids_lib.hash_ids(ids),
    score=score.astype(np.float32),
    num_tokens=np.ones(len(ids), np.int32),
    domain=np.full(len(ids), None, object),
    unit=_UNIT,
  )
  budget = budget_lib.Budget(count)
  if near:
    return uncertainty.sample(seed, candidates, budget, threshold=0.0)
  return uniform.sample(seed, candidates, budget)


def report(
  name: str, batch: int, plain: np.ndarray, near: np.ndarray
) -> Sequence[str]:
  """Rows of the table: after a quarter, half and all batches."""
  mean, own = plain.mean(axis=0), near.mean(axis=0)
  as_good = int(np.argmax(own <= mean[-1]) + 1) if own.min() <= mean[-1] else 0
  lines = []
  for turn in (len(mean) // 4 - 1, len(mean) // 2 - 1, len(mean) - 1):
    gap = near[:, turn] - plain[:, turn]
    half = scipy.stats.t.ppf(0.975, len(gap) - 1) * scipy.stats.sem(gap)
    last = turn == len(mean) - 1 and as_good
    lines.append(
      f'| {name} | {batch * (turn + 1)} | {mean[turn]:.1%} | {own[turn]:.1%}'
      f' | {100 * gap.mean():+.1f} ± {100 * half:.1f}'
      f' | {batch * as_good if last else ""} |'
    )
  return lines


def main() -> None:
  """Reads the flags and prints the table."""
  parser = argparse.ArgumentParser(
    description='How many labels does uncertainty sampling save?'
  )
  parser.add_argument('folder', type=pathlib.Path)
  parser.add_argument('--seeds', type=int, default=8)
  parser.add_argument('--batch', type=int, default=40)
  parser.add_argument('--batches', type=int, default=8)
  parser.add_argument('--documents', type=int, default=3000)
  flags = parser.parse_args()
  print('| texts | labels | uniform | uncertainty | difference | as good |')
  print('|---|---|---|---|---|---|')
  for stem in (
    'sms_spam_collection.tsv', 'clickbait_headlines.jsonl',
    'enron1_spam_ham.jsonl',
  ):  # fmt: skip
    task = read(flags.folder / f'{stem}.gz', flags.documents)
    plain, near = (
      np.array(
        [
          errors(task, seed, flags.batch, flags.batches, by)
          for seed in range(flags.seeds)
        ]
      )
      for by in (False, True)
    )
    for line in report(stem.split('.')[0], flags.batch, plain, near):
      print(line, flush=True)


if __name__ == '__main__':
  main()
