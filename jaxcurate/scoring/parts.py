"""Committed chunks of a score table: what is done, and nothing else.

A chunk is a row range of one input file and its name a function of that
alone, so committing it again overwrites it. The files themselves are the only
record of progress: there is no log that could disagree with them.
"""

from collections.abc import Mapping
import hashlib
import itertools
import json
from types import MappingProxyType
from typing import Any, NamedTuple

from etils import epath
import pyarrow.parquet as pq

from jaxcurate.io import tables
from jaxcurate.io.errors import UserError

_KEY = b'jaxcurate_part'


class Part(NamedTuple):
  """One committed chunk: rows [start, end) of an input file.

  Attributes:
    file: the input file's name within the corpus.
    start, end: raw row range, skipped rows included.
    last: whether the file ends here.
    skipped: reason -> number of rows.
    num_rows: rows in the Parquet file.
    tokens, slots: real tokens and token slots of the device batches.
    flops: pass -> floating-point operations.
    flops_of_all: the same had every document been read, where some were not.
    anchors: how many documents are also in the anchors, by 'id', by 'text'
      and by 'either'.
    seconds: from the chunk before it.
  """

  file: str
  start: int
  end: int
  last: bool
  skipped: dict[str, int]
  num_rows: int = 0
  tokens: int = 0
  slots: int = 0
  flops: Mapping[str, float] = MappingProxyType({})
  flops_of_all: Mapping[str, float] = MappingProxyType({})
  anchors: Mapping[str, int] = MappingProxyType({})
  seconds: float = 0.0

  @property
  def name(self) -> str:
    """File name of the chunk."""
    digest = hashlib.blake2b(self.file.encode(), digest_size=6).hexdigest()
    return f'part-{digest}-{self.start:012d}-{self.end:012d}.parquet'


def commit(
  folder: epath.PathLike, part: Part, columns: Mapping[str, Any]
) -> None:
  """Writes a chunk atomically, its `Part` inside the file's metadata."""
  fields = {
    name: dict(value) if isinstance(value, Mapping) else value
    for name, value in part._asdict().items()
  }
  tables.write_table(
    epath.Path(folder) / part.name, columns, {_KEY.decode(): json.dumps(fields)}
  )


def committed(folder: epath.PathLike) -> list[Part]:
  """All chunks in a folder, sorted by file and row.

  Raises:
    UserError: a Parquet file there is broken or not ours, or two chunks
      overlap.
  """
  found = []
  for path in epath.Path(folder).glob('part-*.parquet'):
    try:
      with path.open('rb') as file:
        metadata = pq.read_schema(file).metadata or {}
      found.append(Part(**json.loads(metadata[_KEY])))
    except (OSError, KeyError, ValueError, TypeError) as error:
      raise UserError(
        f'{path}: not a chunk of a score table ({error}); remove it and run'
        ' the same command again'
      ) from error
  found.sort(key=lambda part: (part.file, part.start))
  for before, after in itertools.pairwise(found):
    if before.file == after.file and after.start < before.end:
      raise UserError(
        f'{folder}: rows {after.start} to {before.end} of {after.file} were'
        ' committed twice; remove the folder and start again'
      )
  return found


class Done:
  """Which rows of which file are committed; what a reader may skip.

  A class because it is asked once per block and indexes the parts by file.
  """

  def __init__(self, parts: list[Part]):
    self._ranges: dict[str, list[tuple[int, int, bool]]] = {}
    for part in parts:
      span = (part.start, part.end, part.last)
      self._ranges.setdefault(part.file, []).append(span)

  def __call__(self, file: str, start: int) -> bool:
    """Whether the block of `file` that begins at row `start` is committed."""
    ranges = self._ranges.get(file, [])
    return any(begin <= start < end for begin, end, _ in ranges)

  def finished(self) -> list[str]:
    """Files of which every row is committed."""
    names = []
    for file, ranges in self._ranges.items():
      end = 0
      for begin, stop, last in sorted(ranges):
        if begin > end:
          break
        end = stop
        if last:
          names.append(file)
    return names
