"""Where a mixture's shares of the next batch come from.

A source is a function of the batch's number and of a memory that travels with
the place in the data: batches made ahead and thrown away leave no trace.
"""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float64
import numpy as np

from jaxcurate.mixtures import schedules


@runtime_checkable
class ShareSource(Protocol):
  """Shares of M domains, batch after batch.

  Attributes:
    domains: M names.
  """

  domains: tuple[str, ...]

  def begin(self, batch: int) -> Any:
    """JSON-able memory before the first batch that it decides, from 1."""
    ...

  def share(
    self, batch: int, memory: Any
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
  """

  domains: tuple[str, ...]

  def __init__(self, schedule: schedules.ShareSchedule):
    self._schedule = schedule
    self.domains = schedule.domains

  def begin(self, batch: int) -> None:
    """Nothing needs to be remembered."""

  def share(
    self, batch: int, memory: Any
  ) -> tuple[Float64[np.ndarray, ' M'], Any]:
    """Those of the schedule at this step."""
    return schedules.share_at(self._schedule, batch), memory

  def describe(self) -> Mapping[str, Any]:
    """Step -> domain -> share."""
    return schedules.to_json(self._schedule)
