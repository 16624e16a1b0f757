"""A classifier of hashed word n-grams: does a text read like trusted ones?

Logistic regression of --anchors against a sample of the corpus itself. GPT-3
filters so (arXiv 2005.14165, appendix A: HashingTF of words; its rule to keep
documents is `samplers.pareto`), and DCLM ("DataComp-LM", arXiv 2406.11794,
section 4.4: fastText with pairs of words, OpenHermes-2.5 and ELI5 against
RefinedWeb; kept is the best tenth, `samplers.top_k`).

Ours: square roots of the n-grams' shares, of unit norm, where Spark counts and
fastText averages (docs/methods.md compares them); the exact optimum of a
penalised loss in which both classes count the same, where fastText stops after
a few epochs. The bag is read whole, whatever the length. No network runs.
"""

from collections.abc import Sequence
import hashlib
import itertools
from typing import Any

import jax
import numpy as np
import scipy

from jaxcurate.ops import logistic, ngrams, segments, words
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

UNIT = 'log P(positive)'
_LENGTH = 1024  # n-grams per example, summed up in float64
_ROWS = 64  # per device: a pass of one look-up per n-gram
_BLOCK = 1024  # documents made rows at a time
_FOLDS = 5  # one is held out, for the report


def make(
  *,
  network: Network | None = None,
  vocabulary: Vocabulary | None = None,
  anchors: Sequence[Document],
  sample: Sequence[Document],
  max_order: int = 2,
  l2: float = 1e-4,
) -> Scorer:
  """The n-gram classifier, column `ngram_classifier`.

  s(x) = log P(positive | x) = -log(1 + exp(-sum_g w_g sqrt(c_g / n) - b))

  c_g of the n n-grams of x are g; the log-odds are s - log(1 - exp(s)).

  Args:
    network, vocabulary: not used.
    anchors: positives.
    sample: random documents of the corpus, the negatives, whatever they are.
    max_order: longest n-gram in words: DCLM has 2, GPT-3 1.
    l2: > 0, of the penalty, see `logistic.fit`. Weak ones tell these sources
      apart, strong ones carry further.

  Returns:
    A scorer; P is what is left after both kinds were made equally frequent. A
    document without a word has no score.

  Raises:
    ValueError: a setting is out of its range, or a side has no word.
  """
  del network, vocabulary
  if max_order < 1 or not l2 > 0:
    raise ValueError(
      f'max_order is {max_order} and l2 {l2}, expected at least 1 and above 0'
    )
  positives = _rows(anchors, max_order)
  negatives = _rows(sample, max_order)
  for name, rows in (('anchors', positives), ('sample', negatives)):
    if not rows.shape[0]:
      raise ValueError(f'no document of the {name} has a word')

  def fit(params: Params, tools: FitTools | None) -> dict[str, Any]:
    del params, tools
    found, report = _fit(positives, negatives, l2)
    return {
      # The bias last, as of one more bucket that every document has once.
      'weight': np.append(found.weight, found.bias).astype(np.float32),
      'report': report,
    }

  def examples(documents, tokens):
    del tokens
    found = ngrams.matrix(_word_ids(documents), max_order)
    ends = found.indptr
    return [
      _parts(found.indices[start:end], found.data[start:end])
      for start, end in itertools.pairwise(ends)
    ]

  def score(outputs):
    log_odds = float(outputs['log_odds'])
    return {'ngram_classifier': logistic.log_prob(log_odds)}

  digest = hashlib.blake2b(repr((max_order, l2)).encode(), digest_size=8)
  digest.update(positives.indices.tobytes() + positives.data.tobytes())
  return Scorer(
    columns={'ngram_classifier': UNIT},
    features=Features(
      name=f'ngram_classifier:{digest.hexdigest()}',
      examples=examples,
      encoder_length=0,
      decoder_length=_LENGTH,
      apply=_log_odds,
      combine=lambda outputs: {
        'log_odds': np.sum(outputs['log_odds'], dtype='f8')
      },
      rows=_ROWS,
      reads=0,
    ),
    score=score,
    fit=fit,
  )


def _word_ids(documents: Sequence[Document]) -> list[np.ndarray]:
  return words.word_ids([document.text for document in documents])


def _rows(
  documents: Sequence[Document], max_order: int
) -> scipy.sparse.csr_matrix:
  """The bags of those documents that have a word."""
  blocks = [scipy.sparse.csr_matrix((0, ngrams.NUM_BUCKETS))]
  for start in range(0, len(documents), _BLOCK):
    ids = _word_ids(documents[start : start + _BLOCK])
    blocks.append(ngrams.matrix([own for own in ids if len(own)], max_order))
  return scipy.sparse.csr_matrix(scipy.sparse.vstack(blocks))


def _fit(
  positives: scipy.sparse.csr_matrix,
  negatives: scipy.sparse.csr_matrix,
  l2: float,
) -> tuple[logistic.Classifier, dict[str, Any]]:
  """The classifier, and how well one of four fifths does on the last."""
  rows = scipy.sparse.csr_matrix(scipy.sparse.vstack([positives, negatives]))
  counts = positives.shape[0], negatives.shape[0]
  positive = np.repeat([True, False], counts)
  report: dict[str, Any] = {'positives': counts[0], 'negatives': counts[1]}
  if min(counts) >= _FOLDS:
    held = np.concatenate([np.arange(count) % _FOLDS == 0 for count in counts])
    trial = logistic.fit(rows[~held], positive[~held], l2)
    log_odds = rows[held] @ trial.weight
    report['held-out AUC'] = _auc(log_odds, positive[held])
  return logistic.fit(rows, positive, l2), report


def _auc(score: np.ndarray, positive: np.ndarray) -> float:
  """Probability that a positive is above another, ties half."""
  count = int(positive.sum())
  rank_sum = scipy.stats.rankdata(score)[positive].sum()
  above = rank_sum - count * (count + 1) / 2
  return float(above / (count * (len(positive) - count)))


def _parts(
  bucket: np.ndarray, value: np.ndarray
) -> list[dict[str, np.ndarray]]:
  """A document's buckets and what they hold, in parts; none without a word."""
  if not len(bucket):
    return []
  bucket = np.append(bucket, np.int32(ngrams.NUM_BUCKETS))
  value = np.append(value, 1.0).astype(np.float32)
  return [
    {
      'decoder_inputs': bucket[start : start + _LENGTH],
      'decoder_targets': bucket[start : start + _LENGTH],
      'decoder_weights': value[start : start + _LENGTH],
    }
    for start in range(0, len(bucket), _LENGTH)
  ]


def _log_odds(
  both: tuple[Params, Params], batch: Batch, num_segments: int
) -> dict[str, jax.Array]:
  """Sums over the n-grams of each segment, [B, S]."""
  _, fitted = both
  weight_BxT = fitted['weight'][batch['decoder_input_tokens']]
  return {
    'log_odds': segments.segment_sum(
      weight_BxT * batch['decoder_loss_weights'],
      batch['decoder_segment_ids'],
      num_segments,
    )
  }
