"""The best and worst documents of every column, with the start of their text.

Scores say little until one reads what they reward. The extremes are found in
the finished table; only the chunks that hold them are read from the corpus
again.
"""

from collections.abc import Iterable
import json
from typing import NamedTuple

from etils import epath
import numpy as np

from jaxcurate.data import readers
from jaxcurate.io import atomic, tables
from jaxcurate.scoring import parts as parts_lib

NAME = 'examples.jsonl'
COUNT = 20
MAX_CHARACTERS = 600


class Extreme(NamedTuple):
  """One of a column's highest or lowest documents."""

  column: str
  side: str  # 'high' or 'low'
  rank: int  # 0 = most extreme
  id: str
  domain: str | None
  score: float
  part: parts_lib.Part


def extremes(
  output: epath.PathLike,
  parts: Iterable[parts_lib.Part],
  columns: Iterable[str],
) -> list[Extreme]:
  """The `COUNT` highest and lowest documents of each column, ties by id.

  Args:
    output: folder of the finished chunks.
    parts: its chunks.
    columns: score columns.
  """
  columns = list(columns)
  kept: dict[tuple[str, str], list[tuple]] = {
    (column, side): [] for column in columns for side in ('high', 'low')
  }
  for part in parts:
    table = tables.read_parquet(epath.Path(output) / part.name)
    ids = table.column('id').to_pylist()
    domains = table.column('domain').to_pylist()
    for column in columns:
      scores = table.column(column).to_numpy().astype(np.float64)
      known = np.flatnonzero(np.isfinite(scores))
      for side, sign in (('low', 1.0), ('high', -1.0)):
        rows = _smallest(known, sign * scores)
        own = [(sign * scores[r], ids[r], domains[r], part) for r in rows]
        both = kept[column, side] + own
        both.sort(key=lambda item: item[:2])
        kept[column, side] = both[:COUNT]
  return [
    Extreme(
      column, side, rank, id_, domain, -key if side == 'high' else key, part
    )
    for (column, side), rows in kept.items()
    for rank, (key, id_, domain, part) in enumerate(rows)
  ]


def _smallest(rows: np.ndarray, keys: np.ndarray) -> np.ndarray:
  """The rows of the `COUNT` smallest keys, and all that tie with the last."""
  if len(rows) <= COUNT:
    return rows
  bound = np.partition(keys[rows], COUNT - 1)[COUNT - 1]
  return rows[keys[rows] <= bound]


def write_excerpts(
  corpus: readers.Corpus,
  found: list[Extreme],
  output: epath.PathLike,
  block_rows: int,
) -> None:
  """Writes `examples.jsonl`, one line per extreme.

  Args:
    corpus: to read the texts from.
    found: the extremes.
    output: the table's folder.
    block_rows: as in scoring.
  """
  wanted = {extreme.id for extreme in found}
  needed = parts_lib.Done([extreme.part for extreme in found])
  texts = {}
  for block in corpus.blocks(
    block_rows=block_rows, done=lambda file, start: not needed(file, start)
  ):
    texts |= {row.id: row.text for row in block.rows if row.id in wanted}
  lines = [
    json.dumps(
      {
        'column': extreme.column,
        'side': extreme.side,
        'rank': extreme.rank,
        'id': extreme.id,
        'domain': extreme.domain,
        'score': extreme.score,
        'text': texts.get(extreme.id, '')[:MAX_CHARACTERS],
      }
    )
    for extreme in found
  ]
  atomic.write_text(
    epath.Path(output) / NAME, ''.join(line + '\n' for line in lines)
  )
