#!/usr/bin/env python3
"""Does LAMDAS find more of a domain, given a few of its documents?

Trains small decoders on a mixture of corpora, takes every corpus in turn as
the domain wanted, tunes a prefix on a few of its documents, and measures how
well the scores of unseen documents separate it from the others, with
perplexity and embedding similarity beside it; then over thresholds, prefix
lengths, learning rates and sizes of the judge.

  python tools/study_lamdas.py gin_configs/studies/lamdas_sweep.gin

The Gin file names what is swept and says what to expect; the tables are
printed as Markdown, and all numbers go to --output=FILE as JSON.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
import functools
import json
import pathlib
import time
from typing import Any

import jax
import numpy as np
import small_judges

from jaxcurate.cli import gin_files
from jaxcurate.evaluate import auc
from jaxcurate.models import mesh as mesh_lib
from jaxcurate.types import Document, Scorer

Columns = dict[str, np.ndarray]


def separation(
  scores: Mapping[str, np.ndarray], test: Sequence[Document]
) -> dict[str, auc.Auc]:
  """AUC of each domain's own scores, the domain against all others."""
  domains = np.array([document.domain for document in test], object)
  return {
    domain: auc.roc_auc(own, domains == domain)
    for domain, own in scores.items()
  }


def keeping(
  ratios: Mapping[str, np.ndarray],
  test: Sequence[Document],
  thresholds: Sequence[float],
) -> list[dict[str, float]]:
  """Share kept, recall and precision at each threshold, over all domains."""
  names = np.array([document.domain for document in test], object)
  wanted = np.concatenate([names == domain for domain in ratios])
  every = np.concatenate(list(ratios.values()))
  rows = []
  for threshold in thresholds:
    kept = every >= np.log(threshold)
    right = float((kept & wanted).sum())
    row = {'threshold': threshold, 'kept': float(kept.mean())}
    row['recall'] = right / wanted.sum()
    row['precision'] = right / kept.sum() if kept.any() else np.nan
    rows.append(row)
  return rows


def run(
  *,
  folder: str,
  domains: Mapping[str, tuple[str, str | None]],
  judges: Mapping[str, tuple[int, int]],
  judge: str,
  lamdas: Callable[..., Scorer],
  perplexity: Callable[..., Scorer],
  similarity: Callable[..., Scorer],
  tuning: tuple[int, float],
  tunings: Sequence[tuple[int, float]],
  thresholds: Sequence[float],
  swept_domains: Sequence[str],
  counts: tuple[int, int, int],
  characters: int,
  max_length: int,
  pieces: int,
  epochs: int,
  seeds: Sequence[int],
) -> dict[str, Any]:
  """The whole study; models are thrown away.

  Args:
    folder: of the corpora.
    domains: see `small_judges.read_pool`, as characters and counts.
    judges: name -> (width, layers) of the decoders to train.
    judge: name of the one that all but the sweep over sizes uses.
    lamdas: `make` of the scorer, as perplexity and similarity.
    perplexity: the baseline without a reference set.
    similarity: the baseline with one.
    tuning: prefix length and learning rate of all but the sweep over them.
    tunings: swept on `swept_domains` alone, as are the judges.
    thresholds: swept over all domains.
    swept_domains: domains of the sweeps over tunings and judges.
    counts: per domain passages to train on, documents trusted and unseen.
    characters: longest passage.
    max_length: tokens of a passage that are read.
    pieces: of the vocabulary.
    epochs: of the judges' training.
    seeds: of everything; the sweeps run with the first alone.

  Returns:
    Rows of every table.
  """
  mesh = mesh_lib.make_mesh(None, jax.local_devices()[:1])
  found: dict[str, Any] = {'domains': [], 'tunings': [], 'judges': []}
  for seed in seeds:
    pool = small_judges.read_pool(
      folder, domains, characters=characters, counts=counts, seed=seed
    )
    train = functools.partial(
      small_judges.train,
      pool.train,
      small_judges.train_vocabulary(pool.train, pieces),
      max_length=max_length,
      epochs=epochs,
      mesh=mesh,
      seed=seed,
    )
    base = train(*judges[judge])
    ratios = _ratios(lamdas, base, pool, list(domains), tuning, mesh)
    for method, own in {
      'LAMDAS': ratios,
      'perplexity': _plain(perplexity, base, pool, mesh),
      'similarity': _near(similarity, base, pool, mesh),
    }.items():
      for domain, area in separation(own, pool.test).items():
        row = {'seed': seed, 'method': method, 'domain': domain}
        found['domains'].append({**row, **area._asdict()})
    if seed != seeds[0]:
      continue
    found['thresholds'] = keeping(ratios, pool.test, thresholds)
    for other in tunings:
      own = {name: ratios[name] for name in swept_domains}
      if other != tuning:
        own = _ratios(lamdas, base, pool, swept_domains, other, mesh)
      mean = _mean_auc(separation(own, pool.test))
      found['tunings'].append((*other, mean))
    for name, shape in judges.items():
      one, own = base, {domain: ratios[domain] for domain in swept_domains}
      if name != judge:
        one = train(*shape)
        own = _ratios(lamdas, one, pool, swept_domains, tuning, mesh)
      mean = _mean_auc(separation(own, pool.test))
      row = {'judge': name, 'num_params': one.num_params, 'loss': one.loss}
      found['judges'].append({**row, 'auc': mean})
  return found


