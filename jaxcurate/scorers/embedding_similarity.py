"""Embedding similarity: how near a text lies to a few trusted ones.

The score is the mean cosine between a document's vector and those of the
anchors, which is the product with the mean of the anchors' unit vectors: one
vector is kept, however many anchors there are. It is the baseline that methods
with a reference set (LAMDAS, arXiv 2509.06524; LESS, arXiv 2402.04333) are
compared with.
"""

from collections.abc import Sequence
import hashlib

import jax
import jax.numpy as jnp
import numpy as np

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
  anchors: Sequence[Document],
  embedding: str = 'states',
  max_length: int = 512,
) -> Scorer:
  """The embedding-similarity scorer, column `embedding_similarity`.

  s(x) = mean over anchors a of cos(x, a) = <x, mean of a>, all unit vectors

  Args:
    network: any encoder (best a Sentence-T5) or decoder-only network.
    vocabulary: its vocabulary.
    anchors: the texts to be near to.
    embedding: 'states', see `embedding.make_embedding`.
    max_length: tokens of a text that the network reads.

  Returns:
    A scorer in [-1, 1]; higher = nearer to the anchors.

  Raises:
    ValueError: no anchor has text, or an unknown embedding.
  """
  vectors = embedding_lib.make_embedding(
    embedding, network=network, vocabulary=vocabulary, max_length=max_length
  )
  if vectors.column is not None:
    raise ValueError(
      f'embedding is {embedding!r}, but the anchors have no vectors: expected'
      " 'states', which runs the model over both"
    )
  tokens = vocabulary.encode_batch([anchor.text for anchor in anchors])
  found = vectors.examples(anchors, tokens)
  examples = [example for own in found for example in own]
  if not examples:
    raise ValueError(
      f'there are {len(anchors)} anchors, 0 with text to be near to; give at'
      ' least 1'
    )

  def fit(params: Params, tools: FitTools) -> dict[str, np.ndarray]:
    unit_AxD = tools.outputs(vectors, params, examples)['embedding']
    return {'mean': unit_AxD.mean(axis=0, dtype=np.float64).astype(np.float32)}

  def apply(
    both: tuple[Params, Params], batch: Batch, num_segments: int
  ) -> dict[str, jax.Array]:
    params, fitted = both
    unit_BxSxD = vectors.apply(params, batch, num_segments)['embedding']
    # HIGHEST: accelerators otherwise round float32 operands to bfloat16.
    similarity = jnp.einsum(
      'bsd,d->bs',
      unit_BxSxD,
      fitted['mean'],
      precision=jax.lax.Precision.HIGHEST,
    )
    return {'similarity': similarity}

  digest = hashlib.blake2b(repr(tokens).encode(), digest_size=8).hexdigest()
  return Scorer(
    columns={'embedding_similarity': 'mean cosine to the anchors'},
    features=vectors._replace(
      name=f'embedding_similarity:{vectors.name}:{digest}',
      apply=apply,
      combine=lambda outputs: {'similarity': outputs['similarity'][0]},
    ),
    score=lambda outputs: {
      'embedding_similarity': float(outputs['similarity'])
    },
    fit=fit,
  )
