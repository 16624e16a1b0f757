"""Streams any corpus in fixed order and memory, in blocks that can be redone.

A block is a row range of one file, [k * block_rows, (k + 1) * block_rows), so
its content is a function of the file alone: not of what was done before, of
the number of shards, or of what was skipped. Whoever commits blocks can stop at
any moment and go on where it was; rows that are already committed are passed
over without decoding them.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
import dataclasses
import functools
from typing import NamedTuple

from jaxcurate.data import files, formats
from jaxcurate.data.files import File
from jaxcurate.data.formats import Source
from jaxcurate.data.rows import Bad, Fields, Raw, everything, to_row
from jaxcurate.io.errors import UserError
from jaxcurate.types import Document

__all__ = ['Block', 'Corpus', 'open_corpus']

# A corpus is split by file when every shard gets at least this many.
_FILES_PER_SHARD = 4


class Block(NamedTuple):
  """The unit of batching: consecutive raw rows of one file.

  Attributes:
    file: the file's name (relative to the glob's fixed root), as in ids.
    start: first raw row.
    end: after the last raw row, bad ones included.
    rows: the good rows.
    skipped: reason -> number of bad rows.
    last: no later block of this file comes from this iterator: once all that
      it yielded are committed, the file may be named in `finished`.
  """

  file: str
  start: int
  end: int
  rows: list[Document]
  skipped: dict[str, int]
  last: bool = False


@dataclasses.dataclass(frozen=True)
class Corpus:
  """Documents in a fixed order: by file name, then by row.

  It has methods because reading needs the sources and the settings together,
  and a task, a folder and a list of globs must look the same to the engine.

  Attributes:
    files: names and paths of all that is read.
    sources: how it is read, in order.
    fields: names of the columns.
    on_bad_row: 'stop' raises a UserError at the first bad row, 'skip' leaves
      bad rows out and counts them by reason.
  """

  files: tuple[File, ...]
  sources: tuple[Source, ...]
  fields: Fields
  on_bad_row: str = 'stop'

  def __post_init__(self):
    if self.on_bad_row not in ('stop', 'skip'):
      raise UserError(
        f"on_bad_row is {self.on_bad_row!r}, expected 'stop' or 'skip'"
      )

  def blocks(
    self,
    *,
    block_rows: int,
    shard: int = 0,
    num_shards: int = 1,
    done: Callable[[str, int], bool] = lambda file, start: False,
    finished: Collection[str] = (),
  ) -> Iterator[Block]:
    """Blocks of one shard; all shards together are the corpus exactly.

    Args:
      block_rows: raw rows per block, >= 1.
      shard: 0 <= shard < num_shards.
      num_shards: how many readers share the corpus: by file where there are at
        least four files per shard, else by block.
      done: (file, start) -> whether the block that starts there is committed.
        Its rows are then passed over, not decoded.
      finished: files of which nothing is left to do; they are not opened.

    Yields:
      Blocks in order.

    Raises:
      UserError: a bad row under on_bad_row='stop', after the blocks before it
        were yielded; an unreadable file; a corpus without a single row.
    """
    if block_rows < 1 or not 0 <= shard < num_shards:
      raise ValueError(f'{block_rows=}, {shard=}, {num_shards=}')
    by_file = len(self.sources) >= _FILES_PER_SHARD * num_shards
    found_rows = False
    for index, source in enumerate(self.sources):
      if by_file and index % num_shards != shard:
        continue
      if source.name in finished:
        found_rows = True
        continue

      def plan(
        row: int, source: Source = source, index: int = index
      ) -> tuple[bool, int]:
        nonlocal found_rows
        found_rows = True
        block = row // block_rows
        mine = by_file or (index + block) % num_shards == shard
        wanted = mine and not done(source.name, block * block_rows)
        return wanted, (block + 1) * block_rows

      yield from self._blocks_of(source, source.read(plan), block_rows)
    if not found_rows and not any(map(_has_rows, self.sources)):
      raise UserError(f'{self.description}: not a single row; check the input')

  def rows(self, *, shard: int = 0, num_shards: int = 1) -> Iterator[Document]:
    """Good rows of one shard, in order; see `blocks`."""
    for block in self.blocks(
      block_rows=1024, shard=shard, num_shards=num_shards
    ):
      yield from block.rows

  @property
  def description(self) -> str:
    """Names the corpus in messages."""
    more = ', ...' if len(self.files) > 2 else ''
    names = ', '.join(file.path for file in self.files[:2])
    return f'corpus of {len(self.files)} file(s) ({names}{more})'

  @functools.cached_property
  def vector_width(self) -> int | None:
    """Length of the first vector of the corpus, None when none is read."""
    if self.fields.vector is None:
      return None
    for source in self.sources:
      for row, raw in source.read(everything):
        found = self._check(source, row, raw, None)
        if isinstance(found, Document) and found.vector is not None:
          return len(found.vector)
    return None

  def _blocks_of(
    self, source: Source, raws: Iterator[tuple[int, Raw]], block_rows: int
  ) -> Iterator[Block]:
    block, places = None, {}
    for row, raw in _readable(source, raws):
      if block is None or row >= block.start + block_rows:
        if block is not None:
          yield block._replace(end=block.start + block_rows)
        start = row // block_rows * block_rows
        block, places = Block(source.name, start, start, [], {}), {}
      found = self._check(source, row, raw, self.vector_width)
      if isinstance(found, Document) and found.id in places:
        first = source.place(places[found.id])
        found = Bad('duplicate id', f'{found.id!r} is also the id of {first}')
      if isinstance(found, Document):
        places[found.id] = row
        block.rows.append(found)
      elif self.on_bad_row == 'skip':
        count = block.skipped.get(found.reason, 0)
        block.skipped[found.reason] = count + 1
      else:
        raise UserError(
          f'{source.place(row)}: {found.reason}: {found.detail}; repair the '
          'row, or leave such rows out and count them with --on_bad_row=skip'
        )
      block = block._replace(end=row + 1)
    if block is not None:
      yield block._replace(last=True)

  def _check(
    self, source: Source, row: int, raw: Raw, width: int | None
  ) -> Document | Bad:
    if isinstance(raw, Bad):
      return raw
    return to_row(raw, self.fields, source.row_id(row), width)


def open_corpus(
  patterns: Sequence[str],
  *,
  text_field: str = 'text',
  id_field: str = 'id',
  domain_field: str = 'domain',
  vector_field: str | None = None,
  on_bad_row: str = 'stop',
  format: str | None = None,
  turns: bool = False,
) -> Corpus:
  """A corpus of files: JSON, TSV, Parquet, text, TFRecord or TFDS folders.

  Args:
    patterns: globs, files, folders and fsspec URLs (gs://, s3://, hf://), each
      possibly a comma-separated list.
    text_field: column of the text.
    id_field: column of the id; rows without one are named
      `<path relative to the glob's fixed root>:<0-based row>`.
    domain_field: column of the domain; may be missing.
    vector_field: column of precomputed vectors, None when not needed.
    on_bad_row: 'stop' or 'skip'.
    format: one of `formats.FORMATS`; by extension where None.
    turns: whether conversations and instructions are read as such.

  Raises:
    UserError: nothing matches a pattern, or an extension is unknown.
  """
  found = files.find_files(
    patterns,
    lambda path: formats.fits(path, format),
  )
  fields = Fields(text_field, id_field, domain_field, vector_field, turns)
  sources = formats.sources_of(found, fields, format)
  return Corpus(tuple(found), tuple(sources), fields, on_bad_row)


def _readable(
  source: Source, raws: Iterator[tuple[int, Raw]]
) -> Iterator[tuple[int, Raw]]:
  """The rows; a disk or network that fails is named with the row."""
  row = -1
  try:
    for row, raw in raws:
      yield row, raw
  except OSError as error:
    raise UserError(
      f'{source.place(row + 1)}: cannot be read ({error.strerror or error});'
      ' check the file and the disk or network it lies on, then run the same'
      ' command again'
    ) from error


def _has_rows(source: Source) -> bool:
  return next(source.read(everything), None) is not None