def tables(found: Mapping[str, Any]) -> str:
  """The tables as Markdown; means over seeds where there are several."""
  areas: dict[tuple[str, str], list[float]] = {}
  for row in found['domains']:
    areas.setdefault((row['domain'], row['method']), []).append(row['auc'])
  methods = list(dict.fromkeys(method for _, method in areas))
  domains = list(dict.fromkeys(domain for domain, _ in areas))
  rows = [
    [domain, *(_spread(areas[domain, method]) for method in methods)]
    for domain in domains
  ]
  means = [
    _spread(np.mean([areas[domain, method] for domain in domains], axis=0))
    for method in methods
  ]
  parts = [
    _table(['domain', *methods], [*rows, ['mean', *means]]),
    _table(
      ['threshold', 'kept', 'recall', 'precision'],
      [
        [f'{value:.3f}' for value in row.values()]
        for row in found['thresholds']
      ],
    ),
    _table(
      ['prefix length', 'learning rate', 'mean AUC'],
      [
        [str(length), f'{rate:g}', f'{area:.3f}']
        for length, rate, area in found['tunings']
      ],
    ),
    _table(
      ['judge', 'parameters', 'nats per token', 'mean AUC'],
      [
        [
          row['judge'],
          f'{row["num_params"]:,}',
          f'{row["loss"]:.2f}',
          f'{row["auc"]:.3f}',
        ]
        for row in found['judges']
      ],
    ),
  ]
  return '\n\n'.join(parts)


def _ratios(
  lamdas: Callable[..., Scorer],
  judge: small_judges.Judge,
  pool: small_judges.Pool,
  names: Sequence[str],
  tuning: tuple[int, float],
  mesh: jax.sharding.Mesh,
) -> Columns:
  """Domain -> log ratio of every unseen document under its prefix."""
  scorer = lamdas(
    network=judge.network,
    vocabulary=judge.vocabulary,
    anchors=[d for d in pool.anchors if d.domain in names],
    prefix_length=tuning[0],
    learning_rate=tuning[1],
    max_length=judge.max_length,
    long_texts='head',
  )
  columns = small_judges.score(scorer, judge, pool.test, mesh)
  return {name: columns[f'lamdas/{name}'] for name in names}


def _plain(
  perplexity: Callable[..., Scorer],
  judge: small_judges.Judge,
  pool: small_judges.Pool,
  mesh: jax.sharding.Mesh,
) -> Columns:
  """Domain -> log-likelihood per token, which is the same for all."""
  scorer = perplexity(
    network=judge.network,
    vocabulary=judge.vocabulary,
    max_length=judge.max_length,
    long_texts='head',
  )
  [column] = small_judges.score(scorer, judge, pool.test, mesh).values()
  return {document.domain or '': column for document in pool.anchors}


def _near(
  similarity: Callable[..., Scorer],
  judge: small_judges.Judge,
  pool: small_judges.Pool,
  mesh: jax.sharding.Mesh,
) -> Columns:
  """Domain -> mean cosine to its trusted documents."""
  found = {}
  for name in dict.fromkeys(document.domain or '' for document in pool.anchors):
    scorer = similarity(
      network=judge.network,
      vocabulary=judge.vocabulary,
      anchors=[d for d in pool.anchors if d.domain == name],
      max_length=judge.max_length,
    )
    [found[name]] = small_judges.score(scorer, judge, pool.test, mesh).values()
  return found


def _mean_auc(areas: Mapping[str, auc.Auc]) -> float:
  return float(np.mean([area.auc for area in areas.values()]))


def _spread(values: Any) -> str:
  """'0.912 ± 0.004', the standard deviation over seeds where there are any."""
  spread = f' ± {np.std(values, ddof=1):.3f}' if len(values) > 1 else ''
  return f'{np.mean(values):.3f}{spread}'


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  lines = [names, ['---'] * len(names), *rows]
  return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)


def main(argv: Sequence[str] | None = None) -> None:
  """Parses the study file, runs it and prints its tables."""
  parser = argparse.ArgumentParser(description=str(__doc__).partition('\n')[0])
  parser.add_argument('study', help='Gin file')
  parser.add_argument('--output', type=pathlib.Path, help='numbers as JSON')
  flags = parser.parse_args(argv)
  gin_files.parse(files=[flags.study])
  # By its module's name: what Gin binds is not the function of __main__.
  import study_lamdas

  wall, cpu = time.perf_counter(), time.process_time()
  found = gin_files.call(study_lamdas.run)
  print(tables(found))
  found['seconds'] = time.perf_counter() - wall
  found['cpu_seconds'] = time.process_time() - cpu
  print(
    f'\n{found["seconds"]:.0f} s, {found["cpu_seconds"]:.0f} s of CPU time on'
    f' {jax.devices()[0].device_kind}'
  )
  if flags.output:
    flags.output.write_text(json.dumps(found, indent=1))


if __name__ == '__main__':
  main()
