"""CoLoR-Filter: what fine-tuning on the wanted data made likelier.

A small prior model is trained on general text and then fine-tuned on the
downstream data; texts that the fine-tuned (conditional) model predicts better
than the prior are kept. Source: CoLoR-Filter: Conditional Loss Reduction
Filtering (arXiv 2406.10670). Ours: losses are means
over tokens; the paper's texts all have one length, so there it is the same.
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
  """The CoLoR-Filter scorer, column `color_filter`.

  color_filter = loss under the prior - loss under the conditional model

  Args:
    network: the prior model (--model).
    vocabulary: of both.
    reference: the conditional model, the prior fine-tuned on the downstream
      data (--reference).
    max_length, long_texts, noise_density, mean_span_length, seed: see
      `likelihood.of_text`.

  Returns:
    A scorer in nats per target token; higher = more like the downstream data
    than like the prior's.

  Raises:
    ValueError: networks of two kinds, or an option out of its range.
  """
  return Scorer(
    columns={'color_filter': two_models.UNIT},
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
    score=lambda sums: {'color_filter': two_models.loss_difference(sums)},
    second=True,
  )
