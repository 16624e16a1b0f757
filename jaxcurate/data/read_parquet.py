"""Parquet files as raw rows; row groups that are not wanted are not read."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jaxcurate.data import cells, conversations, streams
from jaxcurate.data.cells import Bad
from jaxcurate.data.rows import Fields, Plan, Raw

_BATCH_ROWS = 1024


def read_parquet(
  path: str, fields: Fields, plan: Plan
) -> Iterator[tuple[int, Raw]]:
  """Wanted rows of a Parquet file, only the columns that are asked for.

  Text arrives as bytes, so that invalid UTF-8 is a bad row like any other.
  """
  with streams.open_binary(path) as handle:
    try:
      file = pq.ParquetFile(handle)
    except (pa.ArrowException, OSError) as error:
      if plan(0)[0]:
        yield 0, _damage(error)
      return
    present = file.schema_arrow.names
    asked = [fields.text, fields.id, fields.domain, fields.vector]
    if fields.turns:
      asked += conversations.COLUMNS
    columns = [name for name in dict.fromkeys(asked) if name in present]
    row = 0
    for group in range(file.num_row_groups):
      end = row + file.metadata.row_group(group).num_rows
      if not _wants_any(plan, row, end):
        pass
      elif not columns or (fields.text not in present and not fields.turns):
        nothing = dict.fromkeys(present)  # names what there is instead
        yield from ((i, nothing) for i in range(row, end) if plan(i)[0])
      else:
        try:
          for batch in file.iter_batches(_BATCH_ROWS, [group], columns):
            yield from _batch_rows(batch, row, plan)
            row += batch.num_rows
        except (pa.ArrowException, OSError) as error:
          if plan(row)[0]:
            yield row, _damage(error)
          return
      row = end


def _damage(error: Exception) -> Bad:
  """A file that does not decode; trouble of network or disk stays an error."""
  if isinstance(error, OSError) and error.errno is not None:
    raise error
  return Bad('corrupt', str(error).splitlines()[0])


def _batch_rows(
  batch: pa.RecordBatch, start: int, plan: Plan
) -> Iterator[tuple[int, Raw]]:
  row, end = start, start + batch.num_rows
  while row < end:
    wanted, until = plan(row)
    until = min(until, end)
    if wanted:
      part = batch.slice(row - start, until - row)
      values = [_values(part.column(name)) for name in part.schema.names]
      for offset, found in enumerate(zip(*values, strict=True)):
        bad = next((value for value in found if isinstance(value, Bad)), None)
        raw = bad or dict(zip(part.schema.names, found, strict=True))
        yield row + offset, raw
    row = until


def _wants_any(plan: Plan, row: int, end: int) -> bool:
  wanted = False
  while row < end and not wanted:
    wanted, row = plan(row)
  return wanted


def _values(column: pa.Array) -> list[Any]:
  if pa.types.is_dictionary(column.type):
    column = column.dictionary_decode()
  kind = column.type
  if (
    pa.types.is_string(kind)
    or pa.types.is_large_string(kind)
    or pa.types.is_string_view(kind)
  ):
    return column.cast(pa.large_binary()).to_pylist()
  if hasattr(kind, 'value_type') and pa.types.is_floating(kind.value_type):
    return [
      cell.values.to_numpy(zero_copy_only=False) if cell.is_valid else None
      for cell in column
    ]
  try:
    return column.to_pylist()
  except UnicodeDecodeError:  # in the turns of a conversation
    return [_value(cell) for cell in column]


def _value(cell: pa.Scalar) -> Any:
  try:
    return cell.as_py()
  except UnicodeDecodeError as error:
    return cells.invalid_utf8(error)
