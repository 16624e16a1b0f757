"""The ratings that a judge is trained on, and their loss.

What is trained is what scores: the pass is that of `scorers.rater` (a head on
pooled states) or of `scorers.ask_llm` (the network's own answer), and windows
of a text are averaged before the loss as they are when a corpus is scored.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxcurate.ops import judge_loss
from jaxcurate.scorers import rater
from jaxcurate.types import (
  Batch,
  Features,
  HeadSettings,
  Network,
  Params,
  Scorer,
  Vocabulary,
)

_SURE = 1e-7  # of P(yes): log-odds stay within 16
_BLOCK_ROWS = 32  # 16,384 tokens at the usual 512


class Reading(NamedTuple):
  """How a judge reads windows of texts.

  Attributes:
    features: makes the windows.
    windows: (network params, head, batch, S) -> 'rating' [B, S, C] log-odds or
      numbers, 'tokens' [B, S].
  """

  features: Features
  windows: Callable[[Params, Params, Batch, int], dict[str, jax.Array]]


def read_with_head(
  network: Network, vocabulary: Vocabulary, settings: HeadSettings
) -> Reading:
  """A head on pooled states, as `scorers.rater` reads it."""
  features = rater.make_features(network, vocabulary, settings)
  return Reading(
    features,
    lambda params, head, batch, num_segments: features.apply(
      (params, head), batch, num_segments
    ),
  )


def read_answer(scorer: Scorer) -> Reading:
  """The network's own yes, as `scorers.ask_llm` reads it.

  rating = log P(yes) - log(1 - P(yes)): whatever is not yes counts as no, so
  that the trained P(yes) is the probability that was aimed at.

  Args:
    scorer: an Ask-LLM of one criterion that reads one window per text.
  """

  def windows(params, head, batch, num_segments):
    del head
    outputs = scorer.features.apply(params, batch, num_segments)
    log_yes = jnp.minimum(outputs['log_yes'], -_SURE)
    rating = log_yes - jnp.log(-jnp.expm1(log_yes))
    return {'rating': rating[..., None], 'tokens': outputs['text_tokens']}

  return Reading(scorer.features, windows)


def rate_texts(
  reading: Reading,
  params: Mapping[str, Any],
  batch: Batch,
  num_texts: int,
) -> Float[Array, 'M C']:
  """Ratings of the texts of a batch.

  Args:
    reading: how.
    params: 'network', and 'head', {} for none.
    batch: of `judge_data.make_batch`.
    num_texts: M.

  Returns:
    [M, C] float32; of texts without a window, what the head gives to nothing.
  """
  text_ExM = batch['text'].reshape(-1, 1) == jnp.arange(num_texts)
  rated = _in_blocks(
    lambda rows: reading.windows(
      params['network'], params['head'], rows, batch['text'].shape[1]
    ),
    {k: v for k, v in batch.items() if k not in ('text', 'target')},
  )
  rating_ExC = rated['rating'].reshape(text_ExM.shape[0], -1)
  weight_ExM = jnp.where(text_ExM, rated['tokens'].reshape(-1, 1), 0.0)
  total_M = jnp.maximum(jnp.sum(weight_ExM, axis=0), 1.0)
  mean_MxC = (
    jnp.einsum(
      'em,ec->mc',
      weight_ExM,
      rating_ExC,
      precision=jax.lax.Precision.HIGHEST,
    )
    / total_M[:, None]
  )
  if not params['head']:
    return mean_MxC
  head = params['head']
  return mean_MxC + jnp.log(total_M)[:, None] * head['length'] + head['bias']


def _in_blocks(
  function: Callable[[Batch], dict[str, jax.Array]], rows: Batch
) -> dict[str, jax.Array]:
  """The function of all rows, in the memory of `_BLOCK_ROWS` of them.

  How many rows a step's texts fill is known only when they are drawn, and
  gradients need every row's activations: they are computed again, block by
  block. Rows that lie on one device stay there.
  """
  num_rows = len(next(iter(rows.values())))
  if num_rows <= _BLOCK_ROWS:
    return function(rows)
  num_blocks = -(-num_rows // _BLOCK_ROWS)
  block_rows = -(-num_rows // (8 * num_blocks)) * 8  # over up to 8 devices
  missing = num_blocks * block_rows - num_rows

  def split(array: jax.Array) -> jax.Array:
    whole = jnp.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1))
    blocks = whole.reshape(block_rows, num_blocks, *array.shape[1:])
    return jnp.swapaxes(blocks, 0, 1)

  found = jax.lax.map(jax.checkpoint(function), jax.tree.map(split, dict(rows)))
  return {
    name: jnp.swapaxes(array, 0, 1).reshape(-1, *array.shape[2:])[:num_rows]
    for name, array in found.items()
  }


def mean_loss(
  reading: Reading, loss: str, params: Mapping[str, Any], batch: Batch
) -> Float[Array, '']:
  """Mean loss of the judgements of a batch.

  Args:
    reading: how texts are read.
    loss: of `judge_loss.LOSSES`.
    params: 'network' and 'head'.
    batch: of `judge_data.make_batch`.
  """
  rating = rate_items(reading, loss, params, batch)
  return judge_loss.mean(loss, rating, batch['target'])


def rate_items(
  reading: Reading, loss: str, params: Mapping[str, Any], batch: Batch
) -> Float[Array, 'I C']:
  """Ratings of texts; for 'bradley_terry' the first's minus the second's.

  Args:
    reading, loss, params, batch: see `mean_loss`.
  """
  num_items = len(batch['target'])
  if loss != 'bradley_terry':
    return rate_texts(reading, params, batch, num_items)
  rating = rate_texts(reading, params, batch, 2 * num_items)
  return rating[:num_items] - rating[num_items:]
