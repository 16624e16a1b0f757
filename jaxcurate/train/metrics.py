"""The log of a training run: metrics.jsonl and TensorBoard.

A resumed run drops the lines after the step it goes on from, so that the file
reads as that of an uninterrupted run, apart from the fields that tell time.
"""

from collections.abc import Iterator, Mapping
import json
import math
import os
import pathlib
from typing import Any

from jaxcurate.io import atomic
from jaxcurate.io.errors import UserError

NAME = 'metrics.jsonl'
TIMING = ('seconds', 'examples_per_second', 'tokens_per_second')


class MetricsWriter:
  """Appends lines to one run's log; a class because it owns open files."""

  def __init__(self, folder: str | os.PathLike, *, step: int):
    """Opens the log of a run that goes on after `step`.

    Args:
      folder: the run's folder, created if needed.
      step: steps already made; later lines are dropped.
    """
    # Imported late: it is needed by no other stage.
    from tensorboardX import SummaryWriter

    path = pathlib.Path(folder) / NAME
    kept = [
      line for line in read_metrics(path, partial=True) if line['step'] <= step
    ]
    atomic.write_text(path, ''.join(_encode(line) for line in kept))
    self._file = path.open('a', encoding='utf-8')
    self._board = SummaryWriter(
      str(path.parent / 'tensorboard'), purge_step=step + 1
    )

  def write(self, line: Mapping[str, Any]) -> None:
    """Appends one line.

    Args:
      line: 'step' and numbers; one that is not finite is written as null.
    """
    line = {
      name: value if math.isfinite(value) else None
      for name, value in line.items()
    }
    self._file.write(_encode(line))
    self._file.flush()
    for name, value in line.items():
      if name != 'step' and value is not None:
        self._board.add_scalar(name, value, line['step'])

  def sync(self) -> None:
    """Returns when all lines are on disk."""
    os.fsync(self._file.fileno())
    self._board.flush()

  def close(self) -> None:
    """Closes the files."""
    self._file.close()
    self._board.close()


def read_metrics(
  path: str | os.PathLike, *, partial: bool = False
) -> Iterator[dict[str, Any]]:
  """The lines of a metrics file; none when there is no file.

  Args:
    path: the file.
    partial: the last line may be cut short, as a killed run leaves it.

  Raises:
    UserError: a line is not JSON.
  """
  path = pathlib.Path(path)
  lines = path.read_text('utf-8').splitlines() if path.exists() else []
  for number, line in enumerate(lines, start=1):
    try:
      yield json.loads(line)
    except json.JSONDecodeError as error:
      if partial and number == len(lines):
        return
      raise UserError(
        f'{path}: line {number} is not JSON; remove the line'
      ) from error


def _encode(line: Mapping[str, Any]) -> str:
  return json.dumps(line, allow_nan=False) + '\n'
