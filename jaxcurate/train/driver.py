"""The loop itself, for one model or a population of them.

The device is never waited for except to log a step some steps back, to
evaluate and to save; what is logged, saved and restored depends on the steps
made and on nothing else, so that a resumed run repeats an uninterrupted one.
"""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import functools
import logging
import os
import pathlib
import signal
import threading
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
import tqdm

from jaxcurate.io.errors import Interrupted, UserError
from jaxcurate.train import epochs, evaluation
from jaxcurate.train.checkpoint import Checkpoints
from jaxcurate.train.metrics import MetricsWriter
from jaxcurate.train.progress import Plan, StepLog, Totals
from jaxcurate.train.state import TrainState
from jaxcurate.types import Batch


@runtime_checkable
class Batches(Protocol):
  """An endless or finite iterator of batches that can say where it is."""

  def __next__(self) -> Batch: ...

  def state(self) -> Any:
    """JSON-able position after the last batch that was returned."""
    ...

  def restore(self, state: Any) -> None:
    """Goes back to a position."""
    ...

  def document_id(self, id_hash: int) -> str | None:
    """Id of the document with this hash, where it is known."""
    ...

  def epochs(self) -> int:
    """Whole passes over the data, up to the last batch that was returned."""
    ...


@runtime_checkable
class Reporting(Protocol):
  """Batches that have numbers for the log."""

  def report(self) -> dict[str, float]:
    """Numbers by name, of the batches since the last report."""
    ...


@runtime_checkable
class Learning(Protocol):
  """Batches that follow the losses of their domains."""

  def observe(
    self, step: int, nll_M: np.ndarray, targets_M: np.ndarray
  ) -> None:
    """Takes losses of a step: [M] sums by domain, and targets."""
    ...


class Program(NamedTuple):
  """The compiled parts of a run.

  Attributes:
    init: () -> state before step 1.
    like: the state's shapes, dtypes and shardings.
    step: (state, batch) -> (state, metrics of shape [] or [members]).
    refresh: state -> state with the anchors looked at again, or None.
    refresh_interval: steps between refreshes.
    put: one batch per member -> the step's batch on the devices.
    evaluate: params -> one result per member, or None.
    step_flops: the step's batch -> operations of one member's step.
    refresh_flops: operations of one member's refresh.
    sums: what the weighting adds up for the log of epochs, or None.
  """

  init: Callable[[], TrainState]
  like: TrainState
  step: Callable[[TrainState, Any], tuple[TrainState, dict[str, jax.Array]]]
  refresh: Callable[[TrainState], TrainState] | None
  refresh_interval: int
  put: Callable[[Sequence[Batch]], Any]
  evaluate: Callable[[Any], list[evaluation.EvalResult]] | None
  step_flops: Callable[[Any], float]
  refresh_flops: float
  sums: epochs.Sums | None = None


