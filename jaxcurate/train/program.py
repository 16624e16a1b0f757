"""Compiles the parts of a run, for one model or for a population of them.

A population is the same step under vmap (see `jaxcurate.train.members`): every
leaf of the state and of the batch has a leading axis for the members, and the
anchors and the held-out text are shared.
"""

from collections.abc import Callable, Sequence
import dataclasses
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from jaxcurate.io.errors import UserError
from jaxcurate.ops import flops
from jaxcurate.train import adapters, epochs, evaluation, members
from jaxcurate.train.anchors import make_refresh_step, stack_anchors
from jaxcurate.train.driver import Program
from jaxcurate.train.gradient_settings import DEFAULT, GradientSettings
from jaxcurate.train.optimizers import Optimizer
from jaxcurate.train.state import (
  TrainState,
  abstract_state,
  batch_sharding,
  init_state,
)
from jaxcurate.train.step import TrainStep, make_train_step
from jaxcurate.types import AnchorSet, Batch, Network, Params, Weighting


class Reference(NamedTuple):
  """A frozen second model that a weighting compares with."""

  network: Network
  params: Params


class StepSettings(NamedTuple):
  """Settings of the training step; see `jaxcurate.train.step`.

  Attributes:
    max_segments: S, examples per row, of training, anchors and held-out text.
    z_loss: factor of the squared log normaliser.
    normaliser: divide the loss by the unweighted or the weighted targets.
    reduction: add up the losses of targets, or the mean losses of examples.
    accumulate: microbatches per step.
    chunk_tokens: tokens whose logits are held at a time, None = all.
    dropout_seed: None = no dropout, as T5 pretrains.
    example_gradients: how the gradients of examples are taken.
    domain_losses: losses by domain too, for shares that follow them.
  """

  max_segments: int
  z_loss: float = 1e-4
  normaliser: Literal['targets', 'weights'] = 'targets'
  reduction: Literal['tokens', 'examples'] = 'tokens'
  accumulate: int = 1
  chunk_tokens: int | None = None
  dropout_seed: int | None = None
  example_gradients: GradientSettings = DEFAULT
  domain_losses: bool = False


