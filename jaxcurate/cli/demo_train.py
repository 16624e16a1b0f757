"""Training one contender of the demo: several seeds, side by side.

Every contender gets the same floating-point operations in all; what its
scores cost is taken off its steps.
"""

import json
import pathlib
import time
from typing import Any, NamedTuple

import jax

from jaxcurate.data import readers, row_shape, token_cache
from jaxcurate.data import training as training_data
from jaxcurate.io import manifest as manifests
from jaxcurate.io import tables
from jaxcurate.io.errors import UserError
from jaxcurate.train import optimizers, population, text
from jaxcurate.train import program as programs
from jaxcurate.train.progress import Plan
from jaxcurate.types import AnchorSet, Vocabulary, Weighting


class Contender(NamedTuple):
  """One way to choose or weight the training text.

  Attributes:
    name: of its run.
    sampler: `--method` of `jaxcurate sample`, None for all documents.
    by: score column, None for no score.
    weighting: `--weighting`.
  """

  name: str
  sampler: str | None = None
  by: str | None = None
  weighting: str = 'uniform'


class Study(NamedTuple):
  """What all training runs of the demo share."""

  folder: pathlib.Path
  corpus: str
  held_out: str
  words: Vocabulary
  rows: row_shape.RowSettings
  rows_per_batch: int
  network: Any
  optimizer: optimizers.Optimizer
  settings: programs.StepSettings
  seeds: tuple[int, ...]


def train(
  study: Study,
  contender: Contender,
  weighting: Weighting,
  anchors: AnchorSet,
  steps: int,
  total: float | None,
  command: list[str],
) -> float:
  """Trains all seeds of a contender; returns the operations of each in all."""
  folder = study.folder / 'runs' / contender.name
  selection = study.folder / 'selections' / contender.name
  cache = token_cache.build(
    study.folder / 'cache' / contender.name,
    readers.open_corpus([study.corpus]).rows(),
    study.words,
    settings={'corpus': pathlib.Path(study.corpus).name},
    selection=(tables.read_selection(selection) if contender.sampler else None),
    eval_rows=readers.open_corpus([study.held_out]).rows(),
  )
  batches = [
    training_data.TrainingBatches(
      cache.train,
      study.words,
      study.rows,
      rows_per_batch=study.rows_per_batch,
      seed=seed,
    )
    for seed in study.seeds
  ]
  held_out = text.held_out_batches(
    cache.eval, cache.domains, study.words, study.rows, study.rows_per_batch
  )
  own_anchors = anchors if weighting.refresh is not None else None
  program = programs.make_program(
    study.network,
    study.optimizer,
    weighting,
    study.settings,
    seeds=study.seeds[:1],
    population=False,
    anchors=own_anchors,
  )
  per_step = program.step_flops(held_out[0].batch)  # shaped as for training
  per_step += program.refresh_flops / program.refresh_interval
  scoring = 0.0
  if contender.by is not None:
    cost = manifests.read_manifest(study.folder / 'scores')['cost']
    scoring = cost['columns'][contender.by]
  if total is None:
    total = per_step * steps
  own_steps = int((total - scoring) / per_step)
  if own_steps < 1:
    raise UserError(
      f'{contender.name}: scoring costs {scoring:.2g} operations, more than the'
      f' whole budget of {total:.2g}; raise --gin.demo.run.steps'
    )
  print(
    f'\n{contender.name}: {len(study.seeds)} seeds, {own_steps} steps each'
    f' ({scoring / total:.0%} of the operations went into scoring)',
    flush=True,
  )
  settings = {
    'method': contender.name,
    'weighting': contender.weighting,
    'steps': own_steps,
    'seeds': list(study.seeds),
    'selection': str(selection) if contender.sampler else None,
  }
  started = time.monotonic()
  population.train_population(
    network=study.network,
    batches=batches,
    optimizer=study.optimizer,
    weighting=weighting,
    settings=study.settings,
    plan=Plan(own_steps, eval_every=max(1, steps // 8)),
    output=folder,
    seeds=study.seeds,
    anchors=own_anchors,
    eval_batches=held_out,
  )
  for iterator in batches:
    iterator.close()
  for seed in study.seeds:
    own = folder / f'seed{seed}'
    lines = (own / 'metrics.jsonl').read_text().splitlines()
    flops = max(json.loads(line).get('flops', 0.0) for line in lines)
    manifests.write_manifest(
      own,
      {
        'kind': 'training',
        'command': command,
        'settings': {**settings, 'seed': seed},
        'inputs': [study.corpus],
        'num_rows': len(cache.train.id_hash),
        'skipped': dict(cache.skipped),
        'cost': {
          'flops': flops,
          'seconds': time.monotonic() - started,
          'device': f'{jax.devices()[0].device_kind} x{len(jax.devices())}',
        },
        'diagnostics': {},
      },
    )
  return total
