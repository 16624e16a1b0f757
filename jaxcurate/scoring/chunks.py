"""Blocks on their way to disk: consecutive ones are committed together.

A chunk is full at 65,536 rows or when its time is up, and it never spans two
files or a gap in one.
"""

import time
from typing import NamedTuple

from etils import epath
import numpy as np

from jaxcurate.data import readers
from jaxcurate.scoring import forward
from jaxcurate.scoring import parts as parts_lib

MAX_ROWS = 65_536


class Block(NamedTuple):
  """A block of the corpus, tokenised and packed for the devices.

  Attributes:
    block: the documents.
    num_tokens: [N] int32, of the whole documents.
    counts: pass -> examples of each document.
    prepared: pass -> packed rows.
  """

  block: readers.Block
  num_tokens: np.ndarray
  counts: dict[str, list[int]]
  prepared: dict[str, forward.Prepared]


class Chunk:
  """Consecutive blocks of one file on their way to disk.

  A class because blocks arrive one by one and leave together.
  """

  def __init__(self, output: epath.PathLike, seconds: float):
    self._output, self._seconds = output, seconds
    self._started = time.monotonic()
    self._blocks: list[tuple[Block, dict[str, np.ndarray], dict]] = []

  def add(
    self,
    ready: Block,
    columns: dict[str, np.ndarray],
    cost: dict[str, float],
  ) -> None:
    """Takes a block; commits when the chunk is full, late or broken off."""
    if self._blocks:
      before = self._blocks[-1][0].block
      if (before.file, before.end) != (ready.block.file, ready.block.start):
        self.commit()
    self._blocks.append((ready, columns, cost))
    rows = ready.block.end - self._blocks[0][0].block.start
    late = time.monotonic() - self._started > self._seconds
    if rows >= MAX_ROWS or late or ready.block.last:
      self.commit()

  def commit(self) -> None:
    """Writes what has arrived, if anything."""
    if not self._blocks:
      return
    first, last = self._blocks[0][0].block, self._blocks[-1][0].block
    skipped: dict[str, int] = {}
    for ready, _, _ in self._blocks:
      for reason, count in ready.block.skipped.items():
        skipped[reason] = skipped.get(reason, 0) + count
    packs = [p for r, _, _ in self._blocks for p in r.prepared.values()]
    rows = [row for r, _, _ in self._blocks for row in r.block.rows]
    columns = {
      'id': np.array([row.id for row in rows], object),
      'domain': np.array([row.domain for row in rows], object),
      'num_tokens': np.concatenate([r.num_tokens for r, _, _ in self._blocks]),
    }
    for name in self._blocks[0][1]:
      columns[name] = _concatenated([c[name] for _, c, _ in self._blocks])
    now = time.monotonic()
    parts_lib.commit(
      self._output,
      parts_lib.Part(
        file=first.file,
        start=first.start,
        end=last.end,
        last=last.last,
        skipped=skipped,
        num_rows=len(rows),
        tokens=sum(p.tokens for p in packs),
        slots=sum(p.slots for p in packs),
        flops={
          name: sum(cost[name] for _, _, cost in self._blocks)
          for name in self._blocks[0][2]
        },
        seconds=now - self._started,
      ),
      columns,
    )
    self._blocks = []
    self._started = now


def _concatenated(arrays: list[np.ndarray]) -> np.ndarray:
  """Concatenation that lets blocks without any vector take others' width."""
  width = max((a.shape[1] for a in arrays if a.ndim == 2), default=None)
  if width is None:
    return np.concatenate(arrays)
  return np.concatenate(
    [
      a if a.shape[1] == width else np.full((len(a), width), np.nan, np.float32)
      for a in arrays
    ]
  )
