"""JSON Lines and plain text files as raw rows."""

from collections.abc import Iterable, Iterator, Sequence
import json
from typing import Any

from jaxcurate.data import cells, streams
from jaxcurate.data.cells import Bad
from jaxcurate.data.rows import Plan, Raw
from jaxcurate.io.errors import UserError


def read_jsonl(path: str, plan: Plan) -> Iterator[tuple[int, Raw]]:
  """Wanted rows of a JSON Lines file; unwanted lines are only counted.

  The row number is the 0-based line number; blank lines are no rows. Damage
  in a compressed file is one bad row, the last.
  """
  yield from parse_lines(streams.chunks(path), plan)


def parse_lines(
  content: Iterable[bytes], plan: Plan
) -> Iterator[tuple[int, Raw]]:
  """`read_jsonl` of a file's content, in chunks."""
  row, until, wanted = -1, 0, False
  try:
    for row, line in enumerate(streams.lines(content)):
      if not line or line.isspace():
        continue
      if row >= until:
        wanted, until = plan(row)
      if wanted:
        yield row, parse_json(line)
  except streams.DamagedFile as damage:
    if plan(row + 1)[0]:
      yield row + 1, Bad(damage.reason, damage.detail)


def read_documents(
  paths: Sequence[str], text_field: str, plan: Plan
) -> Iterator[tuple[int, Raw]]:
  """Whole files as documents: row i is the i-th path."""
  for row, path in enumerate(paths):
    if not plan(row)[0]:
      continue
    try:
      content = b''.join(streams.chunks(path))
      yield row, {text_field: content.removeprefix(b'\xef\xbb\xbf')}
    except streams.DamagedFile as damage:
      yield row, Bad(damage.reason, damage.detail)
    except UserError as error:
      yield row, Bad('unreadable', str(error))


def parse_json(line: bytes) -> Raw:
  """The object in one line, or why there is none.

  >>> parse_json(b'{"text": "a"}')
  {'text': 'a'}
  >>> parse_json(b'[1]').reason
  'row not an object'
  """
  if b'\0' in line:
    return Bad('NUL byte', f'at byte {line.index(0)} of the line')
  try:
    value = json.loads(line.decode('utf-8').removeprefix('\ufeff'))
  except UnicodeDecodeError as error:
    return cells.invalid_utf8(error)
  except RecursionError:
    return Bad('broken JSON', 'nested too deeply')
  except ValueError as error:
    return Bad('broken JSON', f'{error}{_array_hint(line)}')
  return row_of(value, _array_hint(line))


def row_of(value: Any, hint: str = '') -> Raw:
  """A parsed JSON value as a row.

  Args:
    value: parsed, or already `Bad`.
    hint: what to do if it is no row.
  """
  if isinstance(value, (dict, Bad)):
    return value
  return Bad('row not an object', f'it is a {type(value).__name__}{hint}')


def _array_hint(line: bytes) -> str:
  if not line.lstrip().startswith(b'['):
    return ''
  return '; a file that is one array is read by --format=json'
