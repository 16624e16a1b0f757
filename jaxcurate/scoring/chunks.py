"""Blocks on their way to disk: consecutive ones are committed together.

A chunk is full at 65,536 rows or 256 MB, or when its time is up, and it never
spans two files or a gap in one.
"""

from collections.abc import Mapping, Sequence
import time
from types import MappingProxyType
from typing import Any, NamedTuple

from etils import epath
import numpy as np

from jaxcurate.data import readers
from jaxcurate.models import forward
from jaxcurate.scoring import parts as parts_lib

MAX_ROWS = 65_536
MAX_BYTES = 1 << 28  # of columns that wait: long vectors fill memory first


class Block(NamedTuple):
  """A block of the corpus, tokenised and packed for the devices.

  Attributes:
    block: the documents.
    num_tokens: [N] int32, of the whole documents.
    counts: pass -> examples of each document.
    prepared: pass -> packed rows.
    unread: pass -> packed rows of all documents, where only some are read.
    anchors: see `parts.Part`.
  """

  block: readers.Block
  num_tokens: np.ndarray
  counts: dict[str, list[int]]
  prepared: dict[str, forward.Prepared]
  unread: Mapping[str, forward.Prepared] = MappingProxyType({})
  anchors: Mapping[str, int] = MappingProxyType({})


class Chunk:
  """Consecutive blocks of one file on their way to disk.

  A class because blocks arrive one by one and leave together. It keeps what
  it will write, and neither text nor tokens, or memory would grow with speed.
  """

  def __init__(self, output: epath.PathLike, seconds: float):
    self._output, self._seconds = output, seconds
    self._started, self._bytes = time.monotonic(), 0
    self._blocks: list[tuple[parts_lib.Part, dict[str, np.ndarray]]] = []

  def add(
    self,
    ready: Block,
    columns: dict[str, np.ndarray],
    cost: dict[str, float],
    cost_of_all: Mapping[str, float] = MappingProxyType({}),
  ) -> None:
    """Takes a block; commits when the chunk is full, late or broken off."""
    block, packs = ready.block, ready.prepared.values()
    if self._blocks:
      before = self._blocks[-1][0]
      if (before.file, before.end) != (block.file, block.start):
        self.commit()
    part = parts_lib.Part(
      file=block.file,
      start=block.start,
      end=block.end,
      last=block.last,
      skipped=block.skipped,
      num_rows=len(block.rows),
      tokens=sum(p.tokens for p in packs),
      slots=sum(p.slots for p in packs),
      flops=cost,
      flops_of_all=cost_of_all,
      anchors=ready.anchors,
    )
    keys = {
      'id': np.array([row.id for row in block.rows], object),
      'domain': np.array([row.domain for row in block.rows], object),
      'num_tokens': ready.num_tokens,
    }
    self._blocks.append((part, {**keys, **columns}))
    late = time.monotonic() - self._started > self._seconds
    self._bytes += sum(column.nbytes for column in columns.values())
    full = part.end - self._blocks[0][0].start >= MAX_ROWS
    if full or self._bytes >= MAX_BYTES or late or part.last:
      self.commit()

  def commit(self) -> None:
    """Writes what has arrived, if anything."""
    if not self._blocks:
      return
    parts, columns = zip(*self._blocks, strict=True)
    now = time.monotonic()
    whole = parts[0]._replace(
      end=parts[-1].end,
      last=parts[-1].last,
      skipped=total([part.skipped for part in parts]),
      num_rows=sum(part.num_rows for part in parts),
      tokens=sum(part.tokens for part in parts),
      slots=sum(part.slots for part in parts),
      flops=total([part.flops for part in parts]),
      flops_of_all=total([part.flops_of_all for part in parts]),
      anchors=total([part.anchors for part in parts]),
      seconds=now - self._started,
    )
    joined = {
      name: _concatenated([own[name] for own in columns]) for name in columns[0]
    }
    parts_lib.commit(self._output, whole, joined)
    self._blocks, self._bytes = [], 0
    self._started = now


def total(counts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
  """Sums by name."""
  total: dict[str, Any] = {}
  for own in counts:
    for name, count in own.items():
      total[name] = total.get(name, 0) + count
  return total


def _concatenated(arrays: list[np.ndarray]) -> np.ndarray:
  """Concatenation that lets blocks without any vector take others' width."""
  if arrays[0].ndim == 1:
    return np.concatenate(arrays)
  widest = max(arrays, key=lambda array: array.shape[1])
  width, dtype = widest.shape[1], widest.dtype
  return np.concatenate(
    [
      a if a.shape[1] == width else np.full((len(a), width), np.nan, dtype)
      for a in arrays
    ]
  )
