"""The factors of every example's gradient, from one backward pass.

A batch in microbatches takes a pass for each, and the factors of all are kept:
the Gram matrix compares examples of different microbatches too.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxcurate.models import taps as taps_lib
from jaxcurate.ops.approximate_gram import EXACT, Approximation
from jaxcurate.ops.factors import interleave
from jaxcurate.train import example_gradients, losses, microbatches
from jaxcurate.train import forward as forwards
from jaxcurate.train.factored_gradients import FactoredGradients
from jaxcurate.train.state import TrainState
from jaxcurate.types import Batch, Network, Signals

Look = Callable[[forwards.Forward, Batch], tuple[losses.Targets, Signals]]


def capture(
  network: Network,
  state: TrainState,
  batch: Batch,
  key: jax.Array | None,
  look: Look,
  *,
  max_segments: int,
  z_loss: float,
  accumulate: int,
  chunk_tokens: int | None,
  approximation: Approximation = EXACT,
) -> tuple[FactoredGradients, losses.Targets, Signals]:
  """Gradients, targets and signals of a batch under unit weights.

  Args:
    network: the network.
    state: before the step.
    batch: the batch.
    key: of dropout, or None.
    look: what to read off a forward pass.
    max_segments: S, examples per row.
    z_loss: factor of the squared log normaliser.
    accumulate: microbatches; must divide the rows.
    chunk_tokens: tokens whose logits are held at a time, None = all.
    approximation: of the Gram matrix.
  """

  def of(part_and_key: tuple[Batch, Any]) -> tuple:
    part, key = part_and_key

    def loss(taps: example_gradients.Taps) -> tuple[jax.Array, tuple]:
      outputs = forwards.forward(
        network,
        taps_lib.attach(state.params, taps.encoder),
        part,
        decoder_params=taps_lib.attach(state.params, taps.decoder),
        chunk_tokens=chunk_tokens,
        dropout_key=key,
      )
      targets, signals = look(outputs, part)
      total, _ = losses.weighted_loss(targets, jnp.ones_like(targets.share))
      return total, (outputs._replace(encoder_states_BxLxD=None), targets,
                     signals)  # fmt: skip

    shapes = example_gradients.tap_shapes(network, state.params, part)
    factors, found = jax.grad(loss, has_aux=True)(
      example_gradients.zeros(shapes)
    )
    parts = example_gradients.layer_parts(
      state.params, part, factors, max_segments, approximation
    )
    return parts, *found

  if accumulate == 1:
    parts, outputs, targets, signals = of((batch, key))
  else:
    parts, outputs, targets, signals = jax.lax.map(
      of, microbatches.split_all(batch, key, accumulate)
    )
    parts = {name: part.joined() for name, part in parts.items()}
    outputs, targets = jax.tree.map(
      lambda values: interleave(values, 0), (outputs, targets)
    )
    signals = microbatches.join(signals, max_segments, state)
  parts = example_gradients.with_head(
    network,
    state.params,
    batch,
    parts,
    outputs,
    targets.share,
    max_segments=max_segments,
    z_loss=z_loss,
    chunk_tokens=chunk_tokens,
  )
  total = jnp.maximum(jnp.sum(targets.share), jnp.finfo(jnp.float32).tiny)
  unit = jnp.sum(signals.mask_E) / total
  return FactoredGradients(parts, unit), targets, signals
