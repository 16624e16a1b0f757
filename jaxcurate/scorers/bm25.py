"""BM25: how well a text answers to the words of a few trusted ones.

Every anchor is a query, and the score is the mean over them of Okapi BM25
(Robertson and Zaragoza, The Probabilistic Relevance Framework, 2009, equation
3.15). It is the score of ADAPT-BM25 (arXiv 2605.05227, equation 8), whose
weights are this column through a gate (`weightings.adapt_bm25`), and the
retrieval baseline of LESS (arXiv 2402.04333) and ADAPT.

The mean over queries is one sparse product with summed query weights: a query
enters only by how often it has a term (an identity, not an approximation).
Nothing is hashed: the terms that count are those of the anchors, numbered.
Document frequencies and lengths are plain sums over the whole corpus, read
once before it is scored, each host its share; kept beside the scores like
whatever else a method learns first. No network runs.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
import hashlib
import itertools
import re
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxcurate.ops import segments
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

_WORD = re.compile(r'\w+')
# Terms per example: a document with more is several, added up in float64, so
# that no long sum is rounded in float32.
_LENGTH = 128
_ROWS = 64  # per device: a pass of one look-up per term
_BLOCK = 1024  # documents read at a time

Term = Any  # a word, or the id of a token
# Sums over documents: 'documents' [], 'terms' [] and 'with_term' [V], int64.
Counts = dict[str, np.ndarray]
# `count` -> what `count(documents)` adds up to over the whole corpus.
Corpus = Callable[[Callable[[Iterable[Document]], Counts]], Counts]


def make(
  *,
  network: Network | None = None,
  vocabulary: Vocabulary,
  anchors: Sequence[Document],
  corpus: Corpus,
  terms: Literal['words', 'tokens'] = 'words',
  k1: float = 1.5,
  b: float = 0.75,
) -> Scorer:
  """The BM25 scorer, column `bm25`.

  s(x) = sum_t q_t idf_t c_t (k1 + 1) / (c_t + k1 (1 - b + b |x| / mean |x|))

  c_t: how often x has term t; q_t: how often an anchor has it, on average;
  idf_t = ln(1 + (N - n_t + 0.5) / (n_t + 0.5)), n_t of N documents have it.

  Args:
    network: not used.
    vocabulary: its tokens are the terms where they are to be.
    anchors: the queries.
    corpus: reads all documents for their counts, see `Corpus`.
    terms: 'words', runs of letters and digits in lower case, or 'tokens' of the
      vocabulary, for languages that do not part words by spaces.
    k1: >= 0, how slowly repeated terms saturate.
    b: in [0, 1], how much long documents are discounted.

  Returns:
    A scorer >= 0, 0 for a text without any term of the anchors.

  Raises:
    ValueError: a setting is out of its range, or the anchors have no term.
  """
  del network
  if k1 < 0:
    raise ValueError(f'k1 is {k1}, expected at least 0')
  if not 0 <= b <= 1:
    raise ValueError(f'b is {b}, expected a number in [0, 1]')
  if terms not in ('words', 'tokens'):
    raise ValueError(f"terms is {terms!r}, expected 'words' or 'tokens'")

  def terms_of(documents: Sequence[Document]) -> list[list[Term]]:
    texts = [document.text for document in documents]
    return vocabulary.encode_batch(texts) if terms == 'tokens' else words(texts)

  queries = terms_of(anchors)
  known = sorted(set(itertools.chain.from_iterable(queries)))
  number = {term: i for i, term in enumerate(known)}
  if not number:
    raise ValueError(
      f'there are {len(anchors)} anchors, 0 with {terms}; give at least 1 with'
      ' text'
    )
  query_V = np.zeros(len(number))
  for term in itertools.chain.from_iterable(queries):
    query_V[number[term]] += 1 / len(queries)

  def fit(params: Params, tools: FitTools | None) -> dict[str, np.ndarray]:
    del params, tools
    counts = corpus(lambda documents: count(documents, terms_of, number))
    return weights_of(counts, query_V)

  def examples(documents, tokens):
    found = tokens if terms == 'tokens' else terms_of(documents)
    return [_entries(own, number) for own in found]

  def apply(
    both: tuple[Params, Params], batch: Batch, num_segments: int
  ) -> dict[str, jax.Array]:
    _, fitted = both
    times_BxT = jnp.asarray(batch['decoder_target_tokens'], jnp.float32)
    length_BxT = jnp.asarray(batch['decoder_document_terms'], jnp.float32)
    norm_BxT = k1 * (1 - b + b * length_BxT / fitted['mean_terms'])
    share_BxT = times_BxT / jnp.where(times_BxT > 0, times_BxT + norm_BxT, 1.0)
    weight_BxT = fitted['weight'][batch['decoder_input_tokens']]
    return {
      'bm25': segments.segment_sum(
        (k1 + 1) * weight_BxT * share_BxT,
        batch['decoder_segment_ids'],
        num_segments,
      )
    }

  made = repr((terms, k1, b, known, query_V.tolist()))
  digest = hashlib.blake2b(made.encode(), digest_size=8).hexdigest()
  return Scorer(
    columns={'bm25': 'mean BM25 over the anchors'},
    features=Features(
      name=f'bm25:{digest}',
      examples=examples,
      encoder_length=0,
      decoder_length=_LENGTH,
      apply=apply,
      combine=lambda outputs: {'bm25': np.sum(outputs['bm25'], dtype='f8')},
      rows=_ROWS,
      reads=0,
    ),
    score=lambda outputs: {'bm25': float(outputs['bm25'])},
    fit=fit,
  )


def words(texts: Iterable[str]) -> list[list[Term]]:
  """The words of texts: runs of letters, digits and underscores, lower case.

  >>> words(['It is BM25, is it?'])
  [['it', 'is', 'bm25', 'is', 'it']]
  """
  return [_WORD.findall(text.lower()) for text in texts]


def count(
  documents: Iterable[Document],
  terms_of: Callable[[Sequence[Document]], list[list[Term]]],
  number: Mapping[Term, int],
) -> Counts:
  """Counts of some documents; those of parts add up to those of the whole.

  Args:
    documents: any part of the corpus.
    terms_of: all terms of each document.
    number: term -> its number below V, for the terms that matter.

  Returns:
    'documents' [], how many; 'terms' [], their terms in all; 'with_term' [V],
    how many have each term; int64.
  """
  documents, num, total = iter(documents), 0, 0
  with_term_V = np.zeros(len(number), np.int64)
  while block := list(itertools.islice(documents, _BLOCK)):
    for own in terms_of(block):
      total += len(own)
      with_term_V[[number[term] for term in number.keys() & set(own)]] += 1
    num += len(block)
  return {
    'documents': np.array(num, np.int64),
    'terms': np.array(total, np.int64),
    'with_term': with_term_V,
  }


def weights_of(counts: Counts, query_V: np.ndarray) -> dict[str, np.ndarray]:
  """What scoring needs of the corpus.

  Args:
    counts: of the whole corpus.
    query_V: [V] float, how often an anchor has each term, on average.

  Returns:
    'weight' [V] float32, q_t idf_t; 'mean_terms' [] float32, of a document.
  """
  num, have_V = int(counts['documents']), counts['with_term']
  idf_V = np.log1p((num - have_V + 0.5) / (have_V + 0.5))
  mean = int(counts['terms']) / max(num, 1)
  return {
    'weight': (query_V * idf_V).astype(np.float32),
    'mean_terms': np.array(
      mean or 1.0, np.float32
    ),  # without a term all lengths are 0
  }


def _entries(
  terms: Iterable[Term], number: Mapping[Term, int]
) -> list[dict[str, Any]]:
  """A document's terms that matter and how often it has them, in parts."""
  times = Counter(terms)
  found = sorted((number[t], times[t]) for t in number.keys() & times.keys())
  # Without any, one that it has 0 times: a document without examples would
  # have no score.
  term, often = np.array(found or [(0, 0)], np.int32).T
  length = np.full(len(term), times.total(), np.int32)
  return [
    {
      'decoder_inputs': term[start : start + _LENGTH],
      'decoder_targets': often[start : start + _LENGTH],
      'decoder_document_terms': length[start : start + _LENGTH],
    }
    for start in range(0, len(term), _LENGTH)
  ]
