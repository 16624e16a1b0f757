"""Perplexity: how well a model predicts a text.

How to Train Data-Efficient LLMs (arXiv 2402.09668) keeps the lowest
perplexity; the column is the mean log-likelihood per target token, so that
higher = keep. The paper does not say how T5's perplexity was masked: the mask
fixed per document (`likelihood`) is ours.
"""

from jaxcurate.ops import span_corruption
from jaxcurate.scorers import likelihood
from jaxcurate.types import Features, Network, Scorer, Vocabulary


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
    network: decoder-only, or an encoder-decoder trained on span corruption.
    vocabulary: its vocabulary, with sentinels for an encoder-decoder.
    max_length: tokens the network reads at a time; of an encoder-decoder, the
      longest corrupted input (a window of the text is 568 tokens at 512).
    long_texts: 'windows' averages over all windows by target tokens; 'head'
      scores the first.
    noise_density: share of tokens hidden, in (0, 1); encoder-decoder only.
    mean_span_length: mean tokens per hidden span, >= 1; the same.
    seed: of the masks, >= 0; the same.

  Returns:
    A scorer in natural-log likelihood per target token, <= 0; a document of
    fewer than two tokens has no score, unless the model begins with BOS.

  Raises:
    ValueError: an option out of its range.
  """
  text = likelihood.of_text(
    network=network,
    vocabulary=vocabulary,
    max_length=max_length,
    long_texts=long_texts,
    noise_density=noise_density,
    mean_span_length=mean_span_length,
    seed=seed,
  )
  features = Features(
    name=text.name,
    examples=text.examples,
    encoder_length=text.encoder_length,
    decoder_length=text.decoder_length,
    apply=lambda params, batch, num_segments: text.sums(
      network, params, batch, num_segments
    ),
    combine=likelihood.add_windows,
  )
  return Scorer(
    columns={'perplexity': 'log-likelihood per token'},
    features=features,
    score=lambda sums: {'perplexity': sums['log_prob'] / sums['targets']},
  )
