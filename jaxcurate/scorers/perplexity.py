"""Perplexity: how well a model predicts a text.

For an encoder-decoder this is the span-corruption loss: spans of the text are
hidden and the model writes them. The mask is fixed per document id and window,
so that a score does not depend on when or where it was computed. How to Train
Data-Efficient LLMs (arXiv 2402.09668) keeps the lowest perplexity; the column
is the mean log-likelihood per target token, so that higher = keep. The paper
does not say how T5's perplexity was masked: the fixed mask is ours.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxcurate.ops import ids as ids_lib
from jaxcurate.ops import segments as segments_lib
from jaxcurate.ops import span_corruption, xent
from jaxcurate.types import Batch, Features, Network, Params, Scorer, Vocabulary


def make(
  *,
  network: Network,
  vocabulary: Vocabulary,
  max_length: int = 512,
  long_texts: str = 'windows',
  noise_density: float = span_corruption.NOISE_DENSITY,
  mean_span_length: float = span_corruption.MEAN_SPAN_LENGTH,
  seed: int = 0,
) -> Scorer:
  """The perplexity scorer, column `perplexity`.

  Args:
    network: an encoder-decoder trained on span corruption.
    vocabulary: its vocabulary, with sentinels.
    max_length: longest corrupted input in tokens; a window of the text is
      what fits (568 tokens at 512).
    long_texts: 'windows' averages over all windows by target tokens; 'head'
      scores the first.
    noise_density: share of tokens hidden, in (0, 1).
    mean_span_length: mean tokens per hidden span, >= 1.
    seed: of the masks, >= 0.

  Returns:
    A scorer in natural-log likelihood per target token, <= 0; a document of
    fewer than two tokens has no score.

  Raises:
    ValueError: an option out of its range.
  """
  if long_texts not in ('head', 'windows'):
    raise ValueError(f"long_texts {long_texts!r} is not 'head' or 'windows'")
  noise = {'noise_density': noise_density, 'mean_span_length': mean_span_length}
  raw_length, targets_length = span_corruption.raw_length(max_length, **noise)

  def examples(ids, texts, tokens):
    del texts
    documents = []
    hashes = ids_lib.hash_ids(ids, seed).tolist()
    for key, document in zip(hashes, tokens, strict=True):
      end = len(document) if long_texts == 'windows' else raw_length
      windows = [
        np.array(document[start : start + raw_length], np.int32)
        for start in range(0, min(end, len(document)), raw_length)
      ]
      documents.append(
        [
          _corrupted(window, (key, index), vocabulary, noise)
          for index, window in enumerate(windows)
          if len(window) > 1  # one token alone hides nothing
        ]
      )
    return documents

  settings = (max_length, long_texts, *noise.values(), seed)
  features = Features(
    name=f'span_corruption:{settings}',
    examples=examples,
    encoder_length=max_length,
    decoder_length=targets_length,
    apply=_make_apply(network),
    combine=lambda outputs: {
      name: values.sum(dtype=np.float64) for name, values in outputs.items()
    },
  )
  return Scorer(
    columns={'perplexity': 'log-likelihood per token'},
    features=features,
    score=lambda sums: {'perplexity': sums['log_prob'] / sums['targets']},
  )


def _corrupted(
  window: np.ndarray,
  key: tuple[int, int],
  vocabulary: Vocabulary,
  noise: dict[str, float],
) -> dict[str, np.ndarray]:
  """One window as inputs and targets under the mask of its key."""
  rng = np.random.Generator(np.random.Philox(key=np.array(key, np.uint64)))
  mask = span_corruption.noise_mask(len(window), rng=rng, **noise)
  inputs, targets = span_corruption.corrupt(window, mask, vocabulary)
  return {
    'encoder': inputs,
    'decoder_inputs': np.concatenate([[0], targets[:-1]]).astype(np.int32),
    'decoder_targets': targets,
  }


def _make_apply(
  network: Network,
) -> Callable[[Params, Batch, int], dict[str, jax.Array]]:
  """Summed log-likelihood and number of target tokens per segment."""

  def apply(params, batch, num_segments):
    encoder_segments = batch['encoder_segment_ids']
    segments = batch['decoder_segment_ids']
    encoded = network.encode(
      params, batch['encoder_input_tokens'], encoder_segments
    )
    states = network.decode(
      params, encoded, encoder_segments, batch['decoder_input_tokens'], segments
    )
    log_prob, _ = xent.token_log_prob(
      states, network.head(params), batch['decoder_target_tokens']
    )
    real = (segments > 0).astype(jnp.float32)
    return {
      'log_prob': segments_lib.segment_sum(
        log_prob * real, segments, num_segments
      ),
      'targets': segments_lib.segment_sum(real, segments, num_segments),
    }

  return apply
