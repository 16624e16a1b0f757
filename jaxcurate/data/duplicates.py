"""Finds ids that occur in two rows of a corpus of any size.

Every committed piece writes a run: the sorted 128-bit hashes of its ids. The
runs are then merged range by range of the hash, so that memory is bounded
however many there are. Within a block the reader itself refuses a duplicate
(or drops the later row under on_bad_row='skip'); across blocks it is always an
error, because rows may be committed by then.
"""

from collections.abc import Sequence
import hashlib
from typing import NamedTuple
import urllib.parse

from etils import epath
import numpy as np

from jaxcurate.io import atomic

# A run is: number of ids (8 bytes), that many records sorted by hash, then
# the ids themselves in their own order, joined by NUL (which no id contains).
_RECORD = np.dtype([('high', '<u8'), ('low', '<u8'), ('row', '<u4')])
_HEADER = 8
_SUFFIX = '.run'
_NAMED = 5  # how many duplicates a message names


class _Run(NamedTuple):
  path: epath.Path
  rows: int


def write_run(folder: epath.PathLike, name: str, ids: Sequence[str]) -> None:
  """Writes the hashes of one piece of the corpus, atomically.

  Args:
    folder: where the runs of one corpus lie.
    name: unique name of the piece, shown to the user, such as
      'web/a.jsonl:0-65536'; writing it again overwrites.
    ids: the piece's ids.
  """
  digests = b''.join(_hash(text) for text in ids)
  halves = np.frombuffer(digests, '<u8').reshape(-1, 2)
  records = np.empty(len(ids), _RECORD)
  order = np.lexsort((halves[:, 1], halves[:, 0]))
  records['high'], records['low'] = halves[order].T
  records['row'] = order
  content = '\0'.join(ids).encode('utf-8')
  atomic.write_bytes(
    epath.Path(folder) / (urllib.parse.quote(name, safe='') + _SUFFIX),
    len(ids).to_bytes(_HEADER, 'little') + records.tobytes() + content,
  )


def find_duplicates(
  folder: epath.PathLike, *, rows_in_memory: int = 1 << 22
) -> str | None:
  """One line that names the first few duplicate ids, or None.

  Args:
    folder: where `write_run` wrote.
    rows_in_memory: about how many hashes are held at once, 20 bytes each.

  Returns:
    What to tell the user; None when every id is unique.
  """
  runs = [_run(path) for path in sorted(epath.Path(folder).glob('*' + _SUFFIX))]
  num_ranges = max(1, -(-sum(run.rows for run in runs) // rows_in_memory))
  cursors = [0] * len(runs)
  named, total = [], 0
  for index in range(num_ranges):
    # Hashes are uniform, so equal ranges hold about equally many.
    bound = (2**64 * (index + 1)) // num_ranges - 1
    pieces = []
    for number, run in enumerate(runs):
      share = run.rows // num_ranges + 64
      piece = _read_until(run, cursors[number], np.uint64(bound), share)
      cursors[number] += len(piece)
      pieces.append(piece)
    owner = np.repeat(np.arange(len(runs)), [len(piece) for piece in pieces])
    records = np.concatenate([np.empty(0, _RECORD), *pieces])
    groups = _repeated(records)
    total += len(groups)
    for group in groups[: _NAMED - len(named)]:
      places = [(runs[owner[i]], int(records['row'][i])) for i in group]
      named.append(_describe(places))
  if not total:
    return None
  more = f' and {total - len(named)} more' if total > len(named) else ''
  return (
    f'duplicate ids: {"; ".join(named)}{more}; ids must be unique: name '
    'another id column, or remove the repeated rows'
  )


def _hash(text: str) -> bytes:
  return hashlib.blake2b(text.encode('utf-8'), digest_size=16).digest()


def _run(path: epath.Path) -> _Run:
  with path.open('rb') as file:
    return _Run(path, int.from_bytes(file.read(_HEADER), 'little'))


def _read_until(
  run: _Run, start: int, bound: np.uint64, at_once: int
) -> np.ndarray:
  """[n] records from `start` on whose high half is <= bound."""
  pieces, position = [np.empty(0, _RECORD)], start
  with run.path.open('rb') as file:
    file.seek(_HEADER + start * _RECORD.itemsize)
    while position < run.rows:
      count = min(at_once, run.rows - position)
      piece = np.frombuffer(file.read(count * _RECORD.itemsize), _RECORD)
      within = int(np.searchsorted(piece['high'], bound, side='right'))
      pieces.append(piece[:within])
      position += within
      if within < count:
        break
  return np.concatenate(pieces)


def _repeated(records: np.ndarray) -> list[np.ndarray]:
  """Positions of each set of records with one hash, sets of two or more."""
  order = np.lexsort((records['low'], records['high']))
  high, low = records['high'][order], records['low'][order]
  same = (high[1:] == high[:-1]) & (low[1:] == low[:-1])
  edges = np.diff(same.astype(np.int8), prepend=0, append=0)
  begins, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
  return [
    order[begin : end + 1] for begin, end in zip(begins, ends, strict=True)
  ]


def _describe(places: Sequence[tuple[_Run, int]]) -> str:
  """`'id' (3 times: in RUN, RUN)` of rows with one id."""
  run, row = places[0]
  content = run.path.read_bytes()[_HEADER + run.rows * _RECORD.itemsize :]
  text = content.decode('utf-8').split('\0')[row]
  names = sorted({urllib.parse.unquote(run.path.stem) for run, _ in places})
  shown = ', '.join(names[:2]) + (', ...' if len(names) > 2 else '')
  return f'{text!r} ({len(places)} times: in {shown})'
