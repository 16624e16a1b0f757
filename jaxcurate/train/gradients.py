"""Weights and gradient sums of a batch, whole or in microbatches.

The weights come from signals of the same forward pass that the gradient goes
through, with the gradient stopped, so a weighting costs no second pass. Sums
are added over microbatches and never averaged: dividing them once, by the
whole batch's normaliser, gives what one large batch would have given.
"""

from collections.abc import Callable
import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxcurate.ops import segments
from jaxcurate.train import forward as forwards
from jaxcurate.train.state import TrainState
from jaxcurate.types import Batch, Network, Params, Signals, Weighting

SUMS = ('nll', 'weighted_nll', 'targets', 'weights')


class Weighed(NamedTuple):
  """What a weighting made of a batch.

  Attributes:
    weights_E: [E] float32, 0 for padding.
    weighting_state: for the next step.
    info: scalars for the log.
  """

  weights_E: jax.Array
  weighting_state: Any
  info: dict[str, jax.Array]


class Gradients(NamedTuple):
  """Sums over all targets of a batch; nothing is divided yet.

  Attributes:
    gradients: params-shaped gradient of the summed weighted loss.
    sums: 'nll' (nats), 'weighted_nll', 'targets' (the targets' loss weights),
      'weights' (loss weights times example weights), each [] float32.
    mask_E: [E] bool, real examples.
    weighed: the examples' weights.
  """

  gradients: Params
  sums: dict[str, jax.Array]
  mask_E: jax.Array
  weighed: Weighed


