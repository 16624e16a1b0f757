"""The pieces of `jaxcurate train`: where it starts, and what it says then."""

from collections.abc import Callable, Iterable, Mapping
import dataclasses
import hashlib
import pathlib

import jax
import numpy as np

from jaxcurate.data import (
  domain_labels,
  readers,
  row_shape,
  spoken_rows,
  token_cache,
  token_part,
)
from jaxcurate.data import vocabulary as vocabularies
from jaxcurate.data.token_builder import Spell
from jaxcurate.io.errors import UserError
from jaxcurate.models import load
from jaxcurate.train import adapters, gradient_bytes, optimizers
from jaxcurate.train.gradient_settings import GradientSettings
from jaxcurate.types import Document, Network, Params, Vocabulary, Weighting

_CHOICES = {
  'windowing': ('document', 'concat'),
  'normaliser': ('targets', 'weights'),
  'reduction': ('tokens', 'examples'),
}


def make_weighting(make: Callable[..., Weighting], name: str) -> Weighting:
  """The weighting; a setting it refuses is the user's to change."""
  try:
    return make()
  except ValueError as error:
    raise UserError(f'{name}: {error}') from error


def check_choices(windowing: str, normaliser: str, reduction: str) -> None:
  """Raises a UserError where one of them is no known word."""
  given = (windowing, normaliser, reduction)
  for (name, known), value in zip(_CHOICES.items(), given, strict=True):
    if value not in known:
      raise UserError(
        f'{name} is {value!r}, expected {" or ".join(map(repr, known))}'
        f' (--gin.train.run.{name}=...)'
      )


def make_optimizer(
  make: Callable[..., optimizers.Optimizer], schedule_steps: int | None
) -> optimizers.Optimizer:
  """The optimizer, its schedule's end from the flag where given."""
  if schedule_steps is None:
    return make()
  return make(schedule_steps=schedule_steps)


def start_from(
  network: load.Config | None,
  model: str | None,
  vocabulary: str | None,
  dtype: str,
) -> load.LoadedModel:
  """Where training starts: a checkpoint, or a network without parameters."""
  if vocabulary is not None:
    vocabulary = vocabularies.find(vocabulary)  # the file, which is exported
  if model is not None:
    loaded = load.load(model, dtype=dtype)
    return loaded._replace(vocabulary=vocabulary or loaded.vocabulary)
  if network is None:
    raise UserError(
      'give --model: a Gin file such as models/tiny.gin to train from scratch,'
      ' or a checkpoint folder'
    )
  config = dataclasses.replace(network, dtype=dtype)
  words = vocabulary or str(load.judge_folder() / 'spiece.model')
  return load.LoadedModel(load.make_network(config), None, config, words)


def frozen_base(
  lora: adapters.LoraSettings | None,
  start: load.LoadedModel,
  dropout_seed: int | None,
) -> adapters.Frozen | None:
  """What adapters are attached to, where adapters are trained.

  Raises:
    UserError: there is nothing to adapt, or a setting is out of its range.
  """
  if lora is None:
    return None
  if start.params is None:
    raise UserError(
      'LoRA adapts a trained model: give --model=CHECKPOINT, or drop lora'
    )
  if lora.dropout_rate and dropout_seed is None:
    raise UserError(
      f'LoRA has dropout_rate {lora.dropout_rate}, and the step no dropout;'
      ' give --gin.train.run.dropout_seed=0 as well'
    )
  try:
    adapters.bind(start.network, start.params, lora)
  except ValueError as error:
    raise UserError(f'lora: {error}') from error
  return adapters.Frozen(start.params, lora)


def read_labels(path: str | None, field: str) -> dict[str, str] | None:
  """Id -> domain of --domains, None where the rows have their own."""
  return None if path is None else domain_labels.read_domains(path, field)


def rows_of(
  corpus: readers.Corpus, label: Mapping[str, str] | None
) -> Iterable[Document]:
  """The corpus, with the domains of `read_labels` where there are any."""
  if label is None:
    return corpus.rows()
  return domain_labels.relabel(corpus.rows(), label)


