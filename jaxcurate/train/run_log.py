"""A log of finished runs, a JSON object a line, that a killed process keeps."""

from collections.abc import Sequence
import json
import os
import pathlib
from typing import Any

from jaxcurate.io.errors import UserError


def read_log(path: pathlib.Path) -> dict[str, dict[str, Any]]:
  """The finished proxies by key; a line that was cut off does not count.

  Raises:
    UserError: a line that is whole is broken.
  """
  if not path.exists():
    return {}
  whole, _, _ = path.read_text().rpartition('\n')
  found = {}
  for number, text in enumerate(whole.splitlines(), start=1):
    try:
      line = json.loads(text)
      found[line['key']] = line
    except (ValueError, KeyError, TypeError) as error:
      raise UserError(
        f'{path}: line {number} is no finished proxy ({error}); delete the'
        ' line, and that proxy is trained again'
      ) from error
  return found


def flops_of(path: pathlib.Path) -> float:
  """Operations of all that a log says is finished."""
  return float(sum(line['flops'] for line in read_log(path).values()))


def append_log(path: pathlib.Path, lines: Sequence[dict[str, Any]]) -> None:
  """Adds finished proxies, on disk when this returns."""
  whole = path.read_text().rpartition('\n') if path.exists() else ('', '', '')
  if whole[2]:  # a line that was cut off
    path.write_text(whole[0] + '\n' if whole[0] else '')
  with path.open('a', encoding='utf-8') as file:
    file.write(''.join(json.dumps(line) + '\n' for line in lines))
    file.flush()
    os.fsync(file.fileno())
