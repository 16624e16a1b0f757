"""`jaxcurate demo`: the whole path on text that is already on this machine.

It gathers Python's own documentation, damages a share of it, scores, samples
and trains small models at equal total floating-point operations, and reports.
The stages are the commands themselves, printed as they run; only the training
of several seeds side by side has no command of its own.
"""

import argparse
from collections.abc import Callable, Sequence
import json
import pathlib
import time
from typing import Any, NamedTuple

import jax

from jaxcurate.cli import demo_text, gin_files
from jaxcurate.cli import flags as flags_lib
from jaxcurate.cli import main as main_lib
from jaxcurate.data import planned_rows, readers, token_cache
from jaxcurate.data import training as training_data
from jaxcurate.data import vocabulary as vocabularies
from jaxcurate.io import atomic, tables
from jaxcurate.io import manifest as manifests
from jaxcurate.io.errors import UserError
from jaxcurate.models import load, t5
from jaxcurate.report import run as reporting
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


CONTENDERS = (
  Contender('uniform'),
  Contender('random_subset', 'uniform'),
  Contender('ask_llm_subset', 'top_k', 'ask_llm'),
  Contender('density_subset', 'inverse_propensity', 'density_references'),
  Contender('adapt', weighting='adapt'),
)


def main(
  flags: argparse.Namespace, bindings: Sequence[str], command: Sequence[str]
) -> None:
  """Parses the run and goes through all stages."""
  flags_lib.parse_run(flags, 'demo', bindings)
  gin_files.call(run, command=command)


def run(
  *,
  output: str,
  network: t5.T5Config,
  weightings: dict[str, Callable[[], Weighting]],
  optimizer: Callable[[], optimizers.Optimizer],
  steps: int,
  rows_per_batch: int,
  encoder_length: int,
  max_segments: int,
  num_documents: int,
  num_held_out: int,
  num_anchors: int,
  damaged_share: float,
  budget: str,
  seeds: Sequence[int],
  seed: int = 0,
  command: Sequence[str] = (),
) -> None:
  """Runs every stage; what is finished in `output` is not done again.

  Args:
    output: folder of the study.
    network: the model that is trained.
    weightings: name -> `make` of a weighting.
    optimizer: `optimizers.make_optimizer`, bound by Gin.
    steps: of the uniform run; the others get what its operations leave after
      their scoring.
    rows_per_batch, encoder_length, max_segments: of the training batches.
    num_documents, num_held_out, num_anchors: how much text is used.
    damaged_share: share of the corpus that is damaged.
    budget: of every subset, see `jaxcurate sample`.
    seeds: models per contender.
    seed: of damage and samples.
    command: argv, for the manifests.

  Raises:
    UserError: the folder holds another study.
  """
  started = time.monotonic()
  folder = pathlib.Path(output)
  # The commands below parse Gin anew: whatever was bound is made now.
  made = {name: make() for name, make in weightings.items()}
  chosen_optimizer = optimizer()
  atomic.write_text(folder / 'config.gin', gin_files.resolved())
  corpus, held_out, anchors = demo_text.write(
    folder,
    num_documents=num_documents,
    num_held_out=num_held_out,
    num_anchors=num_anchors,
    damaged_share=damaged_share,
    seed=seed,
  )
  methods = ('ask_llm', 'perplexity', 'density_references')
  _command(
    'score',
    *(f'--method={method}' for method in methods),
    f'--input={corpus}',
    f'--output={folder}/scores',
    *(f'--gin.{method}.make.max_length=256' for method in methods),
  )
  for contender in (
    *CONTENDERS,
    Contender('perplexity', 'top_k', 'perplexity'),
  ):
    if contender.sampler is not None:
      _command(
        'sample', f'--method={contender.sampler}', f'--budget={budget}',
        f'--input={folder}/scores', f'--seed={seed}',
        f'--output={folder}/selections/{contender.name}',
        *([f'--by={contender.by}'] if contender.by else []),
      )  # fmt: skip
  words = vocabularies.load_vocabulary(load.load('judge').vocabulary)
  rows = planned_rows.row_settings(
    encoder_length=encoder_length, max_segments=max_segments
  )
  study = _Study(
    folder, str(corpus), str(held_out), words, rows, rows_per_batch,
    t5.make_network(network), chosen_optimizer,
    programs.StepSettings(max_segments=max_segments), tuple(seeds),
  )  # fmt: skip
  anchor_set = text.make_anchors(
    folder / 'cache' / 'anchors', 'anchors',
    readers.open_corpus([str(anchors)]).rows(), words, rows, rows_per_batch,
    {'file': anchors.name, 'num_anchors': num_anchors},
  )  # fmt: skip
  total = None
  for contender in CONTENDERS:
    weighting = made[contender.weighting]
    total = _train(
      study, contender, weighting, anchor_set, steps, total, list(command)
    )
  page = reporting.run(
    inputs=[output],
    output=f'{output}/report',
    title='jaxcurate on the text of this machine',
  )
  demo_text.print_findings(folder)
  minutes = (time.monotonic() - started) / 60
  print(f'report: {page} ({minutes:.1f} minutes)')


class _Study(NamedTuple):
  """What all training runs of the demo share."""

  folder: pathlib.Path
  corpus: str
  held_out: str
  words: Vocabulary
  rows: planned_rows.RowSettings
  rows_per_batch: int
  network: Any
  optimizer: optimizers.Optimizer
  settings: programs.StepSettings
  seeds: tuple[int, ...]


def _command(*arguments: str) -> None:
  """Runs a command as a user would, and prints it."""
  print(f'\n$ jaxcurate {" ".join(arguments)}', flush=True)
  code = main_lib.main(arguments)
  if code:
    raise UserError(f'the step above failed with exit code {code}')


def _train(
  study: _Study,
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
