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

from jaxcurate.train import forward as forwards
from jaxcurate.train import losses, microbatches
from jaxcurate.train.factored_step import look_at_examples
from jaxcurate.train.gradient_settings import DEFAULT, GradientSettings
from jaxcurate.train.optimizers import Optimizer
from jaxcurate.train.state import TrainState
from jaxcurate.train.token_gradients import TangentGradients
from jaxcurate.train.weighed import Weighed
from jaxcurate.train.weighed import weigh as weigh_batch
from jaxcurate.types import Batch, Network, Params, Signals, Weighting


class Gradients(NamedTuple):
  """Sums over all targets of a batch; nothing is divided yet.

  Attributes:
    gradients: params-shaped gradient of the summed weighted loss.
    sums: see `losses.weighted_loss`, each [] float32; and `domain_sums`.
    mask_E: [E] bool, real examples of finite loss.
    weighed: the examples' weights.
  """

  gradients: Params
  sums: dict[str, jax.Array]
  mask_E: jax.Array
  weighed: Weighed


def make_gradient_fn(
  network: Network,
  weighting: Weighting,
  optimizer: Optimizer,
  *,
  max_segments: int,
  z_loss: float,
  reduction: losses.Reduction,
  accumulate: int,
  chunk_tokens: int | None,
  reference: Network | None = None,
  example_gradients: GradientSettings = DEFAULT,
  num_domains: int = 0,
) -> Callable[..., Gradients]:
  """(state, batch, dropout key or None, reference's params) -> Gradients.

  Args:
    network: the network.
    weighting: how much each example counts.
    optimizer: what it may ask about.
    max_segments: S, examples per row.
    z_loss: factor of the squared log normaliser.
    reduction: see `losses`.
    accumulate: microbatches; must divide the rows.
    chunk_tokens: tokens whose logits are held at a time, None = all.
    reference: frozen second model, where the weighting compares with one.
    example_gradients: how the gradients of examples are taken.
    num_domains: M, where losses of domains are wanted; 0 for none.

  Raises:
    ValueError: the weighting needs a signal that the step cannot give, or
      `example_gradients` are out of their range.
  """
  forwards.check_needs(weighting, network, reference)
  example_gradients.check()
  if 'preconditioner' in weighting.needs and optimizer.preconditioner is None:
    raise ValueError(
      'the weighting looks at the state of the optimizer, and this one cannot'
      " say what it does to a gradient; use 'adamw' or 'adafactor'"
    )

  def signals_of(
    outputs: forwards.Forward, batch: Batch, state: TrainState, second: Params
  ) -> Signals:
    other = None
    if reference is not None:
      other = forwards.forward(
        reference, second, batch, chunk_tokens=chunk_tokens
      )
    return forwards.make_signals(
      outputs, weighting.needs, batch, max_segments, state.step + 1, other
    )

  def weigh(
    signals: Signals,
    state: TrainState,
    batch: Batch,
    key: Any,
    parts: int = 1,
  ) -> Weighed:
    offered: dict[str, Any] = {
      'batch': batch,
      'params': state.params,
      'opt_state': state.opt_state,
      'token_gradients': TangentGradients(
        state.params, batch, key, network, parts, chunk_tokens
      ),
    }
    if optimizer.preconditioner and 'preconditioner' in weighting.needs:
      offered['preconditioner'] = optimizer.preconditioner(
        state.opt_state, state.params
      )
    return weigh_batch(
      weighting, signals, state.weighting_state, batch, offered
    )

  def look_at(
    outputs: forwards.Forward,
    state: TrainState,
    second: Params,
    batch: Batch,
  ) -> tuple[losses.Targets, Signals]:
    signals = signals_of(outputs, batch, state, second)
    targets = losses.targets_of(
      outputs,
      signals,
      batch,
      max_segments=max_segments,
      reduction=reduction,
      z_loss=z_loss,
    )
    return targets, signals

  def sums_of(
    targets: losses.Targets, batch: Batch, weights_BxT: jax.Array
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    total, sums = losses.weighted_loss(targets, weights_BxT)
    if num_domains:
      sums |= losses.domain_sums(targets, batch, max_segments, num_domains)
    return total, sums

  def loss_sum(
    params: Params,
    state: TrainState,
    second: Params,
    batch: Batch,
    weights: Any,
    key: Any,
  ) -> tuple[jax.Array, tuple]:
    """Weighted loss summed over targets; weights None = from its signals."""
    outputs = forwards.forward(
      network, params, batch, chunk_tokens=chunk_tokens, dropout_key=key
    )
    targets, signals = look_at(outputs, state, second, batch)
    weighed = None
    if weights is None:
      weighed = weigh(signals, state, batch, key)
      weights = weighed.weights
    total, sums = sums_of(
      targets, batch, losses.on_tokens(weights, batch, max_segments)
    )
    return total, (sums, signals, weighed)

  gradient_fn = jax.grad(loss_sum, has_aux=True)

  def whole(
    state: TrainState, batch: Batch, key: Any, second: Params = None
  ) -> Gradients:
    gradients, (sums, signals, weighed) = gradient_fn(
      state.params, state, second, batch, None, key
    )
    return Gradients(gradients, sums, signals.mask_E, weighed)

  def factored(
    state: TrainState, batch: Batch, key: Any, second: Params = None
  ) -> Gradients:
    """As `whole`, for weightings that look at the examples' gradients."""
    own = look_at_examples(
      network,
      state,
      batch,
      key,
      lambda outputs, part: look_at(outputs, state, second, part),
      lambda rows, weights_E, key: gradient_fn(
        state.params, state, second, rows, weights_E, key
      )[0],
      settings=example_gradients,
      max_segments=max_segments,
      z_loss=z_loss,
      accumulate=accumulate,
      chunk_tokens=chunk_tokens,
      most_kept=weighting.most_kept,
    )
    signals = dataclasses.replace(own.signals, gradients=own.gradients)
    weighed = weigh(signals, state, batch, key, accumulate)
    if weighed.weights.ndim == 2:
      raise ValueError(
        'the weighting looks at the gradients of examples and weighs tokens;'
        ' it must weigh examples'
      )
    weights_BxT = losses.on_tokens(weighed.weights, batch, max_segments)
    _, sums = sums_of(own.targets, batch, weights_BxT)
    gradients = own.weighted(weighed.weights)
    return Gradients(gradients, sums, signals.mask_E, weighed)

  def look(
    state: TrainState, second: Params, parts: Batch, keys: Any
  ) -> Signals:
    """Signals of all microbatches, without gradients."""

    def one(part_and_key: tuple) -> Signals:
      part, key = part_and_key
      outputs = forwards.forward(
        network,
        state.params,
        part,
        loss=bool(forwards.LOSSES & weighting.needs),
        chunk_tokens=chunk_tokens,
        dropout_key=key,
      )
      return signals_of(outputs, part, state, second)

    return jax.lax.map(one, (parts, keys))

  def in_parts(
    state: TrainState, batch: Batch, key: Any, second: Params = None
  ) -> Gradients:
    parts, keys = microbatches.split_all(batch, key, accumulate)
    weighed, weights = None, None
    if weighting.batch_coupled:
      signals = microbatches.join(
        look(state, second, parts, keys), max_segments, state
      )
      weighed = weigh(signals, state, batch, key, accumulate)
      weights = weighed.weights
      if weights.ndim == 1:
        weights = weights.reshape(-1, max_segments)
        weights = microbatches.split(weights, accumulate).reshape(
          accumulate, -1
        )
      else:
        weights = microbatches.split(weights, accumulate)

    def add(total: tuple, inputs: tuple) -> tuple:
      gradients, (sums, signals, _) = gradient_fn(
        state.params, state, second, *inputs
      )
      gradients = jax.tree.map(lambda g: g.astype(jnp.float32), gradients)
      total = jax.tree.map(jnp.add, total, (gradients, sums))
      return total, signals

    by_domain = {}
    if num_domains:
      by_domain = dict.fromkeys(losses.DOMAIN_SUMS, jnp.zeros(num_domains))
    zeros = (
      jax.tree.map(lambda p: jnp.zeros(p.shape, jnp.float32), state.params),
      {name: jnp.float32(0) for name in losses.SUMS} | by_domain,
    )
    (gradients, sums), signals_parts = jax.lax.scan(
      add, zeros, (parts, weights, keys)
    )
    signals = microbatches.join(signals_parts, max_segments, state)
    if weighed is None:
      # Row-local weights are those of the parts, but the next state and the
      # log must see the whole batch.
      weighed = weigh(signals, state, batch, key, accumulate)
    return Gradients(gradients, sums, signals.mask_E, weighed)

  if 'gradients' not in weighting.needs:
    return whole if accumulate == 1 else in_parts
  return factored
