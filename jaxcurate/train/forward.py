"""One forward pass over a batch, and the signals a weighting reads from it.

Only what is named is computed: uniform training pays for no pooled state, and
an anchor pass that needs encoder states alone runs no decoder.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxcurate.ops import pool, segments, xent
from jaxcurate.types import Batch, Network, Params, Signals, Weighting

# Name in `needs` -> fields of Signals, in `jaxcurate.types`.
SIGNALS = {
  'loss': ('loss_E',),
  'token_loss': ('token_loss_BxT', 'target_mask_BxT'),
  'reference_loss': ('reference_loss_E',),
  'reference_token_loss': ('reference_token_loss_BxT',),
  'encoder_pooled': ('encoder_pooled_ExD',),
  'decoder_pooled': ('decoder_pooled_ExD',),
  'domain': ('domain_E',),
  'score': ('score_E',),
  'gradients': ('gradients',),
  'token_gradients': ('token_gradients',),
  'mean_gradient': ('mean_gradient',),
  'mean_loss': ('mean_loss',),
  'preconditioner': ('preconditioner',),
  'batch': ('batch',),
  'params': ('params',),
  'opt_state': ('opt_state',),
}
# The signals that hold one entry per example or per target.
PER_EXAMPLE = (
  'mask_E',
  'loss_E',
  'reference_loss_E',
  'encoder_pooled_ExD',
  'decoder_pooled_ExD',
  'domain_E',
  'score_E',
)
PER_TOKEN = ('token_loss_BxT', 'target_mask_BxT', 'reference_token_loss_BxT')
REFERENCE = frozenset({'reference_loss', 'reference_token_loss'})
ANCHORS = frozenset({'mean_gradient', 'mean_loss'})
GRADIENTS = frozenset({'gradients', 'token_gradients'})
LOSSES = frozenset({'loss', 'token_loss'}) | REFERENCE


class Forward(NamedTuple):
  """What one forward pass computed; what was not asked for is None.

  Attributes:
    encoder_states_BxLxD: after the final norm; None without an encoder.
    decoder_states_BxTxD: after the final norm.
    log_prob_BxT: [B, T] float32 natural-log probability of each target.
    log_normaliser_BxT: [B, T] float32.
  """

  encoder_states_BxLxD: jax.Array | None
  decoder_states_BxTxD: jax.Array | None
  log_prob_BxT: jax.Array | None
  log_normaliser_BxT: jax.Array | None


def forward(
  network: Network,
  params: Params,
  batch: Batch,
  *,
  loss: bool = True,
  decoder: bool = True,
  chunk_tokens: int | None = None,
  dropout_key: jax.Array | None = None,
  decoder_params: Params | None = None,
) -> Forward:
  """Runs the network over a batch.

  Args:
    network: the network.
    params: its parameters.
    batch: see `jaxcurate.types`.
    loss: compute the targets' log-probabilities.
    decoder: run the decoder (implied by `loss`).
    chunk_tokens: see `jaxcurate.ops.xent.token_log_prob`.
    dropout_key: None = no dropout.
    decoder_params: the decoder's, where they are not the encoder's.
  """
  if decoder_params is None:
    decoder_params = params
  keys = (None, None)
  if dropout_key is not None:
    keys = jax.random.split(dropout_key)
  encoded = encoder_segments = None
  if network.encode is not None:
    encoder_segments = batch['encoder_segment_ids']
    encoded = network.encode(
      params,
      batch['encoder_input_tokens'],
      encoder_segments,
      dropout_key=keys[0],
    )
  if not (decoder or loss):
    return Forward(encoded, None, None, None)
  decoded = network.decode(
    decoder_params,
    encoded,
    encoder_segments,
    batch['decoder_input_tokens'],
    batch['decoder_segment_ids'],
    dropout_key=keys[1],
  )
  if not loss:
    return Forward(encoded, decoded, None, None)
  log_prob_BxT, log_normaliser_BxT = xent.token_log_prob(
    decoded,
    network.head(params),
    batch['decoder_target_tokens'],
    chunk_tokens=chunk_tokens,
  )
  return Forward(encoded, decoded, log_prob_BxT, log_normaliser_BxT)


def loss_weights(batch: Batch) -> jax.Array:
  """[B, T] float32: 1 where a target counts; all real tokens by default."""
  real_BxT = batch['decoder_segment_ids'] > 0
  if 'decoder_loss_weights' not in batch:
    return real_BxT.astype(jnp.float32)
  return jnp.where(real_BxT, batch['decoder_loss_weights'], 0.0)


def example_sums(
  values_BxT: jax.Array, batch: Batch, max_segments: int
) -> jax.Array:
  """[E] float32: sum over each example's targets, by their loss weights."""
  weights_BxT = loss_weights(batch)
  # Padding may hold anything: it is masked before it is multiplied.
  counted_BxT = jnp.where(weights_BxT > 0, values_BxT, 0.0) * weights_BxT
  return segments.segment_sum(
    counted_BxT, batch['decoder_segment_ids'], max_segments
  ).reshape(-1)


