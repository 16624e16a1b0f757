"""RHO-loss: what a model has yet to learn, less what cannot be learnt.

A text is worth training on when the model still loses on it and a model
trained on held-out data does not: noise is hard for both, what is known is
easy for both. Source: Prioritized Training on Points that are Learnable, Worth
Learning, and Not Yet Learnt (arXiv 2206.07137, Eq. 3). Ours: the paper picks
within every batch with the model as it is then; here a corpus is scored once,
by one checkpoint of it.
"""

from jaxcurate.ops import span_corruption
from jaxcurate.scorers import two_models
from jaxcurate.types import Network, Scorer, Vocabulary


def make(
  *,
  network: Network,
  vocabulary: Vocabulary,
  reference: Network,
  max_length: int = 512,
  long_texts: str = 'windows',
  noise_density: float = span_corruption.NOISE_DENSITY,
  mean_span_length: float = span_corruption.MEAN_SPAN_LENGTH,
  seed: int = 0,
) -> Scorer:
  """The RHO-loss scorer, column `rho`.

  rho = loss under the model - irreducible loss (under the reference)

  Args:
    network: the model that is to be trained on the documents, at the point
      where it stands (--model).
    vocabulary: of both.
    reference: the irreducible-loss model, trained on held-out documents and
      not on these (--reference); it may be much smaller, as in the
      paper. Decoder-only where the model is, else an encoder-decoder.
    max_length, long_texts, noise_density, mean_span_length, seed: see
      `likelihood.of_text`.

  Returns:
    A scorer in nats per target token; higher = learnable, worth learning and
    not yet learnt.

  Raises:
    ValueError: networks of two kinds, or an option out of its range.
  """
  return Scorer(
    columns={'rho': two_models.UNIT},
    features=two_models.features(
      network=network,
      reference=reference,
      vocabulary=vocabulary,
      max_length=max_length,
      long_texts=long_texts,
      noise_density=noise_density,
      mean_span_length=mean_span_length,
      seed=seed,
    ),
    score=lambda sums: {'rho': two_models.loss_difference(sums)},
    second=True,
  )
