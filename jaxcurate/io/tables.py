"""Score tables and selections as Parquet, joined by id.

A table is a folder of Parquet files and a manifest; the order of files and
rows means nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath
import ml_dtypes
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jaxcurate.io import atomic
from jaxcurate.io import manifest as manifests
from jaxcurate.io.errors import UserError
from jaxcurate.types import ScoreTable, Selection

_KEYS = ('id', 'domain', 'num_tokens')


def write_table(
  path: epath.PathLike,
  columns: Mapping[str, Any],
  metadata: Mapping[str, str] | None = None,
) -> None:
  """Writes one Parquet file atomically.

  Args:
    path: the file.
    columns: name -> NumPy or Arrow array; NaN in a float column is stored as
      null; a [N, D] array becomes a fixed-size list column, one of bfloat16
      (which Parquet lacks) a column of 2 * D bytes.
    metadata: schema metadata, kept with the file.
  """
  arrays = {name: _to_arrow(column) for name, column in columns.items()}
  table = pa.table(arrays).replace_schema_metadata(dict(metadata or {}))
  atomic.write_with(path, lambda file: pq.write_table(table, file))


def _to_arrow(column: Any) -> pa.Array | pa.ChunkedArray:
  """One Arrow column; see `write_table`."""
  if isinstance(column, pa.Array | pa.ChunkedArray):
    return column
  column = np.asarray(column)
  if column.ndim == 2 and column.dtype == ml_dtypes.bfloat16:
    raw = pa.py_buffer(np.ascontiguousarray(column).view(np.uint8))
    width = column.shape[1] * column.dtype.itemsize
    return pa.Array.from_buffers(pa.binary(width), len(column), [None, raw])
  if column.ndim == 2:
    flat = pa.array(np.ascontiguousarray(column).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, column.shape[1])
  if column.dtype == object:
    return pa.array(column, type=pa.string())
  return pa.array(column, from_pandas=column.dtype.kind == 'f')


def read_parquet(
  path: epath.PathLike, columns: Sequence[str] | None = None
) -> pa.Table:
  """One Parquet file; a broken one is named.

  Args:
    path: the file.
    columns: names to read, or None for all.

  Raises:
    UserError: the file is missing, not Parquet, or lacks a column.
  """
  try:
    with epath.Path(path).open('rb') as file:
      parquet = pq.ParquetFile(file)
      names = parquet.schema_arrow.names
      missing = [name for name in columns or () if name not in names]
      if missing:
        raise UserError(
          f'{path}: no column {missing[0]!r}; it has {", ".join(names)}'
        )
      return parquet.read(columns=list(columns) if columns else None)
  except (pa.ArrowInvalid, OSError) as error:
    raise UserError(
      f'{path}: cannot be read as Parquet ({error}); remove it and run the'
      ' command that wrote it again'
    ) from error


def _part_files(folder: epath.PathLike) -> list[epath.Path]:
  """The folder's Parquet files in name order."""
  files = sorted(epath.Path(folder).glob('*.parquet'))
  if not files:
    raise UserError(
      f'{folder}: no Parquet file there; give a folder that'
      ' `jaxcurate score` or `jaxcurate sample` wrote'
    )
  return files


def _strings(table: pa.Table, name: str) -> np.ndarray:
  """A string column as an object array, null as None."""
  return table.column(name).to_numpy(zero_copy_only=False).astype(object)


def read_score_table(
  folders: Sequence[str], columns: Sequence[str] | None = None
) -> tuple[ScoreTable, dict[str, int]]:
  """One table from one or several score folders, joined by id.

  Args:
    folders: score folders; their columns are put side by side.
    columns: score columns to read; None for all.

  Returns:
    The table, holding the ids that every folder has, in the first folder's
    order, and folder -> number of its ids that were left out.

  Raises:
    UserError: a folder is no score table, a column is missing everywhere or
      in two folders, an id occurs twice, or no id is common to all.
  """
  found, wanted = [], set(columns or ())
  for folder in folders:
    content = manifests.read_manifest(folder, 'scores')
    units = {
      name: unit
      for name, unit in content['columns'].items()
      if columns is None or name in wanted
    }
    found.append((folder, units, _read_columns(folder, list(units))))
  names = [name for _, units, _ in found for name in units]
  for name in names:
    if names.count(name) > 1:
      raise UserError(f'column {name!r} is in several of {", ".join(folders)}')
  for name in columns or ():
    if name not in names:
      known = sorted(
        known
        for folder in folders
        for known in manifests.read_manifest(folder, 'scores')['columns']
      )
      raise UserError(
        f'no score column {name!r} in {", ".join(folders)}; they have'
        f' {", ".join(known)}'
      )
  return _join(found)


