"""DSIR: how much likelier the n-grams of a text are under trusted ones.

The log importance weight of "Data Selection for Language Models via Importance
Resampling" (arXiv 2302.03169, section 4): two bags of hashed n-grams, one of
--anchors and one of the whole corpus, and the logarithm of the ratio of their
probabilities of the text. Numbers and the order of work are those of the
authors' code (p-lambda/dsir, `HashedNgramDSIR`); `samplers.importance` draws.

The weight is a sum over n-grams: long texts have large ones, of either sign.

Ours: another hash of the same range; the corpus' distribution is of all of
it, where the code stops after 10^9 n-grams; one column per target. Counts are
plain sums over the corpus, read once before it is scored, each host its share.
"""

from collections.abc import Callable, Iterable, Sequence
import hashlib
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from jaxcurate.ops import segments, words
from jaxcurate.scorers import reference_sets
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

UNIT = 'log importance weight'
# N-grams per example: a document with more is several, added up in float64, so
# that no long sum is rounded in float32.
_LENGTH = 1024
_ROWS = 64  # per device: a pass of one look-up per n-gram
_BLOCK = 1024  # documents read at a time
_FLOOR = 1e-8  # p-lambda/dsir, inside the logarithms
# 'grams' [K] int64, how often each bucket occurs.
Counts = dict[str, np.ndarray]
# `count` -> what `count(documents)` adds up to over the whole corpus.
Corpus = Callable[[Callable[[Iterable[Document]], Counts]], Counts]


def make(
  *,
  network: Network | None = None,
  vocabulary: Vocabulary | None = None,
  anchors: Sequence[Document],
  corpus: Corpus,
  num_buckets: int = 10_000,
  max_order: int = 2,
  min_words: int = 100,
  smoothing: float = 0.0,
  by_domain: bool = True,
) -> Scorer:
  """The DSIR scorer, column `dsir`, and `dsir/<domain>` of several targets.

  log W(x) = sum_g [log(p_g + 1e-8) - log(q_g + 1e-8)]

  over the n-grams g of x in order and with repeats; p and q are their shares
  among those of the anchors and of the corpus.

  Args:
    network, vocabulary: not used.
    anchors: the target. Of several domains each is a target of its own as
      well; `dsir` is of all together.
    corpus: reads all documents for their counts, see `Corpus`.
    num_buckets: K >= 1.
    max_order: longest n-gram, >= 1.
    min_words: a document with fewer has no score.
    smoothing: >= 0, added to every bucket's count (Laplace).
    by_domain: whether domains of the anchors are targets.

  Returns:
    A scorer in nats per document.

  Raises:
    ValueError: a setting is out of its range, or a target has no word.
  """
  del network, vocabulary
  if min(num_buckets, max_order) < 1 or smoothing < 0:
    raise ValueError(
      f'num_buckets is {num_buckets}, max_order {max_order} and smoothing'
      f' {smoothing}, expected at least 1, 1 and 0'
    )

  def count_grams(documents: Iterable[Document]) -> Counts:
    return count(documents, max_order, num_buckets)

  parts = reference_sets.documents_by_domain(anchors, by_domain)
  names = [name for name in parts if name is not None]
  columns = ['dsir', *(f'dsir/{name}' for name in names)]
  targets = [anchors, *(parts[name] for name in names)]
  target_CxK = np.stack([count_grams(own)['grams'] for own in targets])
  for name, target_K in zip(['--anchors', *names], target_CxK, strict=True):
    if not target_K.any():
      raise ValueError(f'{name}: no document has a word; give some with text')

  def fit(params: Params, tools: FitTools | None) -> dict[str, np.ndarray]:
    del params, tools
    raw_K = corpus(count_grams)['grams']
    ratio_CxK = log_ratios(target_CxK, raw_K, smoothing)
    return {'log_ratio': ratio_CxK.astype(np.float32)}

  def examples(documents, tokens):
    del tokens
    ids = words.word_ids([document.text for document in documents])
    grams = words.gram_buckets(ids, max_order, num_buckets)
    return [
      _parts(own) if len(words_of) >= max(min_words, 1) else []
      for words_of, own in zip(ids, grams, strict=True)
    ]

  def score(outputs):
    return dict(zip(columns, outputs['log_weight'].tolist(), strict=True))

  made = repr((num_buckets, max_order, min_words, smoothing, columns))
  digest = hashlib.blake2b(made.encode(), digest_size=8)
  digest.update(target_CxK.tobytes())
  return Scorer(
    columns=dict.fromkeys(columns, UNIT),
    features=Features(
      name=f'dsir:{digest.hexdigest()}',
      examples=examples,
      encoder_length=0,
      decoder_length=_LENGTH,
      apply=_log_weights,
      combine=lambda outputs: {
        'log_weight': np.sum(outputs['log_weight'], axis=0, dtype='f8')
      },
      rows=_ROWS,
      reads=0,
    ),
    score=score,
    fit=fit,
  )


def count(
  documents: Iterable[Document], max_order: int, num_buckets: int
) -> Counts:
  """Counts of some documents; those of parts add up to those of the whole.

  Args:
    documents: any part of the corpus.
    max_order: longest n-gram.
    num_buckets: K.

  Returns:
    'grams' [K] int64, how often the n-grams of each bucket occur.
  """
  documents = iter(documents)
  grams_K = np.zeros(num_buckets, np.int64)
  while block := list(itertools.islice(documents, _BLOCK)):
    ids = words.word_ids([document.text for document in block])
    found = words.gram_buckets(ids, max_order, num_buckets)
    grams_K += np.bincount(np.concatenate(found), minlength=num_buckets)
  return {'grams': grams_K}


def log_ratios(
  target_CxK: np.ndarray, raw_K: np.ndarray, smoothing: float
) -> np.ndarray:
  """What one n-gram of each bucket adds to the weight of a text.

  Args:
    target_CxK: [C, K] int, counts of each target.
    raw_K: [K] int, counts of the corpus.
    smoothing: added to all counts.

  Returns:
    [C, K] float64, natural logs.

  >>> log_ratios(np.array([[1, 3]]), np.array([4, 4]), 0.0).round(3).tolist()
  [[-0.693, 0.405]]
  """

  def log_share(counts: np.ndarray) -> np.ndarray:
    more = counts + float(smoothing)
    total = more.sum(axis=-1, keepdims=True)
    return np.log(more / np.maximum(total, 1) + _FLOOR)

  return log_share(target_CxK) - log_share(raw_K)


def _parts(grams: np.ndarray) -> list[dict[str, np.ndarray]]:
  """A document's n-grams in parts."""
  cuts = (
    grams[start : start + _LENGTH] for start in range(0, len(grams), _LENGTH)
  )
  return [{'decoder_inputs': cut, 'decoder_targets': cut} for cut in cuts]


def _log_weights(
  both: tuple[Params, Params], batch: Batch, num_segments: int
) -> dict[str, jax.Array]:
  """Sums over the n-grams of each segment, [B, S, C]."""
  _, fitted = both
  member_BxTxS = segments.membership(batch['decoder_segment_ids'], num_segments)
  # One product for all targets; HIGHEST, or accelerators round to bfloat16.
  return {
    'log_weight': jnp.einsum(
      'bts,btc->bsc',
      member_BxTxS.astype(jnp.float32),
      fitted['log_ratio'].T[batch['decoder_input_tokens']],
      precision=jax.lax.Precision.HIGHEST,
    )
  }
