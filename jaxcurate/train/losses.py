"""What each target of a batch adds to the loss, before any weight.

A target whose loss weight is m counts m under the reduction 'tokens', and m
divided by its example's sum of them under 'examples'. Examples whose loss is
not finite count nowhere.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxcurate.ops import segments
from jaxcurate.train import forward as forwards
from jaxcurate.types import Batch, Signals

Reduction = Literal['tokens', 'examples']
SUMS = ('nll', 'count', 'weighted_nll', 'targets', 'weights')
DOMAIN_SUMS = ('domain_nll', 'domain_targets')


class Targets(NamedTuple):
  """The targets of a batch, [B, T] float32 each, 0 where nothing counts.

  Attributes:
    real: their loss weights.
    share: how much each counts in the loss.
    nll: their negative log-probabilities, in nats; unmasked.
    penalty: z_loss * log_normaliser^2; unmasked.
  """

  real: jax.Array
  share: jax.Array
  nll: jax.Array
  penalty: jax.Array


def targets_of(
  outputs: forwards.Forward,
  signals: Signals,
  batch: Batch,
  *,
  max_segments: int,
  reduction: Reduction,
  z_loss: float,
) -> Targets:
  """The targets of a forward pass.

  Args:
    outputs: with losses.
    signals: of the same pass; its mask says which examples count.
    batch: the batch.
    max_segments: S, examples per row.
    reduction: add up the losses of targets, or the mean losses of examples.
    z_loss: factor of the squared log normaliser.
  """
  assert outputs.log_prob_BxT is not None
  assert outputs.log_normaliser_BxT is not None
  target_BxT = forwards.loss_weights(batch)
  real_BxT = target_BxT * on_tokens(signals.mask_E, batch, max_segments)
  share_BxT = real_BxT
  if reduction == 'examples':
    share_BxT = forwards.shares(real_BxT, batch, max_segments)
  return Targets(
    real_BxT,
    share_BxT,
    -outputs.log_prob_BxT,
    z_loss * outputs.log_normaliser_BxT**2,
  )


def weighted_loss(
  targets: Targets, weights_BxT: jax.Array
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """(summed weighted loss with its penalty, the sums named in `SUMS`).

  'nll' and 'count' are over all targets; 'weighted_nll' and 'weights' under
  the reduction and the weights, 'targets' under the reduction alone.

  Args:
    targets: of `targets_of`.
    weights_BxT: of each target.
  """
  weights_BxT = targets.share * weights_BxT
  sums = {
    'nll': _dot(targets.real, targets.nll),
    'count': jnp.sum(targets.real),
    'weighted_nll': _dot(weights_BxT, targets.nll),
    'targets': jnp.sum(targets.share),
    'weights': jnp.sum(weights_BxT),
  }
  return _dot(weights_BxT, targets.nll + targets.penalty), sums


def domain_sums(
  targets: Targets, batch: Batch, max_segments: int, num_domains: int
) -> dict[str, jax.Array]:
  """'domain_nll' and 'domain_targets', [M] float32: 'nll' and 'count' of each.

  Args:
    targets: of `targets_of`.
    batch: with the examples' 'document_domain'.
    max_segments: S, examples per row.
    num_domains: M.

  Raises:
    ValueError: the batch does not say which example is of which domain.
  """
  if 'document_domain' not in batch:
    raise ValueError(
      "losses of domains need document_domain; set windowing = 'document'"
    )
  codes_E = jnp.reshape(batch['document_domain'], (-1, 1))
  member_ExM = codes_E == jnp.arange(num_domains)
  nll_BxT = jnp.where(targets.real > 0, targets.real * targets.nll, 0.0)

  def total(values_BxT: jax.Array) -> jax.Array:
    ids = batch['decoder_segment_ids']
    values_E = segments.segment_sum(values_BxT, ids, max_segments).reshape(-1)
    return jnp.sum(jnp.where(member_ExM, values_E[:, None], 0.0), axis=0)

  return dict(
    zip(DOMAIN_SUMS, (total(nll_BxT), total(targets.real)), strict=True)
  )


def on_tokens(weights: jax.Array, batch: Batch, max_segments: int) -> jax.Array:
  """[B, T] float32: every target's value is that of its example.

  Args:
    weights: [E] of examples; [B, T] of targets comes back as it is.
    batch: says which target is whose.
    max_segments: S, examples per row.
  """
  if weights.ndim == 2:
    return weights
  return segments.segment_values(
    weights.astype(jnp.float32).reshape(-1, max_segments),
    batch['decoder_segment_ids'],
  )


def _dot(weights: jax.Array, values: jax.Array) -> jax.Array:
  # Where the weight is 0 the value may be anything: it is never multiplied.
  return jnp.sum(jnp.where(weights > 0, weights * values, 0.0))
