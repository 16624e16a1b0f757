"""What a run reports: sums since step 1, log lines, and the progress bar.

Metrics are fetched some steps late, so that the device always has the next
step to work on; each step's loss is checked all the same.
"""

import collections
from collections.abc import Callable, Mapping, Sequence
import time
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxcurate.io.errors import UserError
from jaxcurate.train import evaluation
from jaxcurate.train.checkpoint import Checkpoints
from jaxcurate.train.losses import DOMAIN_SUMS
from jaxcurate.train.metrics import MetricsWriter

# (step, [members, M] summed natural-log losses of the domains' targets, their
# number)
Observe = Callable[[int, np.ndarray, np.ndarray], None]
HASH_HALVES = ('nonfinite/high', 'nonfinite/low')  # not logged
IN_FLIGHT = 2  # steps dispatched before the oldest one's metrics are fetched


class Plan(NamedTuple):
  """When things happen, in steps.

  Attributes:
    steps: the last step.
    log_every: besides step 1 and the last.
    eval_every: besides the last; None = only the last.
    checkpoint_every: besides the last; None = only the last.
    max_checkpoints: checkpoints kept.
    max_nonfinite: losses and gradients that may be infinite or NaN before the
      run stops, None = any number; until then they count as 0, and the
      logged steps say how many there were.
  """

  steps: int
  log_every: int = 10
  eval_every: int | None = None
  checkpoint_every: int | None = 1000
  max_checkpoints: int = 3
  max_nonfinite: int | None = 10

  def is_logged(self, step: int) -> bool:
    """Whether the log has a line for `step`."""
    return step == 1 or self.is_last_or_every(step, self.log_every)

  def is_last_or_every(self, step: int, every: int | None) -> bool:
    """Whether `step` is the last or a multiple of `every`."""
    return step == self.steps or bool(every and step % every == 0)


class Totals(NamedTuple):
  """Sums since step 1, saved with every checkpoint; tokens per member."""

  tokens: list[int]
  examples: list[int]
  flops: float
  seconds: float

  @classmethod
  def begin(cls, members: int) -> 'Totals':
    """The sums before step 1."""
    return cls([0] * members, [0] * members, 0.0, 0.0)


class StepLog:
  """Fetches metrics some steps late and writes those of logged steps."""

  def __init__(
    self,
    plan: Plan,
    checkpoints: Checkpoints,
    writers: Sequence[MetricsWriter],
    totals: Totals,
    bar: Any,
    document_id: Callable[[int], str | None] = lambda id_hash: None,
    observe: Observe | None = None,
  ):
    """Logs the steps after those in `totals`.

    Args:
      plan: when to log, and when to stop.
      checkpoints: named in errors.
      writers: one per member.
      totals: sums so far.
      bar: the progress bar.
      document_id: id hash -> id, for errors.
      observe: takes the domains' losses of every step, in order.
    """
    self.totals = totals
    self._document_id, self._observe = document_id, observe
    self._nonfinite = np.zeros(len(writers), np.int64)
    self._named: list[str] = []
    self._plan, self._checkpoints = plan, checkpoints
    self._writers, self._bar = writers, bar
    self._pending = collections.deque()
    self._clock = time.perf_counter()
    self._logged = totals

  def add(
    self,
    step: int,
    metrics: Any,
    flops: float,
    then: Callable[[], None] | None = None,
  ) -> None:
    """Takes a step that was dispatched; fetches one that is due.

    Args:
      step: the step.
      metrics: on the device.
      flops: of the step.
      then: called when the step is fetched and its line is written.
    """
    self._pending.append((step, metrics, flops, then))
    if len(self._pending) > IN_FLIGHT:
      self._fetch()

  def drain(self) -> None:
    """Fetches all steps dispatched."""
    while self._pending:
      self._fetch()

  def _fetch(self) -> None:
    step, device_metrics, flops, then = self._pending.popleft()
    members = len(self._writers)
    found = jax.device_get(device_metrics)
    of_domains = [found.pop(name) for name in DOMAIN_SUMS if name in found]
    metrics = {
      name: np.reshape(value, members) for name, value in found.items()
    }
    if of_domains and self._observe is not None:
      self._observe(step, *(np.reshape(v, (members, -1)) for v in of_domains))
    self._check_finite(step, metrics)
    for half in HASH_HALVES:
      metrics.pop(half, None)
    now = time.perf_counter()
    old = self.totals
    self.totals = Totals(
      _added(old.tokens, metrics['tokens']),
      _added(old.examples, metrics['examples']),
      old.flops + flops,
      old.seconds + now - self._clock,
    )
    self._clock = now
    self._bar.update()
    if self._plan.is_logged(step):
      self._write(step, metrics)
    if then is not None:
      then()

  def _write(self, step: int, metrics: Mapping[str, np.ndarray]) -> None:
    new, old = self.totals, self._logged
    seconds = max(new.seconds - old.seconds, 1e-9)
    for member, writer in enumerate(self._writers):
      rates = {
        f'{name}_per_second': (total[member] - before[member]) / seconds
        for name, total, before in (
          ('examples', new.examples, old.examples),
          ('tokens', new.tokens, old.tokens),
        )
      }
      line = {
        'step': step,
        **{name: float(value[member]) for name, value in metrics.items()},
        'tokens': new.tokens[member],
        'flops': new.flops,
        'seconds': new.seconds,
        **rates,
      }
      del line['examples']
      writer.write(line)
    total = [
      (sum(getattr(new, name)) - sum(getattr(old, name))) / seconds
      for name in ('examples', 'tokens')
    ]
    self._bar.set_postfix_str(
      f'loss {np.mean(metrics["loss"]):.3f}, {total[0]:.3g} examples/s,'
      f' {total[1]:.3g} tokens/s'
    )
    self._logged = new

  def evaluation(
    self, step: int, results: Sequence[evaluation.EvalResult]
  ) -> None:
    """Writes the summary of an evaluation; its time does not count."""
    for writer, result in zip(self._writers, results, strict=True):
      writer.write(
        {
          'step': step,
          'flops': self.totals.flops,
          **evaluation.summarise(result),
        }
      )
    self._clock = time.perf_counter()

  def _check_finite(self, step: int, metrics: Mapping[str, np.ndarray]) -> None:
    found = metrics['nonfinite']
    if self._plan.max_nonfinite is None or not found.any():
      return
    self._nonfinite += found
    if HASH_HALVES[0] in metrics:
      high, low = (metrics[name].astype(np.uint64) for name in HASH_HALVES)
      for value in (high << np.uint64(32) | low)[found > 0].tolist():
        name = self._document_id(value)
        if name is not None and name not in self._named:
          self._named.append(name)
    member = int(np.argmax(self._nonfinite))
    total = int(self._nonfinite[member])
    if total <= self._plan.max_nonfinite:
      return
    saved = self._checkpoints.latest_step()
    kept = (
      f'the checkpoint of step {saved} is kept'
      if saved is not None
      else 'no checkpoint was made'
    )
    of_member = f' of member {member}' if len(self._writers) > 1 else ''
    documents = ', '.join(map(repr, self._named[:3]))
    raise UserError(
      f'step {step}: {total} losses or gradients{of_member} were infinite or'
      f' NaN, {self._plan.max_nonfinite} may be'
      + (f' (documents {documents}, ...)' if documents else '')
      + f'; {kept}; lower the learning rate, clip the gradients (clip_norm),'
      ' or take such documents out'
    )


def _added(total: list[int], more: np.ndarray) -> list[int]:
  return [a + int(b) for a, b in zip(total, more, strict=True)]
