#!/usr/bin/env python3
"""Does a weighting help, at equal steps and at equal operations?

Runs `jaxcurate train` for every contender and seed, on text dealt out of real
corpora, and compares held-out losses with the baseline's, paired over seeds,
on the anchors' domain and on others apart.

  python tools/study_weighting.py gin_configs/studies/damaged_pool.gin \\
    --output=study --jobs=2

The Gin file names contenders and text and says what was found. What is finished
is not run again. Tables are printed as Markdown.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
import concurrent.futures
import contextlib
import json
import multiprocessing
import pathlib
import time

import study_curves

from jaxcurate.cli import gin_files

Flags = Sequence['str | Flags']  # groups of flags among them


def run(
  *,
  output: pathlib.Path,
  jobs: int,
  write_text: Callable[[pathlib.Path], None],
  prepare: Mapping[str, Flags],
  common: Flags,
  contenders: Mapping[str, Flags],
  paid: Mapping[str, Sequence[str]],
  groups: Mapping[str, Sequence[str]],
  baseline: str,
  axes: Sequence[str],
  seeds: Sequence[int],
) -> str:
  """Trains every contender with every seed; returns the tables.

  In commands {output} and {text} are the study's folder and that of its text,
  and {seed} is the run's; a preparation with it in its name runs for each seed.

  Args:
    output: folder of the study.
    jobs: commands that run at once.
    write_text: writes the study's text, see `study_text`.
    prepare: name -> command that runs before all training, in this order, into
      {output}/name.
    common: flags of every `jaxcurate train`; a command's own come after.
    contenders: name -> its own flags.
    paid: contender -> preparations whose operations count as its own.
    groups: name -> domains of the held-out text that are averaged.
    baseline: the contender that the others are compared with.
    axes: 'steps', 'tokens', 'flops': a table for each, where contenders came
      as far as the baseline's end.
    seeds: of parameters and order.

  Raises:
    ValueError: the baseline is no contender, or a payment no preparation.
    RuntimeError: a command failed; its log is named.
  """
  bills = {name for names in paid.values() for name in names}
  if {baseline, *paid} - set(contenders) or bills - set(prepare):
    raise ValueError(
      f'baseline {baseline!r} and paid {dict(paid)}, of the contenders'
      f' {list(contenders)} and the preparations {list(prepare)}'
    )
  if not (output / 'text' / 'spiece.model').exists():
    write_text(output / 'text')
  first, runs = commands(output, prepare, common, contenders, seeds)
  context = multiprocessing.get_context('spawn')
  with concurrent.futures.ProcessPoolExecutor(jobs, context) as pool:
    for argv in first:
      pool.submit(_command, argv).result()
    futures = {pool.submit(_command, argv): key for key, argv in runs.items()}
    for number, done in enumerate(concurrent.futures.as_completed(futures), 1):
      if done.exception() is not None:
        pool.shutdown(cancel_futures=True)  # finished runs are kept
      done.result()
      name, seed = futures[done]
      print(f'{number} of {len(futures)}: {name}, seed {seed}', flush=True)
  curves = {
    name: [
      study_curves.read_curve(
        _output(runs[name, seed]),
        groups,
        sum(_cost(output / bill) for bill in paid.get(name, ())),
      )
      for seed in seeds
    ]
    for name in contenders
  }
  return '\n\n'.join(
    f'At equal {axis}:\n\n{study_curves.table(curves, baseline, axis)}'
    for axis in axes
  )


def commands(
  output: pathlib.Path,
  prepare: Mapping[str, Flags],
  common: Flags,
  contenders: Mapping[str, Flags],
  seeds: Sequence[int],
) -> tuple[list[list[str]], dict[tuple[str, int], list[str]]]:
  """(the preparations' arguments; (contender, seed) -> the run's)."""

  def command(words: Flags, folder: pathlib.Path, seed: int) -> list[str]:
    argv = list(_flat(words))
    if argv[0] == 'train':
      argv[1:1] = _flat(common)
    values = {
      '{output}': output, '{text}': output / 'text', '{seed}': seed,
    }  # fmt: skip
    for name, value in values.items():
      argv = [word.replace(name, str(value)) for word in argv]
    return [*argv, f'--seed={seed}', f'--output={folder}']

  first = [
    command(words, output / name.replace('{seed}', str(seed)), seed)
    for name, words in prepare.items()
    for seed in (seeds if '{seed}' in name else seeds[:1])
  ]
  runs = output / 'runs'
  return first, {
    (name, seed): command(
      ['train', *words], runs / f'{name.replace(" ", "_")}-{seed}', seed
    )
    for seed in seeds
    for name, words in contenders.items()
  }


def _flat(words: Flags) -> Iterator[str]:
  for word in words:
    if isinstance(word, str):
      yield word
    else:
      yield from _flat(word)


def _output(argv: Sequence[str]) -> pathlib.Path:
  return pathlib.Path(argv[-1].partition('=')[2])


def _cost(folder: pathlib.Path) -> float:
  return json.loads((folder / 'manifest.json').read_text())['cost']['flops']


def _command(argv: list[str]) -> None:
  """Runs one command, unless it is done; what it prints goes to a log."""
  from jaxcurate.cli import main

  folder = _output(argv)
  done = folder / 'manifest.json'
  if done.exists() and json.loads(done.read_text())['command'][1:] == argv:
    return
  log = folder.with_name(f'{folder.name}.log')
  log.parent.mkdir(parents=True, exist_ok=True)
  with open(log, 'a') as out:
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
      print('jaxcurate', *argv, flush=True)
      code = main.main(argv)
  if code:
    raise RuntimeError(f'jaxcurate {argv[0]} failed, see {log}')


def main(argv: Sequence[str] | None = None) -> None:
  """Parses the study file, runs it and prints its tables."""
  parser = argparse.ArgumentParser(description=str(__doc__).partition('\n')[0])
  parser.add_argument('study', help='Gin file')
  parser.add_argument('--output', type=pathlib.Path, required=True)
  parser.add_argument('--jobs', type=int, default=1, help='commands at once')
  flags = parser.parse_args(argv)
  gin_files.parse(files=[flags.study])
  # By its module's name: what Gin binds is not the function of __main__.
  import study_weighting

  began = time.perf_counter()
  print(
    gin_files.call(study_weighting.run, output=flags.output, jobs=flags.jobs)
  )
  print(f'\n{time.perf_counter() - began:.0f} s')


if __name__ == '__main__':
  main()
