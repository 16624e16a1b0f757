"""JSON Lines files: metrics of a run, excerpts of a score folder."""

from collections.abc import Mapping, Sequence
import json
from typing import Any

from etils import epath
import numpy as np

from jaxcurate.io.errors import UserError


def read_lines(path: epath.Path) -> list[dict[str, Any]]:
  """The objects of a JSON Lines file.

  Args:
    path: the file.

  Raises:
    UserError: names the file and the first broken line.
  """
  found = []
  for row, line in enumerate(path.read_bytes().splitlines(), start=1):
    try:
      value = json.loads(line) if line.strip() else {}
    except ValueError as error:
      raise UserError(
        f'{path}:{row}: broken JSON ({error}); remove that line, or run the'
        ' command that wrote the file again'
      ) from error
    if not isinstance(value, dict):
      raise UserError(f'{path}:{row}: not a JSON object; remove that line')
    if value:
      found.append(value)
  return found


def columns(
  lines: Sequence[Mapping[str, Any]], required: str
) -> dict[str, np.ndarray]:
  """Lines that have `required`, as arrays ordered by step.

  A step that was logged again after a resume counts once, as logged last.

  Args:
    lines: objects of `metrics.jsonl`.
    required: a metric; lines without it, or without 'step', are left out.

  Returns:
    Metric -> float64 array over the kept lines, NaN where not logged.

  >>> columns([{'step': 2, 'loss': 1}, {'step': 1, 'loss': 3}], 'loss')['loss']
  array([3., 1.])
  """
  by_step = {
    line['step']: line for line in lines if required in line and 'step' in line
  }
  kept = [by_step[step] for step in sorted(by_step)]
  names = dict.fromkeys(name for line in kept for name in line)
  return {
    name: np.array([_float(line.get(name)) for line in kept]) for name in names
  }


def _float(value: Any) -> float:
  """A logged value as a float, NaN where it is none."""
  return float(value) if isinstance(value, int | float) else float('nan')
