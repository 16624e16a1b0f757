"""The log-likelihood of a text, whichever way a network can tell it.

A decoder-only network reads the text token by token; every token is predicted
exactly once, the first only where the model's texts begin with BOS. For an
encoder-decoder it is the span-corruption likelihood: spans of the text are
hidden and the model writes them, under a mask fixed per document id and
window, so that a score does not depend on when or where it was computed.
Perplexity, LAMDAS and every difference of two models share this kernel.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcurate.ops import ids as ids_lib
from jaxcurate.ops import segments as segments_lib
from jaxcurate.ops import span_corruption, xent
from jaxcurate.types import Batch, Network, Params, Prefix, Vocabulary

# Logits are the largest array of a pass; so many tokens have them at a time.
CHUNK_TOKENS = 1024


class Likelihood(NamedTuple):
  """How documents become examples, and examples log-likelihoods.

  Attributes:
    name: equal name = same computation, as in `Features`.
    examples: (documents, tokens) -> examples of each, as in `Features`.
    encoder_length, decoder_length: longest arrays of an example.
    sums: (network, params, batch, num_segments, ...) -> 'log_prob' and
      'targets' [B, S] float32 of each segment; the function below.
  """

  name: str
  examples: Callable[..., list[list[dict[str, np.ndarray]]]]
  encoder_length: int
  decoder_length: int
  sums: Callable[..., dict[str, jax.Array]]


def of_text(
  *,
  network: Network,
  vocabulary: Vocabulary,
  max_length: int = 512,
  long_texts: str = 'windows',
  noise_density: float = span_corruption.NOISE_DENSITY,
  mean_span_length: float = span_corruption.MEAN_SPAN_LENGTH,
  seed: int = 0,
) -> Likelihood:
  """The likelihood of a document's text.

  Args:
    network: decoder-only, or an encoder-decoder trained on span corruption.
    vocabulary: its vocabulary; with sentinels for an encoder-decoder.
    max_length: tokens the network reads at a time: of the text, or of the
      corrupted input (568 tokens of text at 512).
    long_texts: 'windows' reads all of a text, window by window; 'head' the
      first window.
    noise_density, mean_span_length, seed: of the masks, encoder-decoder only.

  Raises:
    ValueError: an option out of its range.
  """
  if long_texts not in ('head', 'windows'):
    raise ValueError(f"long_texts {long_texts!r} is not 'head' or 'windows'")
  if network.encode is None:
    if max_length < 1:
      raise ValueError(f'max_length is {max_length}, expected at least 1')
    return Likelihood(
      name=f'causal:{(max_length, long_texts, vocabulary.bos_id)}',
      examples=_causal(vocabulary.bos_id, max_length, long_texts),
      encoder_length=0,
      decoder_length=max_length,
      sums=sums,
    )
  noise = {'noise_density': noise_density, 'mean_span_length': mean_span_length}
  raw_length, targets_length = span_corruption.raw_length(max_length, **noise)
  settings = (max_length, long_texts, *noise.values(), seed)
  return Likelihood(
    name=f'span_corruption:{settings}',
    examples=_corrupted(vocabulary, raw_length, long_texts, noise, seed),
    encoder_length=max_length,
    decoder_length=targets_length,
    sums=sums,
  )


def encode(network: Network, params: Params, batch: Batch) -> jax.Array | None:
  """Encoder states of a batch, [B, L, D]; None for a decoder-only network."""
  if network.encode is None:
    return None
  return network.encode(
    params, batch['encoder_input_tokens'], batch['encoder_segment_ids']
  )


def sums(
  network: Network,
  params: Params,
  batch: Batch,
  num_segments: int,
  prefix: Prefix | None = None,
  *,
  encoded: jax.Array | None = None,
  chunk_tokens: int = CHUNK_TOKENS,
) -> dict[str, jax.Array]:
  """Summed log-likelihood and number of targets of every segment.

  Args:
    network: the network.
    params: its parameters.
    batch: packed rows; `decoder_loss_weights` says which targets count.
    num_segments: S.
    prefix: what the decoder sees before every segment, or None.
    encoded: of `encode`, where it is already there.
    chunk_tokens: about how many tokens have logits at a time.

  Returns:
    'log_prob' and 'targets', [B, S] float32 each; 0 in empty segments.
  """
  segments = batch['decoder_segment_ids']
  if encoded is None:
    encoded = encode(network, params, batch)
  states = network.decode(
    params,
    encoded,
    batch.get('encoder_segment_ids'),
    batch['decoder_input_tokens'],
    segments,
    **({} if prefix is None else {'prefix': prefix}),
  )
  log_prob, _ = xent.token_log_prob(
    states,
    network.head(params),
    batch['decoder_target_tokens'],
    chunk_tokens=chunk_tokens,
  )
  counts = jnp.where(segments > 0, batch['decoder_loss_weights'], 0.0)
  log_prob = jnp.where(counts > 0, log_prob, 0.0) * counts
  return {
    'log_prob': segments_lib.segment_sum(log_prob, segments, num_segments),
    'targets': segments_lib.segment_sum(counts, segments, num_segments),
  }


def add_windows(outputs: dict[str, np.ndarray]) -> dict[str, Any]:
  """`Features.combine`: float64 sums over a document's windows."""
  return {
    name: values.sum(axis=0, dtype=np.float64)
    for name, values in outputs.items()
  }


def _causal(
  bos_id: int | None, max_length: int, long_texts: str
) -> Callable[..., list[list[dict[str, np.ndarray]]]]:
  """Windows of max_length inputs; each target stands one token later.

  A window begins with the last target of the one before it, so that no token
  is left out or scored twice.
  """

  def examples(documents, tokens):
    del documents
    found = []
    for document in tokens:
      text = document if bos_id is None else [bos_id, *document]
      end = len(text) - 1 if long_texts == 'windows' else max_length
      found.append(
        [
          {
            'decoder_inputs': np.array(
              text[start : min(start + max_length, len(text) - 1)], np.int32
            ),
            'decoder_targets': np.array(
              text[start + 1 : start + 1 + max_length], np.int32
            ),
          }
          for start in range(0, min(end, len(text) - 1), max_length)
        ]
      )
    return found

  return examples


def _corrupted(
  vocabulary: Vocabulary,
  raw_length: int,
  long_texts: str,
  noise: dict[str, float],
  seed: int,
) -> Callable[..., list[list[dict[str, np.ndarray]]]]:
  """Windows as inputs and targets under the mask of (id, window)."""

  def examples(documents, tokens):
    hashes = ids_lib.hash_ids([d.id for d in documents], seed).tolist()
    found = []
    for key, document in zip(hashes, tokens, strict=True):
      end = len(document) if long_texts == 'windows' else raw_length
      windows = [
        np.array(document[start : start + raw_length], np.int32)
        for start in range(0, min(end, len(document)), raw_length)
      ]
      found.append(
        [
          hide(window, (key, index))
          for index, window in enumerate(windows)
          if len(window) > 1  # one token alone hides nothing
        ]
      )
    return found

  def hide(window: np.ndarray, key: tuple[int, int]) -> dict[str, np.ndarray]:
    rng = np.random.Generator(np.random.Philox(key=np.array(key, np.uint64)))
    mask = span_corruption.noise_mask(len(window), rng=rng, **noise)
    inputs, targets = span_corruption.corrupt(window, mask, vocabulary)
    return {
      'encoder': inputs,
      'decoder_inputs': np.concatenate([[0], targets[:-1]]).astype(np.int32),
      'decoder_targets': targets,
    }

  return examples