def make_program(
  network: Network,
  optimizer: Optimizer,
  weighting: Weighting,
  settings: StepSettings,
  *,
  seeds: Sequence[int],
  population: bool,
  params: Params | None = None,
  anchors: AnchorSet | None = None,
  eval_batches: Sequence[evaluation.EvalBatch] = (),
  reference: Reference | None = None,
  frozen: adapters.Frozen | None = None,
  domains: Sequence[str] = (),
  mesh: jax.sharding.Mesh | None = None,
) -> Program:
  """The compiled parts of a run.

  Args:
    network: the network.
    optimizer: its optimizer.
    weighting: how much each example counts.
    settings: of the step.
    seeds: of the members' initial parameters; one unless `population`.
    population: give every leaf a leading axis for the members.
    params: initial parameters of every member; None = from the seeds.
    anchors: trusted text, for weightings that look at it.
    eval_batches: held-out text, all of one shape; none = no evaluation.
    reference: frozen second model, where the weighting compares with one.
    frozen: train adapters of these parameters; `params` are then adapters.
    domains: names of the batches' 'document_domain' codes.
    mesh: axes 'data' and 'model', or None for one device; a population's
      members go over 'data', each whole on its device.

  Raises:
    UserError: the weighting needs anchors and there are none.
    ValueError: the members cannot be shared among the devices.
  """
  inside = None if population else mesh  # of one model's own functions
  if population:
    members.check(len(seeds), mesh)

  def lift(
    fn: Callable[..., Any], *same: bool, donate: bool = False
  ) -> Callable[..., Any]:
    return members.lift(fn, same, mesh, donate=donate) if population else fn

  shared = {
    'max_segments': settings.max_segments,
    'chunk_tokens': settings.chunk_tokens,
  }

  def make_step(network: Network) -> TrainStep:
    return make_train_step(
      network,
      optimizer,
      weighting,
      z_loss=settings.z_loss,
      normaliser=settings.normaliser,
      reduction=settings.reduction,
      accumulate=settings.accumulate,
      reference=reference and reference.network,
      example_gradients=settings.example_gradients,
      num_domains=len(domains) if settings.domain_losses else 0,
      mesh=inside,
      **shared,
    )

  base, whole = None, network
  if frozen is not None:
    frozen = adapters.place(network, frozen, inside)
    if population:
      frozen = frozen._replace(params=members.put_shared(frozen.params, mesh))
    base = frozen.params
    network = adapters.bind(network, base, frozen.settings)
  step = adapters.around(make_step, whole, frozen, donate=True)
  second = reference and reference.params
  if population:
    second = members.put_shared(second, mesh)
  names = {
    'domains': domains,
    'anchor_domains': anchors.domains if anchors else (),
  }
  like = abstract_state(
    network, optimizer, weighting, params=params, mesh=inside, **names
  )
  dropout_key = None
  if settings.dropout_seed is not None:
    dropout_key = jax.random.key(settings.dropout_seed)

  def init_one() -> TrainState:
    return init_state(
      network,
      optimizer,
      weighting,
      seed=seeds[0],
      params=params,
      mesh=mesh,
      **names,
    )

  init, whole_like = init_one, like
  if population:
    init, whole_like = members.init(
      network, optimizer, weighting, seeds, params, mesh, **names
    )

  def put(rows: Sequence[Batch]) -> Batch:
    if population:
      return members.put(rows, mesh)
    return place(rows[0], mesh)

  def put_shared(batch: Batch, leading: int = 0) -> Batch:
    if population:
      return members.put_shared(dict(batch), mesh)
    return place_shared(batch, mesh, leading=leading)

  def step_flops(batch: Batch) -> float:
    if population:
      batch = {
        name: jax.ShapeDtypeStruct(rows.shape[1:], rows.dtype)
        for name, rows in batch.items()
      }
    return float(
      flops.count_flops(step, like, dict(batch), dropout_key, second, base)
    )

  evaluate, refresh, refresh_flops = None, None, 0.0
  if eval_batches:
    eval_step = lift(
      adapters.around(
        lambda network: evaluation.make_eval_step(network, **shared),
        whole,
        frozen,
      ),
      False,
      True,
      True,
    )

    def run_eval(params: Params) -> list[evaluation.EvalResult]:
      return evaluation.evaluate(
        lambda params, batch: eval_step(params, batch, base),
        params,
        eval_batches,
        put_shared,
        members=len(seeds),
      )

    evaluate = run_eval
  if weighting.refresh is not None:
    if anchors is None:
      raise UserError(
        'this weighting compares with trusted text; give it with --anchors'
      )
    refresh_step = adapters.around(
      lambda network: make_refresh_step(
        network, weighting, reduction=settings.reduction, mesh=inside, **shared
      ),
      whole,
      frozen,
    )
    placed = put_shared(stack_anchors(anchors), leading=1)
    refresh_flops = float(flops.count_flops(refresh_step, like, placed, base))
    look = lift(refresh_step, False, True, True)

    def run_refresh(state: TrainState) -> TrainState:
      return dataclasses.replace(
        state, weighting_state=look(state, placed, base)
      )

    refresh = run_refresh
  lifted_step = lift(step, False, False, True, True, True, donate=True)
  return Program(
    init=init,
    like=whole_like,
    step=lambda state, batch: lifted_step(
      state, batch, dropout_key, second, base
    ),
    refresh=refresh,
    refresh_interval=weighting.refresh_interval,
    put=put,
    evaluate=evaluate,
    step_flops=step_flops,
    refresh_flops=refresh_flops,
    sums=epochs.sums_of(weighting.tally, domains, population=population),
  )


def place(
  batch: Batch, mesh: jax.sharding.Mesh | None, *, leading: int = 0
) -> Batch:
  """Puts a host batch on the devices.

  Args:
    batch: NumPy arrays; each host gives its own rows.
    mesh: rows go over its axis 'data'; None for one device.
    leading: number of axes before the rows.
  """
  if mesh is None:
    return jax.device_put(dict(batch))
  sharding = batch_sharding(mesh, leading=leading)
  return {
    name: jax.make_array_from_process_local_data(sharding, np.asarray(rows))
    for name, rows in batch.items()
  }


def place_shared(
  batch: Batch, mesh: jax.sharding.Mesh | None, *, leading: int = 0
) -> Batch:
  """As `place`, of a batch that every host has in full."""
  if mesh is None:
    return jax.device_put(dict(batch))
  sharding = batch_sharding(mesh, leading=leading)
  return {
    name: jax.make_array_from_callback(
      np.shape(rows), sharding, np.asarray(rows).__getitem__
    )
    for name, rows in batch.items()
  }
