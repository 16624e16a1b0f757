"""Asks a model the examples of tasks, and keeps every answer and its score.

A task's answers are `tasks/NAME.jsonl`, written when it is done, so that an
interrupted run goes on with the next task. Standard errors are those of a mean
over independent examples, as in lm-evaluation-harness.
"""

from collections.abc import Mapping, Sequence
import concurrent.futures
import json
import os
import pathlib
from typing import Any

from etils import epath
import numpy as np

from jaxcurate.evaluate.language_model import LanguageModel
from jaxcurate.evaluate.task import Continuation, Example, Generation, Task
from jaxcurate.io import atomic
from jaxcurate.io.errors import UserError

FOLDER = 'tasks'


def keep_rows(
  name: str, rows: Sequence[Mapping[str, Any]], output: epath.PathLike
) -> None:
  """Writes the rows of a task that `ask` returned."""
  # ASCII, so that a line is a line whatever a model writes.
  lines = [json.dumps(row) + '\n' for row in rows]
  atomic.write_text(_path(name, output), ''.join(lines))


def kept_rows(name: str, output: epath.PathLike) -> list[dict[str, Any]] | None:
  """What `keep_rows` wrote for a task, or None."""
  path = _path(name, output)
  if not path.exists():
    return None
  return [json.loads(line) for line in path.read_text().splitlines()]


def all_kept(output: epath.PathLike) -> dict[str, list[dict[str, Any]]]:
  """`kept_rows` of every task that a folder has, by name."""
  names = (path.stem for path in (epath.Path(output) / FOLDER).glob('*.jsonl'))
  return {name: kept_rows(name, output) or [] for name in sorted(names)}


def _path(name: str, output: epath.PathLike) -> epath.Path:
  return epath.Path(output) / FOLDER / f'{name}.jsonl'


def examples_of(
  name: str, task: Task, folder: pathlib.Path, limit: int | None = None
) -> list[Example]:
  """The examples of a task, or some of them.

  Args:
    name: of the task.
    task: to be read.
    folder: of the benchmark files.
    limit: at most so many, evenly spread; None for all.

  Raises:
    UserError: a file is missing, broken, or has other rows than expected.
  """
  try:
    examples = list(task.read(folder))
  except UserError:
    raise
  except (ValueError, LookupError, TypeError, AttributeError) as error:
    raise UserError(
      f'{name}: its files in {folder} have a row that is not as expected'
      f' ({error!r}); fetch them again'
    ) from error
  if not examples:
    raise UserError(f'{name}: its files in {folder} have no rows')
  if limit is None or limit >= len(examples):
    return examples
  return [examples[i * len(examples) // limit] for i in range(limit)]


def ask(
  name: str, task: Task, examples: Sequence[Example], model: LanguageModel
) -> list[dict[str, Any]]:
  """Asks all requests at once and scores every example.

  Args:
    name: of the task.
    task: for its score.
    examples: whose requests are asked.
    model: that is asked.

  Returns:
    'id', 'group', 'answers' ([log-probability, greedy] or text, one per
    request) and 'metrics' of each example.

  Raises:
    UserError: a log-probability is not finite, or the model reads too few
      tokens for an example.
  """
  requests = [one for example in examples for one in example.requests]
  to_score = [one for one in requests if isinstance(one, Continuation)]
  to_write = [one for one in requests if isinstance(one, Generation)]
  try:
    scored = iter(model.log_likelihoods(to_score) if to_score else ())
    written = iter(model.generate(to_write) if to_write else ())
  except ValueError as error:
    raise UserError(f'{name}: {error}, or leave the task out') from error
  answers = [
    [
      next(scored if isinstance(one, Continuation) else written)
      for one in example.requests
    ]
    for example in examples
  ]
  for example, given in zip(examples, answers, strict=True):
    if not all(isinstance(a, str) or np.isfinite(a.log_prob) for a in given):
      raise UserError(
        f'{name}: example {example.id} gets a log-probability that is not'
        ' finite; look into the weights of the model, or give --dtype=float32'
      )
  # Threads for the tasks that wait for processes of their own.
  with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    metrics = list(pool.map(task.score, examples, answers))
  return [
    {
      'id': example.id,
      'group': example.group,
      'answers': [one if isinstance(one, str) else list(one) for one in given],
      'metrics': dict(values),
    }
    for example, given, values in zip(examples, answers, metrics, strict=True)
  ]


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
  """Means over a task's examples, and over those of every group.

  Args:
    rows: of `ask`.

  Returns:
    'num_examples' and 'metrics': name -> {'mean', 'standard_error'}; 'groups'
    the same of each, where there are any.
  """
  found = _means(rows)
  groups = sorted({row['group'] for row in rows} - {''})
  if groups:
    found['groups'] = {
      group: _means([row for row in rows if row['group'] == group])
      for group in groups
    }
  return found


def _means(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
  names = list(rows[0]['metrics']) if rows else []
  metrics = {
    name: mean_and_error([row['metrics'][name] for row in rows])
    for name in names
  }
  return {'num_examples': len(rows), 'metrics': metrics}


def mean_and_error(values: Sequence[float]) -> dict[str, float | None]:
  """The mean, and its standard error: sample deviation / sqrt(number).

  >>> mean_and_error([0.0, 1.0])
  {'mean': 0.5, 'standard_error': 0.5}
  """
  error = None  # one example says nothing about the next
  if len(values) > 1:
    error = float(np.std(values, ddof=1) / np.sqrt(len(values)))
  return {'mean': float(np.mean(values)), 'standard_error': error}