def make_gradient_fn(
  network: Network,
  weighting: Weighting,
  *,
  max_segments: int,
  z_loss: float,
  accumulate: int,
  chunk_tokens: int | None,
) -> Callable[[TrainState, Batch, jax.Array | None], Gradients]:
  """The function (state, batch, dropout key or None) -> Gradients.

  Args:
    network: the network.
    weighting: how much each example counts.
    max_segments: S, examples per row.
    z_loss: factor of the squared log normaliser.
    accumulate: microbatches; must divide the rows.
    chunk_tokens: tokens whose logits are held at a time, None = all.
  """
  forwards.check_needs(weighting, network)

  def signals_of(
    outputs: forwards.Forward, batch: Batch, state: TrainState
  ) -> Signals:
    return forwards.make_signals(
      outputs, weighting.needs, batch, max_segments, state.step + 1
    )

  def weigh(signals: Signals, state: TrainState, batch: Batch) -> Weighed:
    offered: dict[str, Any] = {
      'batch': batch,
      'params': state.params,
      'opt_state': state.opt_state,
    }
    named = {name: offered[name] for name in weighting.needs & set(offered)}
    signals = dataclasses.replace(signals, **named)
    weights_E, weighting_state, info = weighting.update(
      jax.lax.stop_gradient(signals), state.weighting_state
    )
    if weights_E.shape != signals.mask_E.shape:
      raise ValueError(
        f'weights have shape {weights_E.shape}, expected {signals.mask_E.shape}'
      )
    weights_E = jnp.where(signals.mask_E, weights_E.astype(jnp.float32), 0.0)
    return jax.lax.stop_gradient(Weighed(weights_E, weighting_state, info))

  def loss_sum(
    params: Params, state: TrainState, batch: Batch, weights_E: Any, key: Any
  ) -> tuple[jax.Array, tuple]:
    """Weighted loss summed over targets; weights None = from its signals."""
    outputs = forwards.forward(
      network, params, batch, chunk_tokens=chunk_tokens, dropout_key=key
    )
    assert outputs.log_prob_BxT is not None
    assert outputs.log_normaliser_BxT is not None
    signals = signals_of(outputs, batch, state)
    weighed = None
    if weights_E is None:
      weighed = weigh(signals, state, batch)
      weights_E = weighed.weights_E
    target_weights_BxT = forwards.loss_weights(batch)
    weights_BxT = target_weights_BxT * segments.segment_values(
      weights_E.reshape(-1, max_segments), batch['decoder_segment_ids']
    )
    nll_BxT = -outputs.log_prob_BxT
    penalty_BxT = z_loss * outputs.log_normaliser_BxT**2
    sums = {
      'nll': _dot(target_weights_BxT, nll_BxT),
      'weighted_nll': _dot(weights_BxT, nll_BxT),
      'targets': jnp.sum(target_weights_BxT),
      'weights': jnp.sum(weights_BxT),
    }
    total = _dot(weights_BxT, nll_BxT + penalty_BxT)
    return total, (sums, signals, weighed)

  gradient_fn = jax.grad(loss_sum, has_aux=True)

  def whole(state: TrainState, batch: Batch, key: Any) -> Gradients:
    gradients, (sums, signals, weighed) = gradient_fn(
      state.params, state, batch, None, key
    )
    return Gradients(gradients, sums, signals.mask_E, weighed)

  def look(state: TrainState, parts: Batch, keys: Any) -> Signals:
    """Signals of all microbatches, without gradients."""

    def one(part_and_key: tuple) -> Signals:
      part, key = part_and_key
      outputs = forwards.forward(
        network,
        state.params,
        part,
        loss='loss' in weighting.needs,
        chunk_tokens=chunk_tokens,
        dropout_key=key,
      )
      return signals_of(outputs, part, state)

    return jax.lax.map(one, (parts, keys))

  def in_parts(state: TrainState, batch: Batch, key: Any) -> Gradients:
    parts = {name: _split(rows, accumulate) for name, rows in batch.items()}
    keys = None if key is None else jax.random.split(key, accumulate)
    weighed, weights_AxE = None, None
    if weighting.batch_coupled:
      signals = _join(look(state, parts, keys), max_segments, state)
      weighed = weigh(signals, state, batch)
      rows_BxS = weighed.weights_E.reshape(-1, max_segments)
      weights_AxE = _split(rows_BxS, accumulate).reshape(accumulate, -1)

    def add(total: tuple, inputs: tuple) -> tuple:
      gradients, (sums, signals, _) = gradient_fn(state.params, state, *inputs)
      gradients = jax.tree.map(lambda g: g.astype(jnp.float32), gradients)
      return jax.tree.map(jnp.add, total, (gradients, sums)), signals

    zeros = (
      jax.tree.map(lambda p: jnp.zeros(p.shape, jnp.float32), state.params),
      {name: jnp.float32(0) for name in SUMS},
    )
    (gradients, sums), signals_parts = jax.lax.scan(
      add, zeros, (parts, weights_AxE, keys)
    )
    signals = _join(signals_parts, max_segments, state)
    if weighed is None:
      # Row-local weights are those of the parts, but the next state and the
      # log must see the whole batch.
      weighed = weigh(signals, state, batch)
    return Gradients(gradients, sums, signals.mask_E, weighed)

  return whole if accumulate == 1 else in_parts


def _dot(weights: jax.Array, values: jax.Array) -> jax.Array:
  # Where the weight is 0 the value may be anything: it is never multiplied.
  return jnp.sum(jnp.where(weights > 0, weights * values, 0.0))


def _split(rows: jax.Array, accumulate: int) -> jax.Array:
  """[B, ...] to [A, B / A, ...]; part a holds rows a, a + A, a + 2A, ..."""
  if rows.shape[0] % accumulate:
    raise ValueError(
      f'accumulate is {accumulate}, but the batch has {rows.shape[0]} rows;'
      ' the rows must be a multiple of it'
    )
  # Strided, so that every device of a sharded batch has rows in every part.
  parts = rows.reshape(-1, accumulate, *rows.shape[1:])
  return jnp.swapaxes(parts, 0, 1)


def _join(signals: Signals, max_segments: int, state: TrainState) -> Signals:
  """Per-example signals of the parts as those of the whole batch."""

  def join(values: jax.Array | None) -> jax.Array | None:
    if values is None:
      return None
    by_row = values.reshape(
      values.shape[0], -1, max_segments, *values.shape[2:]
    )
    return jnp.swapaxes(by_row, 0, 1).reshape(-1, *values.shape[2:])

  joined: dict[str, Any] = {
    name: join(getattr(signals, name)) for name in forwards.PER_EXAMPLE
  }
  return Signals(step=state.step + 1, **joined)