def run(
  program: Program,
  plan: Plan,
  batches: Sequence[Batches],
  folders: Sequence[str | os.PathLike],
  checkpoint_folder: str | os.PathLike,
  *,
  progress: bool = True,
) -> TrainState:
  """Trains to the last step, from the latest checkpoint if there is one.

  Args:
    program: the compiled parts.
    plan: when things happen.
    batches: one iterator per member.
    folders: one folder per member, for metrics.jsonl and eval.parquet.
    checkpoint_folder: of the run.
    progress: show a progress bar on stderr.

  Returns:
    The state after the last step.

  Raises:
    Interrupted: SIGTERM arrived; everything is saved.
    UserError: too many losses are not finite, the data end too early, or the
      checkpoint does not fit.
  """
  _report_determinism()
  checkpoints = Checkpoints(checkpoint_folder, max_to_keep=plan.max_checkpoints)
  with contextlib.ExitStack() as stack:
    stack.callback(checkpoints.close)
    start = checkpoints.latest_step() or 0
    if start > plan.steps:
      raise UserError(
        f'{checkpoint_folder}: already at step {start}, but --steps is'
        f' {plan.steps}; give at least {start}, or another --output'
      )
    begun = None
    if start:
      state, position = checkpoints.restore(program.like)
      begun = position.get('epoch')
      totals = Totals(**position['totals'])
      for iterator, data in zip(batches, position['data'], strict=True):
        iterator.restore(data)
    else:
      state, totals = program.init(), Totals.begin(len(folders))
    writers = [MetricsWriter(folder, step=start) for folder in folders]
    for writer in writers:
      stack.callback(writer.close)
    bar = stack.enter_context(
      tqdm.tqdm(
        total=plan.steps,
        initial=start,
        disable=not progress,
        unit='step',
        desc='train',
      )
    )
    stop = stack.enter_context(_sigterm())
    log = StepLog(
      plan,
      checkpoints,
      writers,
      totals,
      bar,
      batches[0].document_id,
      functools.partial(_observe, batches),
    )

    epoch_log = None
    if program.sums is not None:
      epoch_log = epochs.EpochLog(
        program.sums,
        lambda: [iterator.epochs() for iterator in batches],
        writers,
        state,
        begun,
      )

    def save(step: int) -> None:
      log.drain()
      for writer in writers:
        writer.sync()
      data = [iterator.state() for iterator in batches]
      position = {'data': data, 'totals': log.totals._asdict()}
      if epoch_log is not None:
        position['epoch'] = epoch_log.position()
      checkpoints.save(step, state, position)

    results, step_flops = None, None
    for step in range(start + 1, plan.steps + 1):
      batch = program.put([_next(iterator, step) for iterator in batches])
      if step_flops is None:
        step_flops = program.step_flops(batch)
      flops = step_flops
      if program.refresh and (step - 1) % program.refresh_interval == 0:
        state = program.refresh(state)
        flops += program.refresh_flops
      state, metrics = program.step(state, batch)
      if plan.is_logged(step):
        metrics = {**metrics, **_reports(batches)}
      last = step == plan.steps
      line = epoch_log and epoch_log.line(state, step, last=last)
      log.add(step, metrics, flops, line)
      if program.evaluate and plan.is_last_or_every(step, plan.eval_every):
        log.drain()
        results = program.evaluate(state.params)
        log.evaluation(step, results)
      stopping = stop.is_set() and step < plan.steps
      if stopping or plan.is_last_or_every(step, plan.checkpoint_every):
        save(step)
      if stopping:
        checkpoints.wait()
        raise Interrupted(
          f'stopped at step {step} of {plan.steps}; run the same command'
          ' to continue'
        )
    if program.evaluate:
      # None: all steps were already made, or the run ended before this line.
      results = results or program.evaluate(state.params)
      for folder, result in zip(folders, results, strict=True):
        evaluation.write_eval(pathlib.Path(folder) / 'eval.parquet', result)
  return state


def _report_determinism() -> None:
  flag = '--xla_gpu_deterministic_ops=true'
  if jax.default_backend() == 'gpu' and flag not in os.environ.get(
    'XLA_FLAGS', ''
  ):
    logging.getLogger(__name__).warning(
      'a resumed run repeats an uninterrupted one bit for bit only with'
      ' XLA_FLAGS=%s',
      flag,
    )


def _next(iterator: Batches, step: int) -> Batch:
  try:
    return next(iterator)
  except StopIteration:
    raise UserError(
      f'the training data end before step {step}; give fewer --steps or more'
      ' --input'
    ) from None


def _observe(
  batches: Sequence[Batches], step: int, nll: np.ndarray, targets: np.ndarray
) -> None:
  """Gives every iterator the losses of its member."""
  for iterator, nll_M, targets_M in zip(batches, nll, targets, strict=True):
    if isinstance(iterator, Learning):
      iterator.observe(step, nll_M, targets_M)


def _reports(batches: Sequence[Batches]) -> dict[str, np.ndarray]:
  """[members] of what each iterator reports, 0 where one has no such number."""
  said = [
    iterator.report() if isinstance(iterator, Reporting) else {}
    for iterator in batches
  ]
  names = dict.fromkeys(name for own in said for name in own)
  return {
    name: np.array([own.get(name, 0.0) for own in said]) for name in names
  }


@contextlib.contextmanager
def _sigterm() -> Iterator[threading.Event]:
  """An event that SIGTERM sets; Python delivers signals to its main thread."""
  event = threading.Event()
  if threading.current_thread() is not threading.main_thread():
    yield event
    return
  before = signal.signal(signal.SIGTERM, lambda *_: event.set())
  try:
    yield event
  finally:
    signal.signal(signal.SIGTERM, before)
