"""Where a mixture's shares of the next batch come from.

A source is a function of the batch's number, of losses of some batches before,
and of a memory that travels with the place in the data: batches made ahead and
thrown away leave no trace.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Float64
import numpy as np

from jaxcurate.mixtures import schedules
from jaxcurate.types.online import OnlineShares

# Batches between one whose losses are learnt from and the first that shows it:
# losses are fetched two steps late (train.progress.IN_FLIGHT), when two more
# batches are made ahead. Any smaller number would make batches wait.
LAG = 5


class Losses(NamedTuple):
  """Of one batch, as lists of M numbers.

  Attributes:
    nll: natural-log losses of each domain's targets, summed.
    targets: their number.
  """

  nll: list[float]
  targets: list[float]


@runtime_checkable
class ShareSource(Protocol):
  """Shares of M domains, batch after batch.

  Attributes:
    domains: M names.
    lag: a batch is decided by losses of batches so many before it, or more; 0
      for a source that reads none.
  """

  domains: tuple[str, ...]
  lag: int

  def begin(self, batch: int) -> Any:
    """JSON-able memory before the first batch that it decides, from 1."""
    ...

  def share(
    self, batch: int, memory: Any, losses: Mapping[int, Losses]
  ) -> tuple[Float64[np.ndarray, ' M'], Any]:
    """(shares of a batch, counted from 1; the memory after it)."""
    ...

  def describe(self) -> Mapping[str, Any]:
    """JSON-able: what tells this source from another."""
    ...


class ScheduledShares:
  """Shares that are known beforehand; a class because it is a `ShareSource`.

  Attributes:
    domains: M names.
    lag: 0.
  """

  domains: tuple[str, ...]
  lag: int = 0

  def __init__(self, schedule: schedules.ShareSchedule):
    self._schedule = schedule
    self.domains = schedule.domains

  def begin(self, batch: int) -> None:
    """Nothing needs to be remembered."""

  def share(
    self, batch: int, memory: Any, losses: Mapping[int, Losses]
  ) -> tuple[Float64[np.ndarray, ' M'], Any]:
    """Those of the schedule at this step."""
    return schedules.share_at(self._schedule, batch), memory

  def describe(self) -> Mapping[str, Any]:
    """Step -> domain -> share."""
    return schedules.to_json(self._schedule)


class LearntShares:
  """Shares that a rule learns from losses; a class because it is a source.

  Attributes:
    domains: M names.
    lag: batches from a loss to the shares that it decides.
  """

  domains: tuple[str, ...]
  lag: int

  def __init__(
    self,
    rule: OnlineShares,
    domains: tuple[str, ...],
    start_M: Float64[np.ndarray, ' M'],
    *,
    lag: int = LAG,
  ):
    """A source that has learnt nothing yet.

    Args:
      rule: how shares follow losses.
      domains: M names.
      start_M: shares to start from, > 0, sum 1.
      lag: >= 1.
    """
    self._rule, self.domains, self.lag = rule, domains, lag
    self._start_M = start_M

  def begin(self, batch: int) -> dict[str, Any]:
    """The rule's state, the last shares asked for, and the mean of all."""
    return {
      'first': batch,
      'state': self._rule.init(self._start_M),
      'asked': [],
      'mean': [0.0] * len(self.domains),
    }

  def share(
    self, batch: int, memory: Any, losses: Mapping[int, Losses]
  ) -> tuple[Float64[np.ndarray, ' M'], Any]:
    """Those of the rule, after the losses of the batch `lag` before this."""
    state, asked, first = memory['state'], memory['asked'], memory['first']
    before = batch - self.lag
    if before >= first:
      if before not in losses:
        raise ValueError(
          f'batch {batch} follows the losses of batch {before}, and nobody'
          ' observed them'
        )
      nll_M, targets_M = map(np.array, losses[before])
      state = self._rule.update(
        state,
        np.array(asked[0]),
        nll_M / np.maximum(targets_M, 1.0),
        targets_M / max(targets_M.sum(), 1.0),
      )
    share_M = self._rule.share(state, batch)
    mean_M = np.array(memory['mean'])
    mean_M += (share_M - mean_M) / (batch - first + 1)
    return share_M, {
      'first': first,
      'state': state,
      'asked': [*asked, share_M.tolist()][-self.lag :],
      'mean': mean_M.tolist(),
    }

  def describe(self) -> Mapping[str, Any]:
    """The rule, its settings and where it starts."""
    start = dict(zip(self.domains, self._start_M.tolist(), strict=True))
    return {self._rule.name: dict(self._rule.settings), 'start': start}
