"""`jaxcurate train --targets` or `--pairs`: judgements of texts to a judge.

Without --steps only a head is fitted on the frozen network, exactly and in one
pass: the way to learn from a few hundred labels. With --steps network and head
are trained together, which is how a small judge learns from a large one.
"""

import argparse
from collections.abc import Callable, Sequence
import time
from typing import Any

import jax

from jaxcurate.cli import flags as flags_lib
from jaxcurate.cli import (
  gin_files,
  judge_inputs,
  judge_outcome,
  train_parts,
)
from jaxcurate.cli import inputs as inputs_lib
from jaxcurate.data import token_cache
from jaxcurate.data import vocabulary as vocabularies
from jaxcurate.io import manifest as manifests
from jaxcurate.io.errors import UserError
from jaxcurate.models import load, partitioning
from jaxcurate.models import mesh as mesh_lib
from jaxcurate.scorers import rater
from jaxcurate.train import (
  driver,
  judge,
  judge_data,
  judge_program,
  optimizers,
  probe,
  probe_inputs,
)
from jaxcurate.train.progress import Plan
from jaxcurate.types import HeadSettings, Scorer

_NOT_OURS = (
  'weighting', 'selection', 'anchors', 'eval_input', 'reference', 'scores',
  'turns', 'mixture', 'domains',
)  # fmt: skip


def main(
  flags: argparse.Namespace, bindings: Sequence[str], command: Sequence[str]
) -> None:
  """Parses the run and trains a judge."""
  given = [f'--{name}' for name in _NOT_OURS if getattr(flags, name)]
  if given:
    raise UserError(
      f'{", ".join(given)}: not used when a judge is trained; drop it, or'
      ' --targets and --pairs'
    )
  flags_lib.parse_run(flags, 'train', bindings, run='train_judge')
  gin_files.call(run, command=command)


