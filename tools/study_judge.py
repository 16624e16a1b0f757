#!/usr/bin/env python3
"""Does a judge trained here grade web pages as well as n-grams do?

A small network is pretrained on unlabelled corpora by `jaxcurate train`; what
its states, token n-grams and length say of pages that people judged is then
fitted by what `jaxcurate train --targets` fits heads with (`train.probe`), in
repeated cross-validation. Beside it, on the same folds, logistic regression on
character n-grams and on seven hand-made features, and the shipped judge asked
as it is.

  python tools/study_judge.py gin_configs/studies/judge_cv.gin

needs scikit-learn. Every setting is chosen inside the pages that an arm is
fitted on. --work=FOLDER keeps the pretrained network for the next time;
--output=FILE keeps all numbers as JSON.
"""

import argparse
import collections
from collections.abc import Mapping, Sequence
import gzip
import json
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Any

import cross_validation
import evaluate_judge
import jax
from jaxtyping import Bool, Float, Int
import numpy as np
import quality_peers
import threadpoolctl

from jaxcurate.cli import gin_files
from jaxcurate.data import token_cache
from jaxcurate.data.vocabulary import load_vocabulary
from jaxcurate.models import load
from jaxcurate.models import mesh as mesh_lib
from jaxcurate.scorers import rater
from jaxcurate.train import probe, probe_inputs
from jaxcurate.train.probe import Inputs
from jaxcurate.types import Document, HeadSettings

JUDGE, SHIPPED, ZERO_SHOT = 'judge', 'shipped judge + head', 'shipped judge'
NGRAMS, FEATURES = 'character n-grams', 'seven features'


def fitted_judge(
  name: str,
  choices: Mapping[str, Inputs],
  others: Mapping[str, Inputs],
  penalties: Sequence[float],
  chosen: list[str],
) -> cross_validation.Arm:
  """An arm that fits heads, and chooses by their loss in cross-validation.

  Args:
    name: of the scores of the chosen head.
    choices: what a head may see of all pages, to choose from.
    others: name -> what a head sees that is scored beside, never chosen.
    penalties: see `train.probe`.
    chosen: to which every call adds what it chose.
  """

  def arm(
    train: Int[np.ndarray, ' M'],
    label: Bool[np.ndarray, ' M'],
    test: Int[np.ndarray, ' T'],
  ) -> dict[str, Float[np.ndarray, ' T']]:
    fits = {
      kind: probe.fit(
        take(inputs, train),
        np.arange(len(train))[:, None],
        label[:, None].astype(np.float64),
        loss='binary',
        penalties=penalties,
      )
      for kind, inputs in {**choices, **others}.items()
    }
    best = min(choices, key=lambda kind: fits[kind].loss[0])
    [penalty], [norm] = fits[best].penalty, fits[best].state_norm
    chosen.append(f'{best}, penalty {penalty:g}, state norm {norm:g}')
    scores = {name: rate(fits[best].head, take(choices[best], test))}
    for kind, inputs in others.items():
      scores[kind] = rate(fits[kind].head, take(inputs, test))
    return scores

  return arm


def take(inputs: Inputs, index: Int[np.ndarray, ' M']) -> Inputs:
  """What a head sees of some of the pages."""
  grams = None if inputs.grams is None else inputs.grams[index]
  return Inputs(inputs.pooled[index], grams, inputs.length[index])


def rate(
  head: Mapping[str, np.ndarray], inputs: Inputs
) -> Float[np.ndarray, ' N']:
  """Log-odds of good under a head of one criterion; see `ops.rating`."""
  rating = inputs.pooled @ head['kernel'] + head['bias']
  rating += inputs.length[:, None] * head['length']
  if inputs.grams is not None:
    rating += inputs.grams @ head['ngrams']
  return rating[:, 0]


def read_inputs(
  model: str, texts: Sequence[str], settings: Sequence[HeadSettings]
) -> list[Inputs]:
  """What heads with these settings see of the texts."""
  loaded = load.load(model)
  words = load_vocabulary(loaded.vocabulary)
  mesh = mesh_lib.make_mesh(None, jax.local_devices()[:1])
  documents = [Document(str(i), text, None) for i, text in enumerate(texts)]
  with tempfile.TemporaryDirectory() as folder:
    part = token_cache.build(
      f'{folder}/text', documents, words, settings={}, holdout_share=0.0
    ).train
    network = load.for_scoring(loaded)
    return [
      probe_inputs.gather(part, network, words, own, loaded.params, mesh)[0]
      for own in settings
    ]


