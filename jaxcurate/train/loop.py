"""Trains one model on weighted examples, from its latest checkpoint if any."""

from collections.abc import Sequence
import os
import pathlib

import jax

from jaxcurate.train import adapters, driver, evaluation
from jaxcurate.train.optimizers import Optimizer
from jaxcurate.train.program import Reference, StepSettings, make_program
from jaxcurate.train.progress import Plan
from jaxcurate.train.state import TrainState
from jaxcurate.types import AnchorSet, Network, Params, Weighting


def train(
  *,
  network: Network,
  batches: driver.Batches,
  optimizer: Optimizer,
  weighting: Weighting,
  settings: StepSettings,
  plan: Plan,
  output: str | os.PathLike,
  seed: int = 0,
  params: Params | None = None,
  anchors: AnchorSet | None = None,
  eval_batches: Sequence[evaluation.EvalBatch] = (),
  reference: Reference | None = None,
  frozen: adapters.Frozen | None = None,
  domains: Sequence[str] = (),
  mesh: jax.sharding.Mesh | None = None,
  progress: bool = True,
) -> TrainState:
  """Trains to `plan.steps`; goes on from the latest checkpoint in `output`.

  Writes metrics.jsonl, tensorboard/, checkpoints/ and, with held-out text,
  eval.parquet. On a GPU a resumed run repeats an uninterrupted one bit for
  bit only with XLA_FLAGS=--xla_gpu_deterministic_ops=true.

  Args:
    network: the network.
    batches: training batches, all of one shape.
    optimizer: its optimizer.
    weighting: how much each example counts.
    settings: of the step.
    plan: steps, and when to log, evaluate and save.
    output: folder of the run.
    seed: of the initial parameters, where none are given.
    params: initial parameters.
    anchors: trusted text, for weightings that look at it.
    eval_batches: held-out text, all of one shape; none = no evaluation.
    reference: frozen second model, where the weighting compares with one.
    frozen: train adapters of these parameters; `params` are then adapters.
    domains: names of the batches' 'document_domain' codes.
    mesh: axes 'data' and 'model', or None for one device.
    progress: show a progress bar on stderr.

  Returns:
    The state after the last step.

  Raises:
    Interrupted: SIGTERM arrived; everything is saved.
    UserError: anchors are missing, the loss is not finite, the data end too
      early, or the checkpoint does not fit.
  """
  program = make_program(
    network,
    optimizer,
    weighting,
    settings,
    seeds=[seed],
    population=False,
    params=params,
    anchors=anchors,
    eval_batches=eval_batches,
    reference=reference,
    frozen=frozen,
    domains=domains,
    mesh=mesh,
  )
  output = pathlib.Path(output)
  return driver.run(
    program,
    plan,
    [batches],
    [output],
    output / 'checkpoints',
    progress=progress,
  )
