"""Shares of domains as a function of the training step: straight lines.

A mixture is reached at its step; between two the shares move linearly, before
the first and after the last they stay. A jump is two neighbouring steps.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxtyping import Float64
import numpy as np

from jaxcurate.types import Mixture


class ShareSchedule(NamedTuple):
  """Shares at P steps.

  Attributes:
    domains: M names.
    steps: P ascending, 1 is the first step of a run.
    share_PxM: [P, M] float64 >= 0, rows sum to 1 but for rounding.
  """

  domains: tuple[str, ...]
  steps: tuple[int, ...]
  share_PxM: np.ndarray


def make_schedule(mixtures: Mapping[int, Mixture]) -> ShareSchedule:
  """The schedule that reaches each mixture at its step.

  Args:
    mixtures: step -> mixture; a domain that one of them lacks has share 0
      there, and one that has no share anywhere is dropped. Qualities of
      documents are not read.

  Raises:
    ValueError: no mixture, or a step below 1.
  """
  steps = tuple(sorted(mixtures))
  if not steps or steps[0] < 1:
    raise ValueError(
      f'mixtures are wanted at the steps {list(steps)}, expected some, 1 or'
      ' above'
    )
  names = [name for step in steps for name in mixtures[step].domains]
  domains = tuple(dict.fromkeys(names))
  share_PxM = np.zeros((len(steps), len(domains)))
  for row, step in enumerate(steps):
    own = mixtures[step]
    places = [domains.index(name) for name in own.domains]
    share_PxM[row, places] = own.share_M
  some = np.flatnonzero(share_PxM.any(axis=0))
  return ShareSchedule(
    tuple(domains[place] for place in some), steps, share_PxM[:, some]
  )


def share_at(schedule: ShareSchedule, step: int) -> Float64[np.ndarray, ' M']:
  """[M] shares of one step, sum 1.

  >>> ends = np.array([[1.0, 0.0], [0.0, 1.0]])
  >>> share_at(ShareSchedule(('a', 'b'), (1, 5), ends), 2).tolist()
  [0.75, 0.25]
  """
  after = int(np.searchsorted(schedule.steps, step))
  if after in (0, len(schedule.steps)):
    share_M = schedule.share_PxM[max(after - 1, 0)]
    return share_M / share_M.sum()
  begin, end = schedule.steps[after - 1 : after + 1]
  part = (step - begin) / (end - begin)
  first_M, second_M = schedule.share_PxM[after - 1 : after + 1]
  share_M = (1 - part) * first_M + part * second_M
  return share_M / share_M.sum()


def to_json(schedule: ShareSchedule) -> dict[str, Any]:
  """Step -> domain -> share, as manifests and checkpoints state it."""
  return {
    str(step): dict(zip(schedule.domains, share_M.tolist(), strict=True))
    for step, share_M in zip(schedule.steps, schedule.share_PxM, strict=True)
  }
