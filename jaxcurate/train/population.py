"""Trains identical models with different seeds side by side, in one program.

Small models leave most of a device idle; a population of them shares each
dispatch and compiles once, and several devices share the members. Each member
has its own seed, data and log; one whose losses are not finite leaves the
others alone where `Plan.max_nonfinite` is None.
"""

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


def train_population(
  *,
  network: Network,
  batches: Sequence[driver.Batches],
  optimizer: Optimizer,
  weighting: Weighting,
  settings: StepSettings,
  plan: Plan,
  output: str | os.PathLike,
  seeds: Sequence[int],
  params: Params | None = None,
  anchors: AnchorSet | None = None,
  eval_batches: Sequence[evaluation.EvalBatch] = (),
  reference: Reference | None = None,
  frozen: adapters.Frozen | None = None,
  domains: Sequence[str] = (),
  mesh: jax.sharding.Mesh | None = None,
  progress: bool = True,
) -> TrainState:
  """Trains one model per seed; goes on from the latest checkpoint in `output`.

  Writes output/seed<k>/metrics.jsonl, tensorboard/ and, with held-out text,
  eval.parquet for every seed k, and output/checkpoints of all together.

  Args:
    network: the network of every member.
    batches: training batches of each member, all of one shape.
    optimizer: of every member.
    weighting: of every member.
    settings: of the step.
    plan: steps, and when to log, evaluate and save.
    output: folder of the population.
    seeds: distinct; of the members' initial parameters.
    params: initial parameters of every member; None = from the seeds.
    anchors: trusted text, for weightings that look at it.
    eval_batches: held-out text, all of one shape; none = no evaluation.
    reference: frozen second model, where the weighting compares with one.
    frozen: train adapters of these parameters; `params` are then adapters.
    domains: names of the batches' 'document_domain' codes.
    mesh: members go over its axis 'data', which must divide their number;
      None for one device.
    progress: show a progress bar on stderr.

  Returns:
    The state after the last step; every leaf has a leading axis for members.

  Raises:
    ValueError: seeds and batches differ in number, seeds repeat, or the
      devices cannot share the members equally.
    Interrupted: SIGTERM arrived; everything is saved.
    UserError: as `jaxcurate.train.loop.train`.
  """
  if len(batches) != len(seeds) or len(set(seeds)) != len(seeds):
    raise ValueError(
      f'{len(batches)} iterators of batches for the seeds {list(seeds)};'
      ' expected one for each distinct seed'
    )
  program = make_program(
    network,
    optimizer,
    weighting,
    settings,
    seeds=seeds,
    population=True,
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
    batches,
    [output / f'seed{seed}' for seed in seeds],
    output / 'checkpoints',
    progress=progress,
  )
