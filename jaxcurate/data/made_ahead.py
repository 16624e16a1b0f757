"""Batches made by a thread that works ahead of the place they are taken at."""

import collections
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import numpy as np

P = TypeVar('P')
Batch = dict[str, np.ndarray]


class MadeAhead(Generic[P]):
  """Takes batches off in order; a class because it owns the thread.

  Attributes:
    place: of the batch that `take` will return.
  """

  place: P

  def __init__(
    self,
    make: Callable[[P], tuple[Batch, P]],
    place: P,
    *,
    prefetch: int,
    name: str = 'training-batches',
  ):
    """Starts at a place; makes nothing yet.

    Args:
      make: place -> (the batch there, the place after it).
      place: of the first batch.
      prefetch: batches made ahead in the thread; 0 for none and no thread.
      name: of the thread.
    """
    self._make, self._prefetch, self._name = make, prefetch, name
    self._worker: ThreadPoolExecutor | None = None
    self._waiting: collections.deque[Future] = collections.deque()
    self.place = self._next = place

  def take(self) -> Batch:
    """The next batch."""
    if not self._prefetch:
      batch, self.place = self._make(self.place)
      return batch
    if self._worker is None:
      self._worker = ThreadPoolExecutor(1, self._name)
    while len(self._waiting) <= self._prefetch:
      self._waiting.append(self._worker.submit(self._work))
    batch, self.place = self._waiting.popleft().result()
    return batch

  def go_to(self, place: P) -> None:
    """Goes on from another place."""
    self.close()
    self.place = self._next = place

  def close(self) -> None:
    """Stops the thread; batches made ahead are made again."""
    if self._worker is not None:
      self._worker.shutdown(wait=True, cancel_futures=True)
    self._worker = None
    self._waiting.clear()
    self._next = self.place

  def _work(self) -> tuple[Batch, P]:
    made = self._make(self._next)
    self._next = made[1]
    return made
