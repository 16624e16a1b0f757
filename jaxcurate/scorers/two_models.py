"""One text under two models: what every difference of two losses reads.

RHO-loss and CoLoR-Filter are the same subtraction of two likelihoods of the
same targets; they share this pass, and differ in what the models were trained
on.
"""

from typing import Any

import jax
import numpy as np

from jaxcurate.ops import span_corruption
from jaxcurate.scorers import likelihood
from jaxcurate.types import Batch, Features, Network, Params, Vocabulary

UNIT = 'loss difference per token'


def features(
  *,
  network: Network,
  reference: Network,
  vocabulary: Vocabulary,
  max_length: int = 512,
  long_texts: str = 'windows',
  noise_density: float = span_corruption.NOISE_DENSITY,
  mean_span_length: float = span_corruption.MEAN_SPAN_LENGTH,
  seed: int = 0,
) -> Features:
  """The likelihoods of a document under a model and a reference model.

  Args:
    network: the model.
    reference: the other one; of another size if need be, but of the same kind.
    vocabulary: of both.
    max_length, long_texts, noise_density, mean_span_length, seed: see
      `likelihood.of_text`.

  Returns:
    Features whose `apply` takes (params, reference params); 'model' and
    'reference' are summed natural-log likelihoods, 'targets' their number.

  Raises:
    ValueError: a decoder beside an encoder-decoder, or an option out of its
      range.
  """
  if (network.encode is None) != (reference.encode is None):
    kinds = ('an encoder-decoder', 'decoder-only')
    raise ValueError(
      f'--model is {kinds[network.encode is None]} and --reference is'
      f' {kinds[reference.encode is None]}: they do not predict the same'
      ' tokens; give two models of one kind'
    )
  text = likelihood.of_text(
    network=network,
    vocabulary=vocabulary,
    max_length=max_length,
    long_texts=long_texts,
    noise_density=noise_density,
    mean_span_length=mean_span_length,
    seed=seed,
  )

  def apply(
    both: tuple[Params, Params], batch: Batch, num_segments: int
  ) -> dict[str, jax.Array]:
    params, reference_params = both
    of_model = text.sums(network, params, batch, num_segments)
    of_reference = text.sums(reference, reference_params, batch, num_segments)
    return {
      'model': of_model['log_prob'],
      'reference': of_reference['log_prob'],
      'targets': of_model['targets'],
    }

  return Features(
    name=f'two_models:{text.name}',
    examples=text.examples,
    encoder_length=text.encoder_length,
    decoder_length=text.decoder_length,
    apply=apply,
    combine=likelihood.add_windows,
  )


def loss_difference(sums: dict[str, Any]) -> float:
  """Mean loss under the model minus mean loss under the reference.

  d = -(log p_model(x) - log p_reference(x)) / T

  Args:
    sums: float64 'model' and 'reference', summed natural-log likelihoods of
      one document, and 'targets', T >= 1.

  Returns:
    Nats per token; higher = the reference predicts the text better.

  >>> loss_difference({'model': -6.0, 'reference': -4.0, 'targets': 4.0})
  0.5
  """
  return float(np.asarray(sums['reference'] - sums['model']) / sums['targets'])
