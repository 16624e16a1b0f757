"""The pieces of `jaxcurate train`: where it starts and how it ends."""

from collections.abc import Callable, Sequence
import dataclasses
import hashlib
import json
import pathlib
import tempfile
import time
from typing import Any

from etils import epath
import jax

from jaxcurate.cli import gin_files
from jaxcurate.data import token_cache, token_part
from jaxcurate.data import vocabulary as vocabularies
from jaxcurate.io import atomic
from jaxcurate.io import manifest as manifests
from jaxcurate.io.errors import UserError
from jaxcurate.models import load
from jaxcurate.train import optimizers
from jaxcurate.types import Weighting

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


def cache_folder(output: str) -> str:
  """Where the tokens of a run are: with its output, or on the local disk."""
  if '://' not in output:
    return f'{output}/cache'
  name = hashlib.blake2b(output.encode(), digest_size=8).hexdigest()
  return str(pathlib.Path('~/.cache/jaxcurate/tokens').expanduser() / name)


def finish(
  output: str,
  state: Any,
  start: load.LoadedModel,
  settings: dict[str, Any],
  steps: int,
  cache: token_cache.TokenCache,
  command: Sequence[str],
  started: float,
) -> None:
  """Exports the model, writes config and manifest, prints what comes next."""
  folder = epath.Path(output)
  exported = (state.params, start.config, start.vocabulary)
  if '://' in output:
    with tempfile.TemporaryDirectory() as scratch:
      load.export_huggingface(scratch, *exported)
      for file in pathlib.Path(scratch).iterdir():
        atomic.write_bytes(folder / 'model' / file.name, file.read_bytes())
  else:
    load.export_huggingface(pathlib.Path(output) / 'model', *exported)
  atomic.write_text(folder / 'config.gin', gin_files.resolved())
  lines = (folder / 'metrics.jsonl').read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  last = next(row for row in reversed(rows) if 'flops' in row)
  held_out = [row['eval/loss'] for row in rows if 'eval/loss' in row]
  devices = jax.devices()
  manifests.write_manifest(
    folder,
    {
      'kind': 'training',
      'command': list(command),
      'settings': settings,
      'inputs': settings['files'],
      'steps': steps,
      'num_rows': token_part.num_documents(cache.train),
      'skipped': dict(cache.skipped),
      'cost': {
        'flops': last['flops'],
        'seconds': time.monotonic() - started,
        'device': f'{devices[0].device_kind} x{len(devices)}',
      },
      'diagnostics': {'eval/loss': held_out[-1] if held_out else None},
    },
  )
  print(
    f'{output}: step {steps}'
    + (f', held-out loss {held_out[-1]:.4f} nats per token' if held_out else '')
    + f'; weights in {output}/model'
  )
  print(f'next: jaxcurate report --input={output} --output=report')