def spell_of(
  turns: bool, words: Vocabulary, network: Network, on_bad_row: str
) -> Spell | None:
  """How conversations become tokens; None where rows are plain text."""
  if not turns:
    return None
  return spoken_rows.make_spell(
    words,
    causal=network.encode is None,
    skip_refused=on_bad_row == 'skip',
  )


def announce(
  start: load.LoadedModel,
  frozen: adapters.Frozen | None,
  cache: token_cache.TokenCache,
  rows: row_shape.RowSettings,
  steps: int,
  tokens_per_step: int,
  weighting: str,
) -> None:
  """Prints what is trained, on what, and what it will cost."""
  network, key = start.network, jax.random.key(0)
  num_params = _size(jax.eval_shape(network.init, key))
  trained, per_token = f'{num_params / 1e6:.1f} M parameters', 6.0
  if frozen is not None:
    bound = adapters.bind(network, frozen.params, frozen.settings)
    size = _size(jax.eval_shape(bound.init, key))
    trained = f'{size / 1e6:.2g} M parameters of LoRA on {trained}'
    per_token = 4.0  # no gradient of the frozen ones
  said = ''
  if len(cache.train.spoken):
    said = f', {np.count_nonzero(cache.train.spoken):,} of answers'
  print(
    f'training {trained} for {steps} steps of {tokens_per_step:,} tokens,'
    f' weighting {weighting}, on {token_part.num_documents(cache.train):,}'
    f' documents ({len(cache.train.tokens):,} tokens{said}),'
    f' {token_part.num_documents(cache.eval):,} held out; about'
    f' {per_token * num_params * tokens_per_step * steps:.2g} floating-point'
    ' operations',
    flush=True,
  )
  share = 0.0
  if len(cache.train.spoken):
    share = spoken_rows.unreached_share(cache.train, rows)
  if share:
    print(
      f'{share:.1%} of the conversations have no answer within'
      f' {rows.decoder_length} tokens and are left out: see'
      ' train.run.encoder_length',
      flush=True,
    )


def announce_gradients(
  weighting: Weighting,
  start: load.LoadedModel,
  frozen: adapters.Frozen | None,
  settings: GradientSettings,
  rows: row_shape.RowSettings,
  rows_per_batch: int,
  accumulate: int,
  chunk_tokens: int | None,
) -> None:
  """Prints what either way to the examples' gradients plans to hold."""
  settings.check()
  if 'gradients' not in weighting.needs:
    return
  network = load.for_training(start)
  if frozen is not None:
    network = adapters.bind(network, frozen.params, frozen.settings)
  lengths = {'decoder': rows.decoder_length, 'encoder': rows.encoder_length}
  batch = {
    f'{side}_{name}': jax.ShapeDtypeStruct((rows_per_batch, length), np.int32)
    for side, length in lengths.items()
    if length
    for name in ('input_tokens', 'target_tokens', 'segment_ids')
  }
  planned = gradient_bytes.planned_bytes(
    network,
    jax.eval_shape(network.init, jax.random.key(0)),
    batch,
    max_segments=rows.max_segments,
    accumulate=accumulate,
    chunk_tokens=chunk_tokens,
  )
  way = planned.choice() if settings.way == 'auto' else settings.way
  print(
    f'gradients of examples by {way} (planned: {planned};'
    ' --gin.gradient_settings.GradientSettings.way=...)',
    flush=True,
  )


def _size(shapes: Params) -> int:
  return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(shapes))


def cache_folder(output: str) -> str:
  """Where the tokens of a run are: with its output, or on the local disk."""
  if '://' not in output:
    return f'{output}/cache'
  name = hashlib.blake2b(output.encode(), digest_size=8).hexdigest()
  return str(pathlib.Path('~/.cache/jaxcurate/tokens').expanduser() / name)
