"""Rules that move the shares of domains while a model trains on them."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jaxtyping import Float64
import numpy as np

Shares = Float64[np.ndarray, ' M']


class OnlineShares(NamedTuple):
  """Shares of M domains that follow the losses; pure functions on the host.

  Attributes:
    name: of the rule.
    settings: JSON-able, what else tells it from another.
    init: shares to start from -> state, JSON-able.
    share: (state, step) -> shares of the step, >= 0, sum 1.
    update: (state, shares asked for in a step, mean natural-log loss per target
      of each domain in that step, their parts of the step's targets) -> state.
      The loss of a domain whose part is 0 may be anything.
  """

  name: str
  settings: Mapping[str, Any]
  init: Callable[[Shares], Any]
  share: Callable[[Any, int], Shares]
  update: Callable[[Any, Shares, Shares, Shares], Any]
