"""What did it cost to get there, scoring included, and when does it pay?

A run reaches full-data quality where its held-out loss curve, drawn with
straight lines, first falls to the loss at which full-data (uniform) training
ended. Ours. FLOPs are multiply-adds times two as counted by the commands and
stored in the manifests; scoring is charged to the run that used the scores.
"""

from collections.abc import Sequence
import math
from typing import NamedTuple

from jaxtyping import Float
import numpy as np
import scipy  # its parts load at their first use: stats takes half a second

_CONFIDENCE = 0.95


class SpeedUp(NamedTuple):
  """How many times cheaper a method reaches full-data quality.

  Attributes:
    ratio: full-data cost / cost of the method, geometric mean over seeds;
      None unless every seed got there.
    low: lower end of the 95 % interval; None with fewer than 2 seeds.
    high: upper end.
    num_reached: seeds that reached full-data quality.
    num_seeds: seeds compared.
  """

  ratio: float | None
  low: float | None
  high: float | None
  num_reached: int
  num_seeds: int


def reached_at(
  cost: Float[np.ndarray, ' points'],
  loss: Float[np.ndarray, ' points'],
  target: float,
) -> float | None:
  """Cost at which a loss curve first falls to the target.

  Linear interpolation between the two evaluations around it. The first point
  if it is there already; evaluations with a NaN loss are left out.

  Args:
    cost: [points] increasing, steps or FLOPs.
    loss: [points] held-out loss.
    target: loss to reach.

  Returns:
    The cost, or None if the curve never gets there.

  >>> reached_at(np.array([0.0, 10.0]), np.array([4.0, 2.0]), 3.0)
  5.0
  >>> reached_at(np.array([0.0, 10.0]), np.array([4.0, 2.0]), 1.0)
  """
  finite = np.isfinite(loss) & np.isfinite(cost)
  cost, loss = cost[finite], loss[finite]
  below = np.flatnonzero(loss <= target)
  if not len(below):
    return None
  after = int(below[0])
  if after == 0:
    return float(cost[0])
  before = after - 1
  # loss[before] > target >= loss[after], so this never divides by zero.
  share = (loss[before] - target) / (loss[before] - loss[after])
  return float(cost[before] + share * (cost[after] - cost[before]))


def speed_up(
  full: Sequence[float | None], method: Sequence[float | None]
) -> SpeedUp:
  """Ratio of the costs at which full data and a method reach one quality.

  ratio = exp(mean_s log(full_s / method_s)), with the t interval of that
  mean over seeds.

  Args:
    full: cost per seed of full-data training.
    method: cost per seed of the method, same seeds; None = not reached.

  Returns:
    The speed-up; below 1 the method is slower.

  Raises:
    ValueError: different numbers of seeds.

  >>> speed_up([8.0, 8.0], [4.0, 4.0]).ratio
  2.0
  >>> speed_up([8.0, 8.0], [4.0, None])
  SpeedUp(ratio=None, low=None, high=None, num_reached=1, num_seeds=2)
  """
  if len(full) != len(method):
    raise ValueError(f'{len(full)} seeds of full data, {len(method)} of method')
  logs = [
    math.log(slow / fast)
    for slow, fast in zip(full, method, strict=True)
    if slow is not None and fast is not None and slow > 0 and fast > 0
  ]
  num_reached = sum(cost is not None for cost in method)
  if not logs or len(logs) < len(method):
    return SpeedUp(None, None, None, num_reached, len(method))
  center = float(np.mean(logs))
  if len(logs) < 2:
    return SpeedUp(math.exp(center), None, None, num_reached, len(method))
  student = scipy.stats.t.ppf((1 + _CONFIDENCE) / 2, len(logs) - 1)
  half = float(student * np.std(logs, ddof=1) / math.sqrt(len(logs)))
  return SpeedUp(
    math.exp(center),
    math.exp(center - half),
    # Two seeds far apart: the interval is open for all practical purposes.
    math.exp(min(center + half, 700.0)),
    num_reached,
    len(method),
  )


def break_even(scoring: float, shortened: float, full: float) -> int | None:
  """Fewest runs on one scored corpus for which scoring pays.

  The smallest n >= 1 with scoring + n * shortened <= n * full.

  Args:
    scoring: cost of scoring, paid once, >= 0.
    shortened: training cost until full-data quality.
    full: cost of full-data training.

  Returns:
    The number of runs, or None if no number is enough.

  >>> break_even(scoring=30.0, shortened=80.0, full=100.0)
  2
  >>> break_even(scoring=0.0, shortened=80.0, full=100.0)
  1
  >>> break_even(scoring=30.0, shortened=100.0, full=100.0)
  """
  if scoring <= 0 and shortened <= full:
    return 1
  saved = full - shortened
  if saved <= 0:
    return None
  runs = scoring / saved
  return max(math.ceil(runs), 1) if math.isfinite(runs) else None
