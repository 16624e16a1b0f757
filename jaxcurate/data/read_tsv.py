r"""Tab-separated files as raw rows, with a header or as FLAN has them.

Cells are not quoted; `\n` in one stands for a line break, as in the chains of
thought of FLAN (google-research/FLAN, flan/v2/cot_data), whose files have no
header and the columns question, answer and rationale.
"""

from collections.abc import Iterator, Sequence

from jaxcurate.data import cells, conversations, streams
from jaxcurate.data.cells import Bad
from jaxcurate.data.rows import Fields, Plan, Raw

_FLAN = ('question', 'answer', 'rationale')


def read_tsv(
  path: str, fields: Fields, plan: Plan
) -> Iterator[tuple[int, Raw]]:
  """Wanted rows of a TSV file; the row number is the 0-based line number.

  The first line is a header where it names the text column or is made of
  columns that conversations have. Damage in a compressed file is one bad row,
  the last.
  """
  row, until, wanted, columns = -1, 0, False, None
  try:
    for row, line in enumerate(streams.lines(streams.chunks(path))):
      if not line or line.isspace():
        continue
      if columns is None:
        header = _header(line, fields)
        columns = header or _FLAN
        if header:
          continue
      if row >= until:
        wanted, until = plan(row)
      if wanted:
        yield row, _parse(line, columns)
  except streams.DamagedFile as damage:
    if plan(row + 1)[0]:
      yield row + 1, Bad(damage.reason, damage.detail)


def _header(line: bytes, fields: Fields) -> tuple[str, ...] | None:
  names = line.decode('utf-8', 'replace').removeprefix('\ufeff')
  columns = tuple(names.rstrip('\r').split('\t'))
  known = {*conversations.COLUMNS, fields.id, fields.domain}
  if fields.text in columns or known.issuperset(columns):
    return columns
  return None


def _parse(line: bytes, columns: Sequence[str]) -> Raw:
  try:
    values = line.decode('utf-8').removeprefix('\ufeff')
  except UnicodeDecodeError as error:
    return cells.invalid_utf8(error)
  row = values.rstrip('\r').replace('\\n', '\n').split('\t')
  if len(row) != len(columns):
    return Bad(
      'wrong number of columns',
      f'has {len(row)}, expected {len(columns)}: {", ".join(columns)}',
    )
  return dict(zip(columns, row, strict=True))
