"""Compiles the parts of a judge's training, network and all.

The loop, its checkpoints, its log and its held-out losses are those of any
other training (`train.driver`); only the batch and the loss are a judge's.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxcurate.data import token_part
from jaxcurate.data.token_part import TokenPart
from jaxcurate.ops import flops, judge_loss
from jaxcurate.train import evaluation, judge, judge_data
from jaxcurate.train.driver import Program
from jaxcurate.train.optimizers import Optimizer
from jaxcurate.train.state import (
  TrainState,
  abstract_state,
  batch_sharding,
  init_state,
)
from jaxcurate.types import Batch, Network, Params, Weighting


class HeldOut(NamedTuple):
  """Judgements that are not trained on; domains are names of codes."""

  part: TokenPart
  items: judge_data.Items
  domains: Sequence[str]


def make_program(
  reading: judge.Reading,
  network: Network,
  optimizer: Optimizer,
  loss: str,
  *,
  head: Mapping[str, np.ndarray],
  seed: int,
  num_items: int,
  params: Params | None = None,
  held_out: HeldOut | None = None,
  mesh: jax.sharding.Mesh | None = None,
) -> Program:
  """The compiled parts of a run, for `driver.run`.

  Args:
    reading: how the judge reads.
    network: the network.
    optimizer: of network and head.
    loss: of `judge_loss.LOSSES`.
    head: what the head begins with, {} for none.
    seed: of the network's parameters, where none are given.
    num_items: judgements per batch.
    params: of the network to begin with.
    held_out: judgements to evaluate on.
    mesh: axes 'data' and 'model', or None for one device.

  Raises:
    ValueError: an unknown loss.
  """
  judge_loss.check(loss)
  whole = network._replace(
    init=lambda key: {'network': network.init(key), 'head': dict(head)},
    logical_axes={
      'network': network.logical_axes,
      'head': {name: () for name in head},
    },
  )
  begin = None if params is None else {'network': params, 'head': dict(head)}
  unweighted = Weighting(init=lambda width: (), update=_no_weights)
  like = abstract_state(whole, optimizer, unweighted, params=begin, mesh=mesh)

  def step(
    state: TrainState, batch: Batch
  ) -> tuple[TrainState, dict[str, jax.Array]]:
    value, gradients = jax.value_and_grad(
      lambda p: judge.mean_loss(reading, loss, p, batch)
    )(state.params)
    updates, opt_state = optimizer.update(
      gradients, state.opt_state, state.params
    )
    made = TrainState(
      step=state.step + 1,
      params=optax.apply_updates(state.params, updates),
      opt_state=opt_state,
      weighting_state=(),
    )
    known = jnp.any(~jnp.isnan(batch['target']), axis=1)
    norm = optax.global_norm(gradients)
    read = [a for name, a in batch.items() if name.endswith('segment_ids')]
    return made, {
      'loss': value,
      'weighted_loss': value,
      'examples': jnp.sum(known),
      'tokens': sum((jnp.sum(a > 0) for a in read), jnp.int32(0)),
      'nonfinite': ~(jnp.isfinite(value) & jnp.isfinite(norm)),
      'gradient_norm': norm,
      'learning_rate': jnp.float32(optimizer.learning_rate(state.step)),
    }

  layout = None
  if mesh is not None:
    layout = (jax.tree.map(lambda leaf: leaf.sharding, like), None)
  evaluate = None
  if held_out is not None:
    rate = make_rate(reading, loss)

    def run_evaluation(params: Params) -> list[evaluation.EvalResult]:
      rating = rate_held_out(
        rate, reading, held_out, params, num_items=num_items, mesh=mesh
      )
      return [_result(loss, held_out, rating)]

    evaluate = run_evaluation
  return Program(
    init=lambda: init_state(
      whole, optimizer, unweighted, seed=seed, params=begin, mesh=mesh
    ),
    like=like,
    step=jax.jit(step, donate_argnums=0, out_shardings=layout),
    refresh=None,
    refresh_interval=1,
    put=lambda rows: place(rows[0], mesh),
    evaluate=evaluate,
    step_flops=lambda batch: float(flops.count_flops(step, like, dict(batch))),
    refresh_flops=0.0,
  )


def place(batch: Batch, mesh: jax.sharding.Mesh | None) -> dict[str, jax.Array]:
  """Puts a batch on the devices: its rows over 'data', targets on all.

  Args:
    batch: of `judge_data.make_batch`.
    mesh: axes 'data' and 'model', or None for one device.
  """
  if mesh is None:
    return jax.device_put(dict(batch))
  rows = batch_sharding(mesh)
  whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
  return {
    name: jax.device_put(array, whole if name == 'target' else rows)
    for name, array in batch.items()
  }


def make_rate(reading: judge.Reading, loss: str) -> Callable[..., jax.Array]:
  """The jitted (params, batch) -> ratings [I, C] of `judge.rate_items`."""
  return jax.jit(
    lambda params, batch: judge.rate_items(reading, loss, params, batch)
  )


def rate_held_out(
  rate: Callable[..., jax.Array],
  reading: judge.Reading,
  held_out: HeldOut,
  params: Params,
  *,
  num_items: int,
  mesh: jax.sharding.Mesh | None,
) -> np.ndarray:
  """[N, C] float32 ratings of all held-out judgements.

  Args:
    rate: of `make_rate`.
    reading: how the judge reads.
    held_out: the judgements.
    params: 'network' and 'head'.
    num_items: judgements per batch.
    mesh: axes 'data' and 'model', or None for one device.
  """
  found = []
  shards = 1 if mesh is None else mesh.shape['data']
  for own, batch in judge_data.in_order(
    held_out.part,
    held_out.items,
    reading.features,
    num_items=num_items,
    shards=shards,
  ):
    rating = jax.device_get(rate(params, place(batch, mesh)))
    found.append(rating[: len(own.target)])
  return np.concatenate(found)


def _result(
  loss: str, held_out: HeldOut, rating: np.ndarray
) -> evaluation.EvalResult:
  """Mean loss of every held-out judgement, as the loop logs it."""
  target = held_out.items.target
  losses = np.asarray(
    judge_loss.losses(loss, jnp.asarray(rating), jnp.asarray(target))
  )
  count = np.sum(~np.isnan(target), axis=1)
  part, first = held_out.part, held_out.items.document[:, 0]
  codes = part.domain[first].tolist()
  return evaluation.EvalResult(
    id=np.array(
      [
        ' > '.join(token_part.document_id(part, i) for i in own)
        for own in held_out.items.document
      ],
      object,
    ),
    domain=np.array(
      [held_out.domains[code] if code >= 0 else None for code in codes], object
    ),
    loss=(losses.sum(axis=1) / count).astype(np.float32),
    tokens=np.ones(len(count), np.int32),
  )


def _no_weights(signals: Any, state: Any) -> Any:
  raise NotImplementedError('a judge weighs nothing')
