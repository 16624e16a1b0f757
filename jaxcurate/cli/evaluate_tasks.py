"""`jaxcurate evaluate --tasks=...`: a model on tasks in local files."""

from collections.abc import Sequence
import json
import pathlib
import time
from typing import Any

from etils import epath
import jax

from jaxcurate.evaluate import language_model, run_tasks
from jaxcurate.evaluate import tasks as tasks_lib
from jaxcurate.evaluate.task import Generation
from jaxcurate.io import atomic
from jaxcurate.io import manifest as manifests
from jaxcurate.io.errors import UserError
from jaxcurate.models import mesh as mesh_lib

RESULTS = 'results.json'


def run(
  *,
  tasks: Sequence[str],
  benchmarks: str | None,
  output: str,
  model: str | None,
  run_code: bool = False,
  vocabulary: str | None = None,
  max_length: int | None = None,
  limit: int | None = None,
  mesh: str | None = None,
  dtype: str | None = None,
  command: Sequence[str] = (),
) -> None:
  """Every answer to tasks/NAME.jsonl, all means to results.json.

  Tasks that this folder has already are not asked again; others may be added.

  Args:
    tasks: names, see `evaluate.tasks`.
    benchmarks: folder of the benchmark files.
    output: folder to write.
    model: checkpoint folder, 'judge' or 'hf:owner/name'.
    run_code: whether programs that the model writes may be run here.
    vocabulary: file or 'bytes'; None for the model's own.
    max_length: tokens that the model reads at a time; None for its own.
    limit: examples of each task, evenly spread; None for all.
    mesh: e.g. 'data=4,model=2'.
    dtype: of activations; None chooses by device.
    command: argv, for the manifest.

  Raises:
    UserError: whatever a user can put right.
  """
  if model is None:
    raise UserError('give --model: a checkpoint folder, e.g. OUTPUT/model')
  if benchmarks is None:
    raise UserError("give --benchmarks: the folder of the tasks' files")
  if limit is not None and limit < 1:
    raise UserError(f'limit is {limit}, expected at least 1')
  chosen = tasks_lib.chosen(tasks, run_code=run_code)
  started = time.monotonic()
  folder = pathlib.Path(benchmarks)
  examples = {
    name: run_tasks.examples_of(name, task, folder, limit)
    for name, task in chosen.items()
  }
  settings = {
    'model': model,
    'benchmarks': benchmarks,
    'vocabulary': vocabulary,
    'max_length': max_length,
    'limit': limit,
    'dtype': dtype,
  }
  rows = {name: run_tasks.kept_rows(name, output) for name in chosen}
  devices = mesh_lib.make_mesh(mesh)
  opened = None
  if None in rows.values():
    opened = language_model.open_model(
      model, devices, vocabulary=vocabulary, dtype=dtype, max_length=max_length
    )
  manifests.begin(output, 'evaluation', settings)
  asked = [
    one for some in examples.values() for e in some for one in e.requests
  ]
  to_write = sum(isinstance(one, Generation) for one in asked)
  print(
    f'{sum(map(len, examples.values())):,} examples:'
    f' {len(asked) - to_write:,} continuations to read, {to_write:,} answers'
    ' to write'
  )
  print(f'{"task":<16} {"examples":>8}  {"metric":<20} {"mean":>8} {"s.e.":>7}')
  for name, task in chosen.items():
    answered = rows[name]
    if answered is None:
      assert opened is not None
      answered = run_tasks.ask(name, task, examples[name], opened)
      run_tasks.keep_rows(name, answered, output)
    _show(name, run_tasks.summary(answered))
  found = {
    name: run_tasks.summary(rows)
    for name, rows in run_tasks.all_kept(output).items()
  }
  atomic.write_text(
    epath.Path(output) / RESULTS, json.dumps(found, indent=2) + '\n'
  )
  manifests.write_manifest(
    output,
    {
      'kind': 'evaluation',
      'command': list(command),
      'settings': settings,
      'inputs': [benchmarks],
      'num_rows': sum(result['num_examples'] for result in found.values()),
      'cost': {
        'seconds': time.monotonic() - started,
        'device': f'{jax.devices()[0].device_kind} x{devices.size}',
      },
      'diagnostics': {
        f'{name}/{metric}': value['mean']
        for name, result in found.items()
        for metric, value in result['metrics'].items()
      },
    },
  )


def _show(name: str, result: dict[str, Any]) -> None:
  for metric, value in result['metrics'].items():
    error = value['standard_error']
    print(
      f'{name:<16} {result["num_examples"]:>8}  {metric:<20}'
      f' {value["mean"]:>8.4f} {"" if error is None else f"{error:7.4f}":>7}',
      flush=True,
    )