def _read_columns(folder: str, names: list[str]) -> dict[str, np.ndarray]:
  """Keys and score columns of one folder, files in name order."""
  parts = [read_parquet(path, [*_KEYS, *names]) for path in _part_files(folder)]
  table = pa.concat_tables(parts)
  scores = {
    name: table.column(name).to_numpy().astype(np.float32) for name in names
  }
  return {
    'id': _strings(table, 'id'),
    'domain': _strings(table, 'domain'),
    'num_tokens': table.column('num_tokens').to_numpy().astype(np.int32),
    **scores,
  }


def _join(
  found: list[tuple[str, dict[str, str], dict[str, np.ndarray]]],
) -> tuple[ScoreTable, dict[str, int]]:
  """Inner join of the folders' columns on id."""
  left_out = {folder: 0 for folder, _, _ in found}
  for folder, _, table in found:
    _refuse_repeated(folder, table['id'])
  first = found[0][2]['id']
  common = set(first)
  for _, _, table in found[1:]:
    common &= set(table['id'])
  if not common:
    raise UserError(
      f'no id is common to {", ".join(left_out)}; were they made from the'
      ' same corpus?'
    )
  kept = np.array([i in common for i in first])
  order = {id_: row for row, id_ in enumerate(first[kept])}
  scores, units = {}, {}
  for folder, own_units, table in found:
    rows = np.empty(len(common), np.int64)
    for row, id_ in enumerate(table['id']):
      if id_ in common:
        rows[order[id_]] = row
    left_out[folder] = len(table['id']) - len(common)
    scores |= {name: table[name][rows] for name in own_units}
    units |= own_units
  table = ScoreTable(
    id=first[kept],
    domain=found[0][2]['domain'][kept],
    num_tokens=found[0][2]['num_tokens'][kept],
    scores=scores,
    units=units,
  )
  return table, left_out


def _refuse_repeated(folder: str, ids: np.ndarray) -> None:
  """Raises when an id occurs twice."""
  seen = set(ids)
  if len(seen) < len(ids):
    for id_ in ids:
      if id_ not in seen:
        raise UserError(
          f'{folder}: id {id_!r} occurs more than once; ids must be unique'
        )
      seen.remove(id_)


def write_selection(
  folder: epath.PathLike, selection: Selection, content: Mapping[str, Any]
) -> None:
  """Writes a Selection's Parquet file, then its manifest.

  Args:
    folder: the output folder.
    selection: what to write.
    content: manifest fields besides kind, design and num_rows.
  """
  path = epath.Path(folder) / 'selection.parquet'
  write_table(
    path,
    {
      'id': selection.id,
      'count': selection.count.astype(np.int32),
      'expected_count': selection.expected_count.astype(np.float64),
    },
  )
  manifests.write_manifest(
    folder,
    {
      'kind': 'selection',
      'design': selection.design,
      'num_rows': len(selection.id),
      **content,
    },
  )


def read_selection(folder: epath.PathLike) -> Selection:
  """The Selection in a folder.

  Raises:
    UserError: the folder is no Selection.
  """
  content = manifests.read_manifest(folder, 'selection')
  table = pa.concat_tables([read_parquet(path) for path in _part_files(folder)])
  return Selection(
    id=_strings(table, 'id'),
    count=table.column('count').to_numpy(),
    expected_count=table.column('expected_count').to_numpy(),
    design=content.get('design', 'random'),
  )
