"""A step's way to the gradients of its examples, and to their weighted sum.

  keep_factors  one forward and one backward pass; the factors of all layers
                and microbatches are held until the weights are known, and give
                the weighted gradient too.
  second_pass   no factor outlives its layer's place in the backward pass. One
                forward pass for the signals (in microbatches), a forward and a
                backward pass of the whole batch for each request for products,
                and an ordinary one of the kept rows (in microbatches).

The Gram matrix needs each layer's factors of all examples at once, whatever the
microbatches; to hold them a layer at a time, beside what the network's own
remat leaves of the whole batch, is the least an exact one can do with.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxcurate.ops.factors import interleave
from jaxcurate.train import (
  capture,
  factored_gradients,
  gradient_bytes,
  losses,
  microbatches,
  second_pass,
)
from jaxcurate.train import forward as forwards
from jaxcurate.train.gradient_settings import GradientSettings
from jaxcurate.train.state import TrainState
from jaxcurate.train.streamed_gradients import streamed_gradients
from jaxcurate.types import Batch, ExampleGradients, Network, Params, Signals


class Examples(NamedTuple):
  """What a step knows of its examples before they are weighted.

  Attributes:
    gradients: of each, for the weighting.
    targets: of the batch.
    signals: of the batch.
    weighted: weights [E] -> gradient of the weighted sum of their losses.
  """

  gradients: ExampleGradients
  targets: losses.Targets
  signals: Signals
  weighted: Callable[[jax.Array], Params]


def look_at_examples(
  network: Network,
  state: TrainState,
  batch: Batch,
  key: jax.Array | None,
  look: capture.Look,
  gradient_of: second_pass.GradientOf,
  *,
  settings: GradientSettings,
  max_segments: int,
  z_loss: float,
  accumulate: int,
  chunk_tokens: int | None,
  most_kept: Callable[[int], int] | None,
) -> Examples:
  """The examples of a batch, with their gradients.

  Args:
    network: the network.
    state: before the step.
    batch: the batch.
    key: of dropout, or None.
    look: what to read off a forward pass.
    gradient_of: see `second_pass`.
    settings: which way, and what may be approximate.
    max_segments: S, examples per row.
    z_loss: factor of the squared log normaliser.
    accumulate: microbatches; must divide the rows.
    chunk_tokens: tokens whose logits are held at a time, None = all.
    most_kept: see `types.Weighting`.
  """
  way = settings.way
  if way == 'auto':
    way = gradient_bytes.planned_bytes(
      network,
      state.params,
      batch,
      max_segments=max_segments,
      accumulate=accumulate,
      chunk_tokens=chunk_tokens,
    ).choice()
  if way == 'keep_factors':
    kept, targets, signals = capture.capture(
      network,
      state,
      batch,
      key,
      look,
      max_segments=max_segments,
      z_loss=z_loss,
      accumulate=accumulate,
      chunk_tokens=chunk_tokens,
      approximation=settings.approximation(),
    )
    return Examples(
      kept,
      targets,
      signals,
      lambda weights_E: factored_gradients.weighted_gradient(
        kept, weights_E, max_segments, most_kept
      ),
    )

  def seen(part: tuple) -> tuple[losses.Targets, Signals]:
    rows, key = part
    outputs = forwards.forward(
      network,
      state.params,
      rows,
      chunk_tokens=chunk_tokens,
      dropout_key=key,
    )
    return look(outputs, rows)

  if accumulate == 1:
    targets, signals = seen((batch, key))
  else:
    parts = microbatches.split_all(batch, key, accumulate)
    targets, signals = jax.lax.map(seen, parts)
    targets = jax.tree.map(lambda values: interleave(values, 0), targets)
    signals = microbatches.join(signals, max_segments, state)
  gradients = streamed_gradients(
    network,
    state.params,
    batch,
    key,
    targets.share,
    num_examples=jnp.sum(signals.mask_E),
    max_segments=max_segments,
    z_loss=z_loss,
    chunk_tokens=chunk_tokens,
    approximation=settings.approximation(),
  )
  return Examples(
    gradients,
    targets,
    signals,
    lambda weights_E: second_pass.weighted_gradient(
      gradient_of,
      batch,
      weights_E,
      key,
      max_segments=max_segments,
      accumulate=accumulate,
      most_kept=most_kept,
    ),
  )
