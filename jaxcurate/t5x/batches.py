"""A T5X batch in this project's terms, and the log-probability of its targets.

T5X's padded batches say with tokens > 0 what is real; its packed ones number
the examples of a row from 1, without a limit. A weighting sees examples, at
most `max_segments` per row: what is beyond them counts with the last one.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxcurate.types import Batch

# The decoder's first input is 0, so its targets say what is real.
REAL = {
  'encoder': 'encoder_input_tokens',
  'decoder': 'decoder_target_tokens',
}


def as_batch(batch: Batch, max_segments: int) -> dict[str, jax.Array]:
  """The batch with segment ids in 1..S on both sides, 0 for padding.

  Args:
    batch: T5X's, padded or packed, of an encoder-decoder or a decoder.
    max_segments: S.

  >>> padded = {'decoder_target_tokens': jnp.array([[5, 1, 0]])}
  >>> as_batch(padded, 1)['decoder_segment_ids'].tolist()
  [[1, 1, 0]]
  """
  made = {name: jnp.asarray(value) for name, value in batch.items()}
  for side, tokens in REAL.items():
    ids = f'{side}_segment_ids'
    if ids in batch:
      made[ids] = jnp.minimum(made[ids], max_segments)
    elif tokens in batch:
      made[ids] = (made[tokens] > 0).astype(jnp.int32)
  return made


def merged_examples(batch: Batch, max_segments: int) -> Int[Array, '']:
  """How many examples count with their row's last one, having no own weight.

  Args:
    batch: T5X's.
    max_segments: S.

  >>> packed = {'decoder_segment_ids': jnp.array([[1, 2, 3], [1, 1, 0]])}
  >>> int(merged_examples(packed, 2))
  1
  """
  if 'decoder_segment_ids' not in batch:
    return jnp.int32(0)
  last_B = jnp.max(batch['decoder_segment_ids'], axis=1)
  return jnp.sum(jnp.maximum(last_B - max_segments, 0))


def target_log_prob(
  logits_BxTxV: Float[Array, 'B T V'], targets_BxT: Int[Array, 'B T']
) -> Float[Array, 'B T']:
  """Natural-log probability of each target.

  Args:
    logits_BxTxV: [B, T, V] float.
    targets_BxT: [B, T] int.

  >>> target_log_prob(jnp.zeros((1, 1, 4)), jnp.array([[2]])).round(4).tolist()
  [[-1.386299967765808]]
  """
  logits_BxTxV = logits_BxTxV.astype(jnp.float32)
  chosen_BxT = jnp.take_along_axis(
    logits_BxTxV, targets_BxT[..., None], axis=-1
  )[..., 0]
  return chosen_BxT - jax.scipy.special.logsumexp(logits_BxTxV, axis=-1)


def packing(batch: Batch) -> dict[str, jax.Array]:
  """Segment ids by feature, as T5X's loss_fn hands them to its metrics.

  Args:
    batch: T5X's; of padded rows, which tokens are real.

  >>> list(packing({'decoder_segment_ids': jnp.ones((1, 2), jnp.int32)}))
  ['decoder']
  """
  ending = '_segment_ids'
  found = {
    name.removesuffix(ending): ids
    for name, ids in batch.items()
    if name.endswith(ending)
  }
  tokens = REAL.values()
  return found or {name: batch[name] != 0 for name in tokens if name in batch}
