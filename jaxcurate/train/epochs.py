"""Lines of the log about whole epochs: what a weighting added up in each.

The sums go on in the weighting's state from step 1. They are read after the
step that takes the last row of an epoch, and after the last step of the run;
the reading of before is part of every checkpoint, so that a resumed run writes
the lines of an uninterrupted one.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcurate.train.metrics import MetricsWriter
from jaxcurate.train.state import TrainState
from jaxcurate.types import Tally


class Sums(NamedTuple):
  """A weighting's tally as a run uses it.

  Attributes:
    read: state of the run -> the sums, each with a leading axis for members;
      they outlive the state, whose buffers the next step overwrites.
    between: (sums of a member before, after) -> numbers by name.
  """

  read: Callable[[TrainState], dict[str, jax.Array]]
  between: Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, float]]


def sums_of(
  tally: Tally | None, domains: Sequence[str], *, population: bool
) -> Sums | None:
  """A weighting's tally for one model or a population of them.

  Args:
    tally: the weighting's.
    domains: names of the batches' 'document_domain' codes.
    population: whether leaves of the state have a leading axis for members.
  """
  if tally is None:
    return None

  def read(state: TrainState) -> dict[str, jax.Array]:
    own = tally.read(state.weighting_state)
    if population:
      return {name: jnp.copy(value) for name, value in own.items()}
    return {name: value[None] for name, value in own.items()}

  return Sums(read, lambda before, after: tally.between(before, after, domains))


class EpochLog:
  """Writes a line per epoch and member; a class because it keeps the place."""

  def __init__(
    self,
    sums: Sums,
    epochs: Callable[[], list[int]],
    writers: Sequence[MetricsWriter],
    state: TrainState,
    saved: Mapping[str, Any] | None,
  ):
    """Goes on from a state.

    Args:
      sums: how the sums are read.
      epochs: () -> whole passes over the data of each member.
      writers: one per member.
      state: of the run, now.
      saved: `position` of the checkpoint that the state is from; None counts
        from the state on.
    """
    self._sums, self._epochs, self._writers = sums, epochs, writers
    begun = jax.device_get(sums.read(state))
    self._begun = {
      name: np.array(value if saved is None else saved[name], value.dtype)
      for name, value in begun.items()
    }
    self._made = epochs()

  def line(
    self, state: TrainState, step: int, *, last: bool
  ) -> Callable[[], None] | None:
    """Reads the sums if an epoch ended; called, the result writes of it.

    Args:
      state: after the step, which may still be under way.
      step: the step.
      last: of the run: an epoch that has only begun is reported, too.
    """
    before, self._made = self._made, self._epochs()
    ended = [a < b for a, b in zip(before, self._made, strict=True)]
    if not (last or any(ended)):
      return None
    sums, made = self._sums.read(state), self._made
    return lambda: self._write(step, jax.device_get(sums), made, ended, last)

  def _write(
    self,
    step: int,
    sums: Mapping[str, np.ndarray],
    made: Sequence[int],
    ended: Sequence[bool],
    last: bool,
  ) -> None:
    for member, writer in enumerate(self._writers):
      if not (last or ended[member]):
        continue
      before, after = (
        {name: value[member] for name, value in own.items()}
        for own in (self._begun, sums)
      )
      found = self._sums.between(before, after)
      if found:
        line = {f'epoch/{name}': value for name, value in found.items()}
        epoch = made[member] + (not ended[member])
        writer.write({'step': step, 'epoch': epoch, **line})
      if ended[member]:
        for name, value in after.items():
          self._begun[name][member] = value

  def position(self) -> dict[str, Any]:
    """JSON-able, for a checkpoint: the sums at the start of the epoch."""
    return {name: value.tolist() for name, value in self._begun.items()}
