"""Clusters with key terms: domains for a corpus that has none.

Vectors of a sample of the corpus are grouped by spherical k-means, as CLIMB
(arXiv 2504.13161, section 3.1) and SemDeDup (arXiv 2303.09540) do, every group
is named by its key terms, and each document of the corpus goes to the nearest
centroid in the one pass that scores it. The folder then serves as `--domains`.

The vectors are the model's pooled states or, by default, those of latent
semantic analysis of the sample's words, which needs no model: topics are in the
words, and a small encoder that was not trained for topics lacks them (the
shipped judge: docs/methods.md).
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy  # its parts load at their first use

from jaxcurate.ops import key_terms, kmeans, segments, word_vectors
from jaxcurate.scorers import bm25
from jaxcurate.scorers import embedding as embedding_lib
from jaxcurate.types import (
  Batch,
  Document,
  Features,
  FitTools,
  Network,
  Params,
  Scorer,
  Vocabulary,
)

_NAME_TERMS, _TERMS = 3, 10
_HIGHEST = jax.lax.Precision.HIGHEST  # else operands are rounded to bfloat16


def make(
  *,
  network: Network | None = None,
  vocabulary: Vocabulary,
  sample: Sequence[Document],
  num_clusters: int = 24,
  embedding: str = 'words',
  max_length: int = 512,
  width: int = 64,
  merge_above: float | None = None,
  seed: int = 0,
) -> Scorer:
  """The clusters scorer, columns `clusters` and `clusters/index`.

  k(x) = argmax_k <e(x), c_k>;  score = <e(x), c_k(x)>

  Args:
    network: of 'states': any encoder, best a Sentence-T5, or decoder.
    vocabulary: its vocabulary.
    sample: random documents of the corpus, which make the clusters: some dozen
      per cluster or more.
    num_clusters: at most; fewer where the sample has fewer distinct texts.
    embedding: 'words', latent semantic analysis of the sample, or 'states',
      see `embedding.make_embedding`.
    max_length: words, or tokens, of a text that are read.
    width: numbers in a vector of 'words'.
    merge_above: clusters whose centroids have a mean cosine above this are one
      domain (average linkage), None to merge none.
    seed: of the seeding.

  Returns:
    A scorer: the cosine to the nearest centroid (higher = more typical), and
    the number of its cluster, the largest of the sample being 0. Names, key
    terms and sizes in the sample are the fit's report.

  Raises:
    ValueError: a setting out of its range, or no document of the sample has
      text.
  """
  if num_clusters < 1 or width < 1:
    raise ValueError(
      f'num_clusters is {num_clusters} and width {width}, expected at least 1'
    )
  if merge_above is not None and not -1 <= merge_above <= 1:
    raise ValueError(f'merge_above is {merge_above}, expected in [-1, 1]')
  if embedding == 'words':
    vectors, learn = _words(max_length, width, seed)
  else:
    vectors, learn = _states(
      embedding_lib.make_embedding(
        embedding, network=network, vocabulary=vocabulary, max_length=max_length
      ),
    )
  tokens = vocabulary.encode_batch([document.text for document in sample])
  found = vectors.examples(sample, tokens)
  examples = [example for own in found for example in own]
  if not examples:
    raise ValueError(
      f'{len(sample)} documents were drawn from the corpus, 0 of them with text'
    )
  texts = [d.text for d, own in zip(sample, found, strict=True) if own]

  def fit(params: Params, tools: FitTools) -> dict[str, Any]:
    points_NxD, table = learn(params, tools, examples)
    clusters = kmeans.fit(points_NxD, num_clusters, seed=seed)
    group_K = _merged(clusters, merge_above)
    index_N = np.where(clusters.cluster >= 0, group_K[clusters.cluster], -1)
    terms = key_terms.key_terms(
      bm25.words(texts), index_N.tolist(), int(group_K.max()) + 1, _TERMS
    )
    return {
      **table,
      'centroid': clusters.centroid,
      'group': group_K,
      'report': {
        'mean cosine': clusters.objective,
        'sample': len(texts),
        'names': [
          ' '.join([str(k), *own[:_NAME_TERMS]]) for k, own in enumerate(terms)
        ],
        'terms': terms,
        'documents': np.bincount(index_N[index_N >= 0]).tolist(),
      },
    }

  def apply(
    both: tuple[Params, Params], batch: Batch, num_segments: int
  ) -> dict[str, jax.Array]:
    unit_BxSxD = vectors.apply(both, batch, num_segments)['embedding']
    cosine_BxSxK = jnp.einsum(
      'bsd,kd->bsk', unit_BxSxD, both[1]['centroid'], precision=_HIGHEST
    )
    index_BxS = both[1]['group'][jnp.argmax(cosine_BxSxK, axis=-1)]
    return {
      'cosine': cosine_BxSxK.max(axis=-1),
      'index': index_BxS.astype(jnp.float32),
    }

  settings = (num_clusters, width, merge_above, seed)
  return Scorer(
    columns={
      'clusters': 'cosine to the centroid',
      'clusters/index': 'number of the cluster',
    },
    features=vectors._replace(
      name=f'clusters:{vectors.name}:{settings}',
      apply=apply,
      combine=lambda outputs: {
        name: outputs[name][0] for name in ('cosine', 'index')
      },
    ),
    score=lambda outputs: {
      'clusters': float(outputs['cosine']),
      'clusters/index': float(outputs['index']),
    },
    fit=fit,
  )


# (params, tools, examples) -> [N, D] points and what the pass needs of them.
_Learn = Callable[
  [Params, FitTools, list[dict]], tuple[np.ndarray, dict[str, np.ndarray]]
]


def _states(states: Features) -> tuple[Features, _Learn]:
  """Pooled states, whose pass also takes what was fitted."""
  if states.column is not None:
    raise ValueError(
      "the documents drawn have no vectors: expected embedding 'words' or"
      " 'states'"
    )

  def learn(params, tools, examples):
    return tools.outputs(states, params, examples)['embedding'], {}

  def apply(both, batch, num_segments):
    return states.apply(both[0], batch, num_segments)

  return states._replace(apply=apply), learn


def _words(max_length: int, width: int, seed: int) -> tuple[Features, _Learn]:
  """Sums of word vectors, learnt from the sample."""

  def examples(documents, tokens):
    del tokens
    words = bm25.words([document.text for document in documents])
    found = [word_vectors.entries(own[:max_length]) for own in words]
    return [
      [{'decoder_inputs': bucket, 'decoder_targets': count}]
      if len(bucket)
      else []
      for bucket, count in found
    ]

  def learn(params, tools, examples):
    del params, tools
    counts = word_vectors.matrix(
      [(e['decoder_inputs'], e['decoder_targets']) for e in examples]
    )
    table_VxD = word_vectors.learn(counts, width, seed)
    return counts @ table_VxD, {'word': table_VxD}

  def apply(both, batch, num_segments):
    _, fitted = both
    ids_BxT = batch['decoder_segment_ids']
    count_BxT = jnp.maximum(batch['decoder_target_tokens'], 1)
    member_BxTxS = segments.membership(ids_BxT, num_segments)
    sum_BxSxD = jnp.einsum(
      'bts,btd->bsd',
      member_BxTxS * (1 + jnp.log(count_BxT))[:, :, None],
      fitted['word'][batch['decoder_input_tokens']],
      precision=_HIGHEST,
    )
    norm_BxSx1 = jnp.linalg.norm(sum_BxSxD, axis=-1, keepdims=True)
    unit_BxSxD = sum_BxSxD / jnp.where(norm_BxSx1 > 0, norm_BxSx1, 1.0)
    return {'embedding': unit_BxSxD}

  return Features(
    name=f'words:{max_length}',
    examples=examples,
    encoder_length=0,
    decoder_length=max_length,
    apply=apply,
    combine=lambda outputs: outputs,
    reads=0,
  ), learn


def _merged(clusters: kmeans.Clusters, merge_above: float | None) -> np.ndarray:
  """[K] int32, the domain of each cluster, the largest being 0."""
  num_clusters = len(clusters.centroid)
  if merge_above is None or num_clusters == 1:
    return np.arange(num_clusters, dtype=np.int32)
  tree = scipy.cluster.hierarchy
  label_K = tree.fcluster(
    tree.linkage(clusters.centroid, 'average', metric='cosine'),
    1 - merge_above,
    'distance',
  )
  size_K = np.bincount(clusters.cluster[clusters.cluster >= 0])
  size = np.bincount(label_K, size_K)
  order = np.argsort(-size, kind='stable')
  rank = np.empty(len(size), np.int32)
  rank[order] = np.arange(len(size))
  return rank[label_K]
