"""Files that are one JSON array of rows; they are read whole."""

from collections.abc import Iterator
import itertools
import json

from jaxcurate.data import cells, read_text, streams
from jaxcurate.data.cells import Bad
from jaxcurate.data.rows import Plan, Raw

_BOM = b'\xef\xbb\xbf'


def read_json(path: str, plan: Plan) -> Iterator[tuple[int, Raw]]:
  """Wanted rows of an array, or of JSON Lines under the same extension.

  Row i is the i-th element. A file that does not decode is one bad row.
  """
  content = streams.chunks(path)
  try:
    first = next(content, b'')
    while first and first.removeprefix(_BOM).isspace():
      first = next(content, b'')
  except streams.DamagedFile as damage:
    if plan(0)[0]:
      yield 0, Bad(damage.reason, damage.detail)
    return
  whole = itertools.chain((first,), content)
  if not first.removeprefix(_BOM).lstrip().startswith(b'['):
    yield from read_text.parse_lines(whole, plan)
    return
  try:
    array = json.loads(b''.join(whole).decode('utf-8').removeprefix('\ufeff'))
  except streams.DamagedFile as damage:
    array = [Bad(damage.reason, damage.detail)]
  except UnicodeDecodeError as error:
    array = [cells.invalid_utf8(error)]
  except RecursionError:
    array = [Bad('broken JSON', 'nested too deeply')]
  except ValueError as error:
    array = [Bad('broken JSON', str(error))]
  row, until, wanted = 0, 0, False
  for row, value in enumerate(array):
    if row >= until:
      wanted, until = plan(row)
    if wanted:
      yield row, read_text.row_of(value)