def make_signals(
  outputs: Forward,
  needs: frozenset[str],
  batch: Batch,
  max_segments: int,
  step: jax.Array,
  reference: Forward | None = None,
) -> Signals:
  """The signals of a forward pass; no gradient flows through.

  Args:
    outputs: the forward pass.
    needs: names of the signals, as in `jaxcurate.types.Signals`.
    batch: the batch it was made from.
    max_segments: S, examples per row.
    step: [] int32, 1 for the first step.
    reference: the same batch through the reference model.
  """
  target_mask_BxT = loss_weights(batch) > 0
  count_E = example_sums(
    jnp.ones_like(loss_weights(batch)), batch, max_segments
  )
  mask_E = count_E > 0
  fields = {}

  def mean_loss(log_prob_BxT: jax.Array | None) -> jax.Array:
    assert log_prob_BxT is not None
    total_E = example_sums(-log_prob_BxT, batch, max_segments)
    return total_E / jnp.where(count_E > 0, count_E, 1.0)

  if outputs.log_prob_BxT is not None:
    loss_E = mean_loss(outputs.log_prob_BxT)
    mask_E = mask_E & jnp.isfinite(loss_E)
    if 'loss' in needs:
      fields['loss_E'] = loss_E
    if 'token_loss' in needs:
      fields['token_loss_BxT'] = -outputs.log_prob_BxT
      fields['target_mask_BxT'] = target_mask_BxT
  if reference is not None:
    if 'reference_loss' in needs:
      fields['reference_loss_E'] = mean_loss(reference.log_prob_BxT)
    if 'reference_token_loss' in needs:
      assert reference.log_prob_BxT is not None
      fields['reference_token_loss_BxT'] = -reference.log_prob_BxT
  if 'encoder_pooled' in needs:
    assert outputs.encoder_states_BxLxD is not None
    fields['encoder_pooled_ExD'] = _examples(
      pool.mean_pool(
        outputs.encoder_states_BxLxD, batch['encoder_segment_ids'], max_segments
      )
    )
  if 'decoder_pooled' in needs:
    assert outputs.decoder_states_BxTxD is not None
    fields['decoder_pooled_ExD'] = _examples(
      pool.position_weighted_pool(
        outputs.decoder_states_BxTxD, batch['decoder_segment_ids'], max_segments
      )
    )
  for name in ('domain', 'score'):
    if name in needs:
      fields[f'{name}_E'] = _document_column(batch, name)
  return Signals(mask_E=mask_E, step=step, **jax.lax.stop_gradient(fields))


def _document_column(batch: Batch, name: str) -> jax.Array:
  """[E] values that the batch carries per segment."""
  if f'document_{name}' not in batch:
    raise ValueError(
      f'the weighting needs {name!r}, and the batch has no document_{name};'
      " set windowing = 'document'"
    )
  return jnp.reshape(batch[f'document_{name}'], -1)


def shares(
  weights_BxT: jax.Array, batch: Batch, max_segments: int
) -> jax.Array:
  """[B, T] the targets' loss weights, divided by their example's sum of them.

  Args:
    weights_BxT: loss weights.
    batch: says which target is whose.
    max_segments: S, examples per row.
  """
  ids = batch['decoder_segment_ids']
  total_BxS = segments.segment_sum(weights_BxT, ids, max_segments)
  inverse_BxS = 1 / jnp.where(total_BxS > 0, total_BxS, 1.0)
  return weights_BxT * segments.segment_values(inverse_BxS, ids)


def check_needs(
  weighting: Weighting, network: Network, reference: Network | None = None
) -> None:
  """Raises ValueError when a weighting asks for a signal that is not there."""
  unknown = (weighting.needs | weighting.anchor_needs) - set(SIGNALS)
  if unknown:
    raise ValueError(
      f'the weighting needs {sorted(unknown)}, known signals: {tuple(SIGNALS)}'
    )
  if ANCHORS & weighting.needs or GRADIENTS & weighting.anchor_needs:
    raise ValueError(
      f'a batch offers {sorted(GRADIENTS)}, anchors {sorted(ANCHORS)}; the'
      ' weighting asks for those of the other'
    )
  if REFERENCE & weighting.needs and reference is None:
    raise ValueError(
      'the weighting compares with a second model, and there is none; give it'
      ' with --reference'
    )
  if network.encode is None and 'encoder_pooled' in (
    weighting.needs | weighting.anchor_needs
  ):
    raise ValueError(
      "the weighting reads the encoder's states, and a decoder-only network"
      " has no encoder; set states = 'decoder'"
    )


def _examples(values_BxSxD: jax.Array) -> jax.Array:
  return values_BxSxD.reshape(-1, values_BxSxD.shape[-1])
