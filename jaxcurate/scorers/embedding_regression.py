"""Embedding regression: labels of a few documents, predicted for all others.

A linear head on frozen document vectors learns the labels (say grades from 0
to 5 by a large model or by people) of a small labelled set, and the score is
the label it predicts: the classifier of FineWeb-Edu (The FineWeb Datasets,
arXiv 2406.17557, section 4), there on Snowflake-arctic-embed-m with 450,000
grades by Llama-3-70B. Ours: standardised vectors, ridge regression in closed
form where the paper trains by gradient descent, and its strength chosen by
leaving one document out, which also says how good the head is.
"""

from collections.abc import Sequence
import hashlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcurate.ops import ranks, ridge
from jaxcurate.scorers import embedding as embedding_lib
from jaxcurate.types import (
  Batch,
  Document,
  FitTools,
  Network,
  Params,
  Scorer,
  Vocabulary,
)


def make(
  *,
  network: Network,
  vocabulary: Vocabulary,
  labelled: Sequence[Document],
  embedding: str = 'states',
  max_length: int = 512,
) -> Scorer:
  """The embedding-regression scorer, column `embedding_regression`.

  s(x) = (e(x) - mean) @ weight + bias, see `ops.ridge.fit`

  Args:
    network: any encoder (best a Sentence-T5) or decoder-only network.
    vocabulary: its vocabulary.
    labelled: documents with a `label`, at least two with text.
    embedding: 'states', see `embedding.make_embedding`.
    max_length: tokens of a text that the network reads.

  Returns:
    A scorer in the unit of the labels, not cut to their range; higher labels
    must mean better documents.

  Raises:
    ValueError: too few labelled documents, or an unknown embedding.
  """
  vectors = embedding_lib.make_embedding(
    embedding, network=network, vocabulary=vocabulary, max_length=max_length
  )
  if vectors.column is not None:
    raise ValueError(
      f'embedding is {embedding!r}, but labelled documents have no vectors:'
      " expected 'states', which runs the model over both"
    )
  tokens = vocabulary.encode_batch([document.text for document in labelled])
  found = vectors.examples(labelled, tokens)
  examples = [example for own in found for example in own]
  labels_N = np.array(
    [d.label for d, own in zip(labelled, found, strict=True) if own], float
  )
  if len(examples) < 2:
    raise ValueError(
      f'there are {len(labelled)} labelled documents, {len(examples)} with'
      ' text to learn from; give at least 2 (FineWeb-Edu has 450,000)'
    )

  def fit(params: Params, tools: FitTools) -> dict[str, Any]:
    vectors_NxD = tools.outputs(vectors, params, examples)['embedding']
    head = ridge.fit(vectors_NxD, labels_N)
    return {
      'mean': head.mean.astype(np.float32),
      'weight': head.weight.astype(np.float32),
      'bias': np.float32(head.bias),
      'report': {
        'held-out Spearman': ranks.spearman(head.left_out, labels_N),
        'held-out R²': ridge.explained(labels_N, head.left_out),
        'ridge': head.strength,
        'labelled': len(labels_N),
      },
    }

  def apply(
    both: tuple[Params, Params], batch: Batch, num_segments: int
  ) -> dict[str, jax.Array]:
    params, fitted = both
    unit_BxSxD = vectors.apply(params, batch, num_segments)['embedding']
    # HIGHEST: accelerators otherwise round float32 operands to bfloat16. The
    # mean first: weights are large where vectors vary little.
    above = jnp.einsum(
      'bsd,d->bs',
      unit_BxSxD - fitted['mean'],
      fitted['weight'],
      precision=jax.lax.Precision.HIGHEST,
    )
    return {'label': above + fitted['bias']}

  made = repr((tokens, labels_N.tolist()))
  digest = hashlib.blake2b(made.encode(), digest_size=8).hexdigest()
  return Scorer(
    columns={'embedding_regression': 'predicted label'},
    features=vectors._replace(
      name=f'embedding_regression:{vectors.name}:{digest}',
      apply=apply,
      combine=lambda outputs: {'label': outputs['label'][0]},
    ),
    score=lambda outputs: {'embedding_regression': float(outputs['label'])},
    fit=fit,
  )
