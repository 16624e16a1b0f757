"""Per-example gradients of LoRA adapters, projected: what LESS and TRAK store.

Every example is differentiated alone, by `vmap` over the batch, or one after
the other on a lone CPU, where that keeps a row's states in the cache. Only
the adapters' gradients are formed (see `ops.lora`), and they never leave the
device: a batch's are projected together, one tile of signs for all examples
(`ops.projection`).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
import numpy as np

from jaxcurate.ops import lora, projection, xent
from jaxcurate.scorers import likelihood
from jaxcurate.types import Batch, Features, Network, Params

ROWS = 32  # examples that share each tile of signs
_CHUNK_TOKENS = 512  # of a row, that have logits at a time
# Where a token is as good as certain, (1 - p) has no digits left in float32.
_LEAST_DOUBT = 1e-5

# (log p of each target [T], weights [T] summing to 1) -> what is differentiated
Objective = Callable[[Array, Array], Array]


class Settings(NamedTuple):
  """How gradients become features.

  Attributes:
    alpha: LoRA's scale.
    width: K, numbers per feature.
    seed: of the projection.
  """

  alpha: float
  width: int = projection.WIDTH
  seed: int = 0


def mean_loss(log_prob_T: Array, share_T: Array) -> Array:
  """Mean natural-log loss per target token."""
  return -jnp.sum(share_T * log_prob_T)


def mean_log_odds(log_prob_T: Array, share_T: Array) -> Array:
  """A function with the gradient of the targets' mean log p / (1 - p).

  d log(p / (1 - p)) = d log p / (1 - p): the denominator is held constant, so
  that a token whose p rounds to 1 has a gradient and not NaN.
  """
  return jnp.sum(
    share_T * log_prob_T / jax.lax.stop_gradient(doubt(log_prob_T))
  )


def doubt(log_prob: Array) -> Array:
  """1 - p, at least 1e-5."""
  return jnp.maximum(-jnp.expm1(log_prob), _LEAST_DOUBT)


def example_gradients(
  network: Network,
  params: Params,
  adapters: Params,
  batch: Batch,
  *,
  alpha: float,
  objective: Objective,
) -> tuple[Any, Float[Array, ' B']]:
  """The gradient of each row's objective, and its mean 1 - p.

  Args:
    network: the network.
    params: its parameters, not differentiated.
    adapters: from `ops.lora.init`.
    batch: one example per row; rows without a target have gradient 0.
    alpha: LoRA's scale.
    objective: of the row's log-probabilities, e.g. `mean_loss`.

  Returns:
    Pytree like `adapters` of [B, ...] float32; [B] float32.
  """

  def value(adapters: Params, row: Batch) -> tuple[Array, Array]:
    log_prob, share = _targets(
      network, lora.attach(params, adapters, alpha=alpha), row
    )
    return objective(log_prob, share), jnp.sum(share * doubt(log_prob))

  def one(row: Batch) -> tuple[Any, Array]:
    return jax.grad(value, has_aux=True)(adapters, row)

  if jax.default_backend() == 'cpu' and jax.device_count() == 1:
    return jax.lax.map(one, dict(batch))
  return jax.vmap(one)(dict(batch))


def project(gradients: Any, settings: Settings) -> Float[Array, 'B K']:
  """The gradients' projections, by products in bfloat16 but on a CPU."""
  return projection.project(
    gradients,
    seed=settings.seed,
    width=settings.width,
    dtype=product_dtype(),
  )


def product_dtype() -> Any:
  """What gradients are multiplied in: a CPU has no fast bfloat16."""
  return jnp.float32 if jax.default_backend() == 'cpu' else jnp.bfloat16


def is_zero(gradients: Any) -> Array:
  """[B] bool, whether every number of an example's gradient is 0."""
  some = [
    jnp.any(leaf != 0, axis=tuple(range(1, leaf.ndim)))
    for leaf in jax.tree.leaves(gradients)
  ]
  return ~jnp.any(jnp.stack(some), axis=0)


def unit(features: Float[Array, '... K']) -> Float[Array, '... K']:
  """Rows of L2 norm 1; a row of zeros stays."""
  # Divided by the largest first: squares of small gradients underflow.
  largest = jnp.max(jnp.abs(features), -1, keepdims=True)
  scaled = features / jnp.where(largest > 0, largest, 1.0)
  square = jnp.sum(scaled * scaled, -1, keepdims=True)
  return scaled * jax.lax.rsqrt(jnp.where(square > 0, square, 1.0))


def joined(found_CxBxK: Float[Array, 'C B K']) -> Float[Array, 'B D']:
  """[B, C * K]: what a row has at each checkpoint, one after the other."""
  C, B, K = found_CxBxK.shape
  return jnp.moveaxis(found_CxBxK, 0, 1).reshape(B, C * K)


def make_features(
  name: str,
  text: likelihood.Likelihood,
  apply: Callable[[Params, Batch], Float[Array, 'B D']],
) -> Features:
  """The pass that computes one vector per document, an example per row.

  Args:
    name: of the pass.
    text: makes the examples, at most one per document.
    apply: (params, batch) -> [B, D].
  """

  def with_segments(params: Params, batch: Batch, num_segments: int) -> Any:
    del num_segments  # 1
    return {'embedding': apply(params, batch)[:, None]}

  def combine(outputs: dict[str, np.ndarray]) -> dict[str, Any]:
    return {'embedding': outputs['embedding'][0]}

  return Features(
    name=name,
    examples=text.examples,
    encoder_length=text.encoder_length,
    decoder_length=text.decoder_length,
    apply=with_segments,
    combine=combine,
    max_segments=1,
    rows=ROWS,
  )


def _targets(
  network: Network, params: Params, row: Batch
) -> tuple[Array, Array]:
  """log p [T] of a row's targets, and the share [T] of each in the mean."""
  batch = {name: array[None] for name, array in row.items()}
  segments = batch['decoder_segment_ids']
  states = network.decode(
    params,
    likelihood.encode(network, params, batch),
    batch.get('encoder_segment_ids'),
    batch['decoder_input_tokens'],
    segments,
  )
  log_prob, _ = xent.token_log_prob(
    states,
    network.head(params),
    batch['decoder_target_tokens'],
    chunk_tokens=_CHUNK_TOKENS,
  )
  weights = jnp.where(segments > 0, batch['decoder_loss_weights'], 0.0)[0]
  share = weights / jnp.maximum(jnp.sum(weights), 1.0)
  return jnp.where(share > 0, log_prob[0], 0.0), share
