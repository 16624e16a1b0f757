"""Refreshing what a weighting knows of its anchors, as its own program."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcurate.train import forward as forwards
from jaxcurate.train.losses import Reduction
from jaxcurate.train.state import TrainState, batch_sharding
from jaxcurate.types import (
  AnchorSet,
  Batch,
  Network,
  Params,
  Signals,
  Weighting,
)


def stack_anchors(anchors: AnchorSet) -> dict[str, np.ndarray]:
  """All batches of an anchor set as one, with a leading axis for the batches.

  Args:
    anchors: at least one batch; all of one shape.

  Raises:
    ValueError: there is no batch.
  """
  if not anchors.batches:
    raise ValueError(f'anchor set {anchors.name!r} has no batch')
  names = anchors.batches[0].keys()
  return {
    name: np.stack([np.asarray(batch[name]) for batch in anchors.batches])
    for name in names
  }


def make_refresh_step(
  network: Network,
  weighting: Weighting,
  *,
  max_segments: int,
  reduction: Reduction = 'tokens',
  chunk_tokens: int | None = None,
  mesh: jax.sharding.Mesh | None = None,
) -> Callable[[TrainState, Batch], Any]:
  """The jitted (state, stacked anchors) -> weighting state after a refresh.

  Args:
    network: the network in training.
    weighting: one with `refresh`.
    max_segments: S, examples per row of the anchors' batches.
    reduction: of the mean gradient, as in training.
    chunk_tokens: tokens whose logits are held at a time, None = all.
    mesh: axes 'data' and 'model', or None for one device.

  Returns:
    The function; the anchors are those of `stack_anchors`. Their batches run
    one after the other, so memory is that of one.
  """
  forwards.check_needs(weighting, network)
  refresh, needs = weighting.refresh, weighting.anchor_needs
  with_gradient = 'mean_gradient' in needs
  with_mean = with_gradient or 'mean_loss' in needs
  if refresh is None:
    raise ValueError('the weighting has no refresh: it uses no anchors')

  def step(state: TrainState, anchors: Batch) -> Any:
    if mesh is not None:
      anchors = jax.lax.with_sharding_constraint(
        dict(anchors), batch_sharding(mesh, leading=1)
      )

    def look(params: Params, batch: Batch) -> tuple[jax.Array, tuple]:
      """(loss summed over targets, (their number, signals))."""
      outputs = forwards.forward(
        network,
        params,
        batch,
        loss=with_mean or bool(forwards.LOSSES & needs),
        decoder='decoder_pooled' in needs,
        chunk_tokens=chunk_tokens,
      )
      signals = forwards.make_signals(
        outputs, needs, batch, max_segments, state.step + 1
      )
      if not with_mean:
        return jnp.zeros(()), (jnp.zeros(()), signals)
      assert outputs.log_prob_BxT is not None
      share_BxT = forwards.loss_weights(batch)
      if reduction == 'examples':
        share_BxT = forwards.shares(share_BxT, batch, max_segments)
      loss_BxT = jnp.where(share_BxT > 0, -outputs.log_prob_BxT, 0.0)
      return jnp.sum(share_BxT * loss_BxT), (jnp.sum(share_BxT), signals)

    def add(total: tuple, batch: Batch) -> tuple[tuple, Signals]:
      if with_gradient:
        (loss, (count, signals)), gradient = jax.value_and_grad(
          look, has_aux=True
        )(state.params, batch)
      else:
        gradient, (loss, (count, signals)) = None, look(state.params, batch)
      return jax.tree.map(jnp.add, total, (gradient, loss, count)), signals

    zeros = None
    if with_gradient:
      zeros = jax.tree.map(jnp.zeros_like, state.params)
    (gradient, loss, count), stacked = jax.lax.scan(
      add, (zeros, jnp.zeros(()), jnp.zeros(())), dict(anchors)
    )
    count = jnp.maximum(count, jnp.finfo(jnp.float32).tiny)
    fields = {name: getattr(stacked, name) for name in forwards.PER_EXAMPLE}
    fields = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), fields)
    offered = {
      'params': state.params,
      'opt_state': state.opt_state,
      'mean_gradient': jax.tree.map(lambda g: g / count, gradient),
      'mean_loss': loss / count,
    }
    named = {name: offered[name] for name in needs & set(offered)}
    signals = Signals(step=state.step + 1, **fields, **named)
    return refresh(signals, state.weighting_state)

  return jax.jit(step)
