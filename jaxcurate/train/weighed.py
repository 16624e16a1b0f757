"""What a weighting makes of a batch, in every step that trains with one."""

from collections.abc import Mapping
import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxcurate.train import forward as forwards
from jaxcurate.train import losses
from jaxcurate.types import Batch, Signals, State, Weighting


class Weighed(NamedTuple):
  """What a weighting made of a batch.

  Attributes:
    weights: [E] or [B, T] float32, 0 for padding.
    weighting_state: for the next step.
    info: scalars for the log.
  """

  weights: jax.Array
  weighting_state: Any
  info: dict[str, jax.Array]


def weigh(
  weighting: Weighting,
  signals: Signals,
  state: State,
  batch: Batch,
  offered: Mapping[str, Any],
) -> Weighed:
  """The weights of a batch, the weighting's next state and what it logs.

  Args:
    weighting: the rule.
    signals: of the batch.
    state: of the weighting.
    batch: with segment ids up to S = E / B.
    offered: signals that are not of the forward pass, by name; those that the
      weighting needs are added.

  Returns:
    The weights and what comes with them; no gradient flows through.

  Raises:
    ValueError: the weights have neither one entry per example nor one per
      target.
  """
  named = {name: offered[name] for name in weighting.needs & set(offered)}
  signals = jax.lax.stop_gradient(dataclasses.replace(signals, **named))
  weights, state, info = weighting.update(signals, state)
  mask, tokens = signals.mask_E, batch['decoder_target_tokens'].shape
  if weights.shape == tokens:
    mask = losses.on_tokens(mask, batch, len(mask) // tokens[0]) > 0
  if weights.shape != mask.shape:
    raise ValueError(
      f'weights have shape {weights.shape}, expected {mask.shape} for'
      f' examples or {tokens} for tokens'
    )
  weights = jnp.where(mask, weights.astype(jnp.float32), 0.0)
  return jax.lax.stop_gradient(Weighed(weights, state, info))


def weight_metrics(
  weighed: Weighed, mask_E: jax.Array, batch: Batch
) -> dict[str, jax.Array]:
  """Mean, std, min and max of the weights, and the weighting's own info.

  Args:
    weighed: what came out.
    mask_E: [E] bool, real examples of finite loss.
    batch: says which targets count.
  """
  weights, mask = weighed.weights, mask_E
  if weights.ndim == 2:  # of tokens
    mask = forwards.loss_weights(batch) > 0
  count = jnp.maximum(jnp.sum(mask), 1)
  mean = jnp.sum(weights) / count
  variance = jnp.sum(jnp.where(mask, (weights - mean) ** 2, 0.0)) / count
  return {
    'weights/mean': mean,
    'weights/std': jnp.sqrt(variance),
    # All weights are finite, so the largest stands in for padding.
    'weights/min': jnp.min(jnp.where(mask, weights, jnp.max(weights))),
    'weights/max': jnp.max(weights),
    **{f'weights/{name}': value for name, value in weighed.info.items()},
  }


def without_loss(mask_E: jax.Array, batch: Batch) -> jax.Array:
  """[E] bool, real examples whose loss is not finite.

  Args:
    mask_E: [E] bool, real examples of finite loss.
    batch: with segment ids up to S = E / B.
  """
  targets_BxT = forwards.loss_weights(batch)
  max_segments = len(mask_E) // len(targets_BxT)
  real_E = forwards.example_sums(targets_BxT, batch, max_segments) > 0
  return real_E & ~mask_E
