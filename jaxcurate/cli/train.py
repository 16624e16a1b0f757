"""`jaxcurate train`: a corpus, a Selection and a weighting to a model."""

import argparse
from collections.abc import Callable, Sequence
import functools
import time

import jax

from jaxcurate.cli import flags as flags_lib
from jaxcurate.cli import (
  gin_files,
  train_finish,
  train_judge,
  train_mixture,
  train_needs,
  train_parts,
)
from jaxcurate.cli import inputs as inputs_lib
from jaxcurate.data import domain_labels, row_shape, token_cache
from jaxcurate.data import vocabulary as vocabularies
from jaxcurate.io import hosts, tables
from jaxcurate.io import manifest as manifests
from jaxcurate.io.errors import UserError
from jaxcurate.models import load
from jaxcurate.models import mesh as mesh_lib
from jaxcurate.train import adapters, loop, optimizers, text
from jaxcurate.train.gradient_settings import DEFAULT, GradientSettings
from jaxcurate.train.program import StepSettings
from jaxcurate.train.progress import Plan
from jaxcurate.types import Weighting


def main(
  flags: argparse.Namespace, bindings: Sequence[str], command: Sequence[str]
) -> None:
  """Parses the run and trains."""
  if flags.targets or flags.pairs:
    train_judge.main(flags, bindings, command)
    return
  if flags.by and not flags.scores:
    raise UserError(
      '--by names a column of --scores, --targets or --pairs; give one'
    )
  methods = [flags.weighting] if flags.weighting else []
  flags_lib.parse_run(
    flags, 'train', bindings, kind='weightings', methods=methods
  )
  gin_files.call(run, command=command)


