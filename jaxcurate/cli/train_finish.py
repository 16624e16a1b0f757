"""What `jaxcurate train` leaves behind: the model, a config and a manifest."""

from collections.abc import Callable, Sequence
import json
import pathlib
import tempfile
import time
from typing import Any

from etils import epath
import jax

from jaxcurate.cli import gin_files, train_mixture
from jaxcurate.data import token_cache, token_part
from jaxcurate.data.mixture_batches import MixtureBatches
from jaxcurate.data.training import TrainingBatches
from jaxcurate.io import atomic
from jaxcurate.io import manifest as manifests
from jaxcurate.models import load, lora
from jaxcurate.train import adapters
from jaxcurate.types import Params


def finish(
  output: str,
  params: Params,
  frozen: adapters.Frozen | None,
  start: load.LoadedModel,
  settings: dict[str, Any],
  steps: int,
  cache: token_cache.TokenCache,
  command: Sequence[str],
  started: float,
  batches: TrainingBatches | MixtureBatches,
) -> None:
  """Exports the model, writes config and manifest, prints what comes next.

  Args:
    output: folder of the run.
    params: as trained: of the network, or adapters.
    frozen: what they are adapters of, or None.
    start: the model before training.
    settings: of the run.
    steps: made in all.
    cache: what was trained on.
    command: argv.
    started: `time.monotonic` then.
    batches: after the last step.
  """
  folder = epath.Path(output)
  if frozen is not None:
    own, alpha = jax.device_get(params), frozen.settings.alpha
    base = str(settings['model'])
    if pathlib.Path(base).exists():
      base = str(pathlib.Path(base).absolute())
    _export(
      output,
      'adapters',
      lambda path: lora.write(path, own, start.config, alpha=alpha, base=base),
    )
    params = lora.merged(start.params, own, alpha)
  _export(
    output,
    'model',
    lambda path: load.export_huggingface(
      path, params, start.config, start.vocabulary
    ),
  )
  train_mixture.write_learnt(output, batches, settings, command)
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
      'skipped': {**cache.skipped, **train_mixture.left_out(batches)},
      'cost': {
        'flops': last['flops'],
        'seconds': time.monotonic() - started,
        'device': f'{devices[0].device_kind} x{len(devices)}',
      },
      'diagnostics': {
        'eval/loss': held_out[-1] if held_out else None,
        **train_mixture.outcome(batches),
      },
    },
  )
  print(
    f'{output}: step {steps}'
    + (f', held-out loss {held_out[-1]:.4f} nats per token' if held_out else '')
    + f'; weights in {output}/model'
    + (f', adapters alone in {output}/adapters' if frozen else '')
  )
  print(f'next: jaxcurate report --input={output} --output=report')


def _export(
  output: str, name: str, write: Callable[[pathlib.Path], None]
) -> None:
  """Has a local folder written, and copies it where the output is a URL."""
  if '://' not in output:
    write(pathlib.Path(output) / name)
    return
  with tempfile.TemporaryDirectory() as scratch:
    write(pathlib.Path(scratch))
    for file in pathlib.Path(scratch).iterdir():
      atomic.write_bytes(
        epath.Path(output) / name / file.name, file.read_bytes()
      )