def run(
  *,
  pages: str,
  pretraining: Sequence[str],
  work: str,
  ngrams: Sequence[int],
  shipped_ngrams: int,
  max_length: int,
  max_windows: int,
  penalties: Sequence[float],
  orders: Sequence[tuple[int, int]],
  costs: Sequence[float],
  num_folds: int,
  repeats: int,
  seed: int,
) -> dict[str, Any]:
  """The whole study.

  Args:
    pages: JSON Lines with `text` and `label`, 1 = good.
    pretraining: arguments of `jaxcurate train` but for --output.
    work: folder of the network; one that is there is continued.
    ngrams: longest token n-gram of a head, 0 for none, to choose from.
    shipped_ngrams: the same of a head on the shipped judge, fixed.
    max_length: see `types.HeadSettings`, as for the next.
    max_windows: windows of a page.
    penalties: see `train.probe`.
    orders: shortest and longest character n-gram, to choose from.
    costs: of scikit-learn's C, to choose from.
    num_folds: of the cross-validation.
    repeats: of it, with other folds.
    seed: of the folds.
  """
  with gzip.open(pages, 'rt', encoding='utf-8') as file:
    rows = [json.loads(line) for line in file]
  texts = [row['text'] for row in rows]
  label = np.array([row['label'] == 1 for row in rows])
  subprocess.run(
    [
      *(sys.executable, '-m', 'jaxcurate', 'train'),
      *(f'--output={work}/network', *pretraining),
    ],
    check=True,
  )
  unread = HeadSettings((), rater.PROBABILITY, 'mean', max_length, max_windows)
  own = read_inputs(
    f'{work}/network/model', texts, [unread._replace(ngrams=n) for n in ngrams]
  )
  [shipped] = read_inputs(
    'judge', texts, [unread._replace(ngrams=shipped_ngrams)]
  )
  choices = {f'{n}-grams': seen for n, seen in zip(ngrams, own, strict=True)}
  grams = own[list(ngrams).index(shipped_ngrams)]
  chosen: dict[str, list[str]] = {
    name: [] for name in (JUDGE, NGRAMS, FEATURES)
  }
  arms = [
    fitted_judge(
      JUDGE,
      choices,
      {
        'judge, states alone': own[0]._replace(grams=None),
        'judge, n-grams alone': grams._replace(pooled=grams.pooled * 0),
        SHIPPED: shipped,
      },
      penalties,
      chosen[JUDGE],
    ),
    quality_peers.logistic_regression(
      NGRAMS,
      {str(o): quality_peers.character_ngrams(texts, o) for o in orders},
      costs,
      chosen[NGRAMS],
    ),
    quality_peers.logistic_regression(
      FEATURES,
      {'all': quality_peers.hand_made(texts)},
      costs,
      chosen[FEATURES],
    ),
  ]
  fold_RxN = cross_validation.deal(label, num_folds, repeats, seed)
  # Hundreds of small problems: threads would wait for each other.
  with threadpoolctl.threadpool_limits(1):
    scores = cross_validation.out_of_fold(arms, label, fold_RxN)
  asked = evaluate_judge.make_score('judge')(texts)
  scores[ZERO_SHOT] = np.tile(asked, (repeats, 1))
  share = {
    name: np.stack(
      [
        cross_validation.auc_shares(own, label, fold)
        for own, fold in zip(scored, fold_RxN, strict=True)
      ]
    )
    for name, scored in scores.items()
  }
  return {
    'areas': {
      name: cross_validation.area_of(own)._asdict()
      for name, own in share.items()
    },
    'judge minus': {
      name: cross_validation.compare(share[JUDGE], own)._asdict()
      for name, own in share.items()
      if name != JUDGE
    },
    'chosen': {
      name: collections.Counter(own).most_common()
      for name, own in chosen.items()
    },
  }


def tables(found: Mapping[str, Any]) -> str:
  """The table as Markdown, and what was chosen."""
  lines = [
    '| arm | AUC | standard error | judge minus it | 95 % interval |',
    '|---|---|---|---|---|',
  ]
  for name, area in found['areas'].items():
    line = f'| {name} | {area["auc"]:.3f} | {area["error"]:.3f} |'
    if other := found['judge minus'].get(name):
      line += f' {other["difference"]:+.3f} ± {other["error"]:.3f} |'
      line += f' {other["low"]:+.3f} to {other["high"]:+.3f} |'
    else:
      line += ' | |'
    lines.append(line)
  lines.append('')
  for name, own in found['chosen'].items():
    said = '; '.join(f'{setting}: {count} times' for setting, count in own)
    lines.append(f'{name} chose {said}')
  return '\n'.join(lines)


def main(argv: Sequence[str] | None = None) -> None:
  """Parses the study file, runs it and prints its table."""
  parser = argparse.ArgumentParser(description=str(__doc__).partition('\n')[0])
  parser.add_argument('study', help='Gin file')
  parser.add_argument('--work', help='folder of the pretrained network')
  parser.add_argument('--output', type=pathlib.Path, help='numbers as JSON')
  flags = parser.parse_args(argv)
  gin_files.parse(files=[flags.study])
  # By its module's name: what Gin binds is not the function of __main__.
  import study_judge

  started = time.perf_counter()
  with tempfile.TemporaryDirectory() as folder:
    found = gin_files.call(study_judge.run, work=flags.work or folder)
  print(tables(found))
  found['seconds'] = time.perf_counter() - started
  print(f'\n{found["seconds"]:.0f} s on {jax.devices()[0].device_kind}')
  if flags.output:
    flags.output.write_text(json.dumps(found, indent=1))


if __name__ == '__main__':
  main()