def run(
  *,
  inputs: Sequence[str],
  output: str,
  methods: Sequence[Callable[..., Weighting]],
  steps: int,
  network: load.Config | None = None,
  model: str | None = None,
  vocabulary: str | None = None,
  selection: str | None = None,
  mixture: train_mixture.MixtureSettings = train_mixture.AS_IT_IS,
  domains: str | None = None,
  anchors: Sequence[str] = (),
  reference: str | None = None,
  scores: Sequence[str] = (),
  by: str | None = None,
  eval_inputs: Sequence[str] = (),
  optimizer: Callable[..., optimizers.Optimizer] = optimizers.make_optimizer,
  schedule_steps: int | None = None,
  rows_per_batch: int = 32,
  encoder_length: int = 512,
  decoder_length: int | None = None,
  max_segments: int = 8,
  windowing: str = 'document',
  normaliser: str = 'targets',
  reduction: str = 'tokens',
  refresh_epochs: int | float | None = None,
  accumulate: int = 1,
  z_loss: float = 1e-4,
  chunk_tokens: int | None = 8_192,
  dropout_seed: int | None = None,
  example_gradients: GradientSettings = DEFAULT,
  lora: adapters.LoraSettings | None = None,
  log_every: int = 10,
  eval_every: int | None = None,
  checkpoint_every: int | None = 1000,
  max_checkpoints: int = 3,
  holdout_share: float = 0.01,
  format: str | None = None,
  task: str | None = None,
  task_module: str | None = None,
  split: str = 'train',
  text_field: str = 'text',
  id_field: str = 'id',
  domain_field: str = 'domain',
  on_bad_row: str = 'stop',
  turns: bool = False,
  mesh: str | None = None,
  dtype: str | None = None,
  seed: int = 0,
  command: Sequence[str] = (),
) -> None:
  """Trains from scratch (`network`) or from a checkpoint (`model`).

  Args:
    inputs: globs, files, folders or URLs; or `task` and `split`.
    format, task_module: see `inputs.open_documents`.
    output: folder of the run; a run found there is continued.
    methods: one weighting's `make` function.
    steps: optimizer steps in all.
    network: shape of a network to train from scratch.
    model: checkpoint to start from, instead.
    vocabulary: spiece.model or 'bytes'; None is the checkpoint's own, or the
      shipped judge's.
    selection: folder of a Selection; None trains on everything.
    mixture: shares of domains, which may change from one run to the next.
    domains: file or score folder with ids and domains; None: of the corpus.
    anchors: a small trusted corpus, for weightings that look at one.
    reference: a second model, for weightings that compare with one.
    scores, by: score folders and the column, for weightings that read one.
    eval_inputs: held-out corpus; none holds out `holdout_share` by id.
    optimizer: `optimizers.make_optimizer`, bound by Gin.
    schedule_steps: end of a decaying schedule.
    rows_per_batch, encoder_length, decoder_length, max_segments, windowing: of
      the batches, see `data.training`, `data.row_shape.settings_for` and
      `data.planned_rows`.
    normaliser, reduction, accumulate, z_loss, chunk_tokens, dropout_seed,
      example_gradients: of the step, see `train.step`.
    refresh_epochs: epochs of the data between two looks at the anchors; None
      leaves it to the weighting's own interval in steps.
    lora: train adapters of `model`; None trains all of its parameters.
    log_every, eval_every, checkpoint_every, max_checkpoints: see `Plan`.
    holdout_share: share of documents held out.
    text_field, id_field, domain_field, on_bad_row: of the corpus.
    turns: read instructions and conversations, and learn their answers.
    mesh: e.g. 'data=4,model=2'; all devices of all hosts.
    dtype: of activations; None chooses by device.
    seed: of parameters, order and masks.
    command: argv, for the manifest.

  Raises:
    UserError: whatever a user can put right.
  """
  if len(methods) != 1:
    raise UserError(
      'give one --weighting=NAME, of'
      f' {", ".join(gin_files.known_methods("weightings"))}'
    )
  train_parts.check_choices(windowing, normaliser, reduction)
  started = time.monotonic()
  name = methods[0].__module__.rpartition('.')[2]
  weighting = train_parts.make_weighting(methods[0], name)
  devices = mesh_lib.make_mesh(mesh)
  if dtype is None:
    dtype = 'float32' if jax.default_backend() == 'cpu' else 'bfloat16'
  start = train_parts.start_from(network, model, vocabulary, dtype)
  frozen = train_parts.frozen_base(lora, start, dropout_seed)
  words = vocabularies.load_vocabulary(start.vocabulary)
  vocabularies.check_fits(words, start.config.vocab_size)
  open_documents = functools.partial(
    inputs_lib.open_documents,
    format=format,
    task_module=task_module,
    split=split,
    text_field=text_field,
    id_field=id_field,
    domain_field=domain_field,
    on_bad_row=on_bad_row,
    turns=turns,
  )
  corpus = open_documents(inputs=inputs, task=task)
  label = train_parts.read_labels(domains, domain_field)
  shares = train_mixture.read(mixture, selection, windowing)
  lengths = (rows_per_batch, encoder_length, decoder_length)
  settings = {
    'weighting': name,
    'model': model or str(start.config),
    'files': [source.name for source in corpus.sources],
    'fields': list(corpus.fields),
    'domains': None if label is None else domain_labels.digest(label),
    'rows': [*lengths, max_segments, windowing],
    'step': [
      normaliser,
      reduction,
      accumulate,
      z_loss,
      chunk_tokens,
      dropout_seed,
      list(example_gradients),
    ],
    'selection': selection,
    'mixture': None if shares is None else 'shares',
    'anchors': list(anchors),
    'refresh_epochs': refresh_epochs,
    'reference': reference,
    'scores': [list(scores), by],
    'eval_inputs': list(eval_inputs),
    'holdout_share': holdout_share,
    'schedule_steps': schedule_steps,
    'seed': seed,
    'dtype': dtype,
    'lora': lora and list(lora),
    **gin_files.settings([name, 'optimizers']),
  }
  column = train_needs.read_scores(weighting, name, scores, by)
  finished = manifests.begin(output, 'training', settings)
  if finished and manifests.read_manifest(output)['steps'] == steps:
    print(f'{output}: already trained to step {steps}')
    return
  rows = row_shape.settings_for(
    start.network,
    length=encoder_length,
    max_segments=max_segments,
    spoken=turns,
    decoder_length=decoder_length,
  )
  spell = train_parts.spell_of(turns, words, start.network, on_bad_row)
  tokens = train_parts.cache_folder(output)
  cache = hosts.first_then_others(
    'tokenized',
    lambda: token_cache.build(
      f'{tokens}/text',
      train_parts.rows_of(corpus, label),
      words,
      settings={k: settings[k] for k in ('files', 'fields', 'domains')},
      selection=tables.read_selection(selection) if selection else None,
      holdout_share=holdout_share,
      eval_rows=(
        open_documents(inputs=eval_inputs, task=None).rows()
        if eval_inputs
        else None
      ),
      spell=spell,
    ),
  )
  train_needs.check_domains(weighting, name, cache.domains)
  second = train_needs.read_reference(
    weighting, name, reference, start.network, words, devices, dtype
  )
  anchor_set = train_needs.read_anchors(
    weighting, name, anchors, open_documents, words, rows, rows_per_batch,
    tokens, spell,
  )  # fmt: skip
  train_needs.warn_shared(anchor_set, tokens, cache.train)
  batches = train_mixture.make_batches(
    shares,
    cache,
    words,
    rows,
    rows_per_batch=rows_per_batch,
    seed=seed,
    windowing=windowing,
    columns=train_needs.columns_of(column, cache.train),
  )
  weighting = train_needs.refresh_by_epochs(
    weighting, name, refresh_epochs, batches, rows_per_batch
  )
  train_parts.announce(
    start, frozen, cache, rows, steps, rows_per_batch * encoder_length, name
  )
  train_parts.announce_gradients(
    weighting, start, frozen, example_gradients, rows, rows_per_batch,
    accumulate, chunk_tokens,
  )  # fmt: skip
  state = loop.train(
    network=load.for_training(start),
    batches=batches,
    optimizer=train_parts.make_optimizer(optimizer, schedule_steps),
    weighting=weighting,
    settings=StepSettings(
      max_segments=max_segments,
      z_loss=z_loss,
      normaliser=normaliser,  # type: ignore[arg-type]
      reduction=reduction,  # type: ignore[arg-type]
      accumulate=accumulate,
      chunk_tokens=chunk_tokens,
      dropout_seed=dropout_seed,
      example_gradients=example_gradients,
      domain_losses=shares is not None and shares.online is not None,
    ),
    plan=Plan(steps, log_every, eval_every, checkpoint_every, max_checkpoints),
    output=output,
    seed=seed,
    params=None if frozen else start.params,
    frozen=frozen,
    anchors=anchor_set,
    reference=second,
    eval_batches=text.held_out_batches(
      cache.eval, cache.domains, words, rows, rows_per_batch
    ),
    domains=cache.domains,
    mesh=devices if devices.size > 1 else None,
  )
  if jax.process_index() == 0:
    train_finish.finish(
      output, state.params, frozen, start, settings, steps, cache, command,
      started, batches,
    )  # fmt: skip