def run(
  *,
  inputs: Sequence[str],
  output: str,
  targets: str | None = None,
  pairs: str | None = None,
  by: str | None = None,
  loss: str | None = None,
  steps: int | None = None,
  network: load.Config | None = None,
  model: str | None = None,
  vocabulary: str | None = None,
  answer: Callable[..., Scorer] | None = None,
  pooling: str | None = None,
  max_length: int = 512,
  max_windows: int = 8,
  ngrams: int = 2,
  penalties: Sequence[float] = probe.PENALTIES,
  optimizer: Callable[..., optimizers.Optimizer] = optimizers.make_optimizer,
  schedule_steps: int | None = None,
  judgements_per_batch: int = 32,
  log_every: int = 10,
  eval_every: int | None = None,
  checkpoint_every: int | None = 1000,
  max_checkpoints: int = 3,
  holdout_share: float = 0.1,
  format: str | None = None,
  task: str | None = None,
  task_module: str | None = None,
  split: str = 'train',
  text_field: str = 'text',
  id_field: str = 'id',
  domain_field: str = 'domain',
  on_bad_row: str = 'stop',
  mesh: str | None = None,
  dtype: str | None = None,
  seed: int = 0,
  command: Sequence[str] = (),
) -> None:
  """Trains a judge on judgements of the corpus's texts, joined by id.

  Args:
    inputs: globs, files, folders or URLs of the texts; or `task` and `split`.
    output: folder of the run; a run found there is continued.
    targets: judgements of single texts, see `data.targets.read_targets`.
    pairs: judgements of two texts, instead.
    by: columns of the judgements, comma-separated; one output for each.
    loss: of `ops.judge_loss`; None is 'binary' for probabilities and labels,
      'squared' for other numbers. Log-probabilities become probabilities.
    steps: train network and head for so many steps; None fits a head only.
    network: shape of a network to train from scratch; needs `steps`.
    model: checkpoint to start from, instead.
    vocabulary: spiece.model or 'bytes'; None is the checkpoint's own, or the
      shipped judge's.
    answer: `ask_llm.make`, to train the network's own yes instead of a head.
    pooling, max_length, max_windows, ngrams: see `types.HeadSettings`; pooling
      None is what suits the network.
    penalties: of a fitted head, to choose from; see `train.probe`.
    optimizer: `optimizers.make_optimizer`, bound by Gin.
    schedule_steps: end of a decaying schedule; None is `steps`.
    judgements_per_batch: texts or pairs per step.
    log_every, eval_every, checkpoint_every, max_checkpoints: see `Plan`.
    holdout_share: share of documents, by id, not trained on; of pairs those
      count whose texts are on one side.
    format, task_module: see `inputs.open_documents`.
    text_field, id_field, domain_field, on_bad_row: of the corpus.
    mesh: e.g. 'data=4,model=2'; devices of this host.
    dtype: of activations; None chooses by device.
    seed: of parameters, order and folds.
    command: argv, for the manifest.

  Raises:
    UserError: whatever a user can put right.
  """
  started = time.monotonic()
  if jax.process_count() > 1:
    raise UserError('a judge is trained on one host; start it on one')
  judged, loss = judge_inputs.read_judgements(
    targets, pairs, by, loss, id_field=id_field
  )
  judge_inputs.check_options(steps, network, answer, judged)
  devices = mesh_lib.make_mesh(mesh)
  if dtype is None:
    dtype = 'float32' if jax.default_backend() == 'cpu' else 'bfloat16'
  start = judge_inputs.without_projection(
    train_parts.start_from(network, model, vocabulary, dtype)
  )
  words = vocabularies.load_vocabulary(start.vocabulary)
  vocabularies.check_fits(words, start.config.vocab_size)
  corpus = inputs_lib.open_documents(
    inputs=inputs,
    task=task,
    format=format,
    task_module=task_module,
    split=split,
    text_field=text_field,
    id_field=id_field,
    domain_field=domain_field,
    on_bad_row=on_bad_row,
  )
  head = HeadSettings(
    criteria=judged.columns if len(judged.columns) > 1 else (),
    unit=judge_inputs.unit_of(judged, loss),
    pooling=pooling or rater.pooling_of(start.network),
    max_length=max_length,
    max_windows=max_windows,
    ngrams=ngrams,
  )
  settings = {
    'targets': judged.name,
    'judgements': judge_inputs.digest(judged),
    'columns': list(judged.columns),
    'loss': loss,
    'model': model or str(start.config),
    'head': None if answer else head._asdict(),
    'files': [source.name for source in corpus.sources],
    'fields': list(corpus.fields),
    'judgements_per_batch': judgements_per_batch if steps else None,
    'penalties': None if steps else list(penalties),
    'holdout_share': holdout_share,
    'schedule_steps': schedule_steps or steps,
    'seed': seed,
    'dtype': dtype,
    **gin_files.settings(
      ['optimizers'] * bool(steps) + ['ask_llm'] * bool(answer)
    ),
  }
  if manifests.begin(output, 'judge', settings):
    done = manifests.read_manifest(output)['steps']
    if done == steps:
      print(f'{output}: already trained')
      return
  cache = token_cache.build(
    f'{output}/cache/text',
    judge_inputs.judged_rows(corpus.rows(), judged),
    words,
    settings={
      name: settings[name] for name in ('files', 'fields', 'judgements')
    },
    holdout_share=holdout_share,
  )
  items = judge_data.find_items(cache.train, judged)
  held_out = judge_program.HeldOut(
    cache.eval, judge_data.find_items(cache.eval, judged), cache.domains
  )
  judge_inputs.check_values(
    judged, items.target, ' whose texts are in the corpus and not held out'
  )
  fast = load.for_training(start) if steps else load.for_scoring(start)
  if answer is None:
    reading = judge.read_with_head(fast, words, head)
  else:
    reading = judge_inputs.read_answer(answer, fast, words)
  left_out = len(judged.id) - len(items.target) - len(held_out.items.target)
  if left_out:
    print(
      f'{judged.name}: {left_out:,} judgements are left out: no text in the'
      ' corpus, no value, or a pair with one text held out'
    )
  print(
    f'learning {", ".join(judged.columns)} from {len(items.target):,}'
    f' judgements ({loss}), {len(held_out.items.target):,} held out; '
    + (f'{steps} steps' if steps else 'the network stays as it is'),
    flush=True,
  )
  diagnostics: dict[str, Any] = {}
  on_mesh = devices if devices.size > 1 else None
  if steps is None:
    shardings = partitioning.param_shardings(
      devices, start.network.logical_axes, start.params
    )
    weights = jax.device_put(start.params, shardings)
    seen, flops = probe_inputs.gather(
      cache.train, fast, words, head, weights, devices
    )
    fitted = probe.fit(
      seen,
      items.document,
      items.target,
      loss=loss,
      penalties=penalties,
      seed=seed,
    )
    params = {'network': weights, 'head': fitted.head}
    diagnostics['penalty'] = dict(
      zip(judged.columns, fitted.penalty, strict=True)
    )
  else:
    program = judge_program.make_program(
      reading,
      start.network,
      train_parts.make_optimizer(optimizer, schedule_steps or steps),
      loss,
      head=(
        {}
        if answer
        else judge_inputs.first_head(items, loss, start.network.width, ngrams)
      ),
      seed=seed,
      num_items=judgements_per_batch,
      params=start.params,
      held_out=held_out if len(held_out.items.target) else None,
      mesh=on_mesh,
    )
    batches = judge_data.JudgeBatches(
      cache.train,
      items,
      reading.features,
      num_items=judgements_per_batch,
      seed=seed,
      shards=devices.shape['data'],
    )
    plan = Plan(
      steps, log_every, eval_every, checkpoint_every, max_checkpoints, 0
    )
    params = driver.run(
      program, plan, [batches], [output], f'{output}/checkpoints'
    ).params
    flops = judge_outcome.last_flops(output)
  diagnostics['held_out'] = judge_outcome.outcome(
    reading, loss, held_out, params, judgements_per_batch, judged.columns,
    on_mesh,
  )  # fmt: skip
  judge_outcome.finish(
    output,
    params,
    start,
    head if answer is None else None,
    diagnostics=diagnostics,
    content={
      'command': list(command),
      'settings': settings,
      'inputs': settings['files'],
      'steps': steps,
      'flops': flops,
    },
    cache=cache,
    started=started,
  )
