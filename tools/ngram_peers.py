#!/usr/bin/env python3
"""Word n-grams beside their peers: scikit-learn's classifiers, DSIR's package.

  pip install scikit-learn data-selection
  python tools/ngram_peers.py --positives=good.jsonl.gz --raw=web.jsonl.gz

A quarter of the documents of both kinds, by a hash of their ids, is held out.
Classifiers learn the others apart and are measured on the held-out ones; with
--pages (`text`, and `label` 1 = good) also by people's judgements. The
classifiers of scikit-learn see what GPT-3's and DCLM's papers describe: counts
of words, mean n-grams, unit vectors. DSIR weighs raw documents and held-out
positives towards the other positives; the authors' package runs twice, with its
own hash and with the project's, under which the weights must be equal.
"""

import argparse
from collections.abc import Callable, Sequence
import functools
import gzip
import json
import pathlib
import re
import tempfile
import time
from typing import Any

from data_selection import hashed_ngram_dsir
import numpy as np
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import LogisticRegression

from jaxcurate.data import readers
from jaxcurate.evaluate.auc import roc_auc
from jaxcurate.models import forward
from jaxcurate.models import mesh as mesh_lib
from jaxcurate.ops import ids as ids_lib
from jaxcurate.ops import ranks, words
from jaxcurate.scorers import dsir, ngram_classifier
from jaxcurate.types import Document, Scorer

_BLOCK = 512  # documents at a time, the command's
_WORD = r'\w+|[^\w\s]+'
# Name -> settings of HashingVectorizer, and scikit-learn's C to try.
_PEERS = {
  'counts of words (GPT-3)': ({'norm': None}, (1e-4, 1e-3, 1e-2)),
  'means (fastText)': ({'norm': 'l1', 'ngram_range': (1, 2)}, (1e2, 1e4)),
  'unit vectors': ({'norm': 'l2', 'ngram_range': (1, 2)}, (1.0, 10.0)),
}


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--positives', nargs='+', required=True)
  parser.add_argument('--raw', nargs='+', required=True)
  parser.add_argument('--pages', help='JSON Lines of judged web pages')
  args = parser.parse_args()
  good, raw = (
    list(readers.open_corpus(paths).rows())
    for paths in (args.positives, args.raw)
  )
  pages, label = read_pages(args.pages) if args.pages else ([], np.zeros(0))
  (good, held_good), (raw, held_raw) = split(good), split(raw)
  print(
    f'learning from {len(good)} positives and {len(raw)} raw documents;'
    f' {len(held_good)} and {len(held_raw)} held out, {len(pages)} pages'
  )
  seen = np.repeat([True, False], [len(good), len(raw)])
  parts = [
    (held_good + held_raw, np.repeat([1, 0], [len(held_good), len(held_raw)])),
    (pages, label),
  ]
  compare_classifiers(good, raw, seen, [own for own in parts if len(own[0])])
  compare_dsir(good, [*raw, *held_raw, *held_good, *pages])


def read_pages(path: str) -> tuple[list[Document], np.ndarray]:
  """Judged pages, and which of them are good."""
  opener = gzip.open if path.endswith('.gz') else open
  with opener(path, 'rt', encoding='utf-8') as file:
    rows = [json.loads(line) for line in file]
  documents = [
    Document(f'page{i}', r['text'], None) for i, r in enumerate(rows)
  ]
  return documents, np.array([int(row['label']) for row in rows])


def split(documents: list[Document]) -> tuple[list[Document], list[Document]]:
  """Three quarters and the last, by ids."""
  held = ids_lib.hash_ids([d.id for d in documents]) % 4 == 0
  return (
    [d for d, out in zip(documents, held, strict=True) if not out],
    [d for d, out in zip(documents, held, strict=True) if out],
  )


def project(scorer: Scorer) -> Callable[[Sequence[Document]], np.ndarray]:
  """Fits; gives scores by the command's own pass, NaN where there is none."""
  assert scorer.fit is not None and scorer.score is not None
  fitted, features = scorer.fit(None, None), scorer.features
  fitted.pop('report', None)
  run = forward.Forward(features, ({}, fitted), mesh_lib.make_mesh())
  column = next(iter(scorer.columns))

  def score_block(block: Sequence[Document]) -> list[float]:
    examples, found, first = features.examples(block, None), [], 0
    flat = [example for own in examples for example in own]
    outputs = run(forward.prepare(features, flat))
    for own in examples:
      end = first + len(own)
      part = {name: array[first:end] for name, array in outputs.items()}
      combined = features.combine(part) if own else None
      found.append(scorer.score(combined)[column] if own else np.nan)
      first = end
    return found

  def score(documents: Sequence[Document]) -> np.ndarray:
    score_block(documents[:_BLOCK])  # compiles
    began, found = time.perf_counter(), []
    for start in range(0, len(documents), _BLOCK):
      found += score_block(documents[start : start + _BLOCK])
    rate = len(documents) / (time.perf_counter() - began)
    print(f'  {column}: {rate:,.0f} documents/s')
    return np.array(found)

  return score


def compare_classifiers(
  good: list[Document],
  raw: list[Document],
  seen: np.ndarray,
  parts: list[tuple[list[Document], np.ndarray]],
) -> None:
  """Prints the areas under the ROC curve on every part."""

  def show(name: str, score: Callable[[list[Document]], np.ndarray]) -> None:
    areas = [roc_auc(score(own), label > 0) for own, label in parts]
    print(
      f'{name:<40}',
      *(f'{a.auc:.4f} [{a.low:.3f}, {a.high:.3f}]' for a in areas),
      flush=True,
    )

  for max_order in (2, 1):
    for l2 in (1e-3, 1e-4, 1e-5):
      scorer = ngram_classifier.make(
        anchors=good, sample=raw, max_order=max_order, l2=l2
      )
      show(
        f'ngram_classifier, order {max_order}, l2 {l2:g}',
        project(scorer),
      )
  for name, (settings, costs) in _PEERS.items():
    vectorizer = HashingVectorizer(
      token_pattern=_WORD, n_features=2**18, alternate_sign=False, **settings
    )
    make_rows = functools.partial(rows_of, vectorizer)
    rows = make_rows([*good, *raw])
    for cost in costs:
      model = LogisticRegression(
        C=cost, class_weight='balanced', max_iter=1_000
      ).fit(rows, seen)
      show(
        f'scikit-learn: {name}, C {cost:g}',
        lambda own, model=model, make_rows=make_rows: model.decision_function(
          make_rows(own)
        ),
      )


def rows_of(vectorizer: HashingVectorizer, documents: list[Document]) -> Any:
  """A peer's sparse rows."""
  return vectorizer.transform([document.text for document in documents])


def compare_dsir(good: list[Document], corpus: list[Document]) -> None:
  """Prints how far the log weights are from those of the authors' package."""
  scorer = dsir.make(
    anchors=good, corpus=lambda count: count(corpus), min_words=0
  )
  own = project(scorer)(corpus)
  known = np.isfinite(own)
  kept = dsir.make(anchors=good, corpus=lambda count: count(corpus))
  long = [bool(e) for e in kept.features.examples(corpus, None)]
  theirs = hashed_ngram_dsir.hash_buckets
  # NLTK 3.10 cuts by the module regex, for which km² is two words and marks of
  # Indian vowels are letters.
  for name, bucket, tokenizer in (
    ('their hash', theirs, None),
    ('our hash and words', our_bucket, re.compile(_WORD).findall),
  ):
    hashed_ngram_dsir.hash_buckets = bucket
    weight, passes = authors_dsir(good, corpus, tokenizer)
    agreement = ranks.spearman(own[known], weight[known])
    apart = np.abs(own - weight)[known].max()
    print(
      f'DSIR with {name}: Spearman {agreement:.5f}, largest difference'
      f' {apart:.3g} of {np.abs(weight).max():,.0f} nats; long enough: ours'
      f' {np.sum(long)}, theirs {passes.sum()}, both {np.sum(passes & long)}',
      flush=True,
    )


@functools.cache
def our_bucket(text: str, num_buckets: int) -> int:
  """The project's bucket of one n-gram."""
  order = text.count(' ') + 1
  return int(
    words.gram_buckets(words.word_ids([text]), order, num_buckets)[0][-1]
  )


def authors_dsir(
  good: list[Document],
  corpus: list[Document],
  tokenizer: Callable[[str], list[str]] | None,
) -> tuple[np.ndarray, np.ndarray]:
  """Log weights of the authors' package, and who passes its filter."""
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    for file, documents in (('target', good), ('raw', corpus)):
      lines = [json.dumps({'text': document.text}) for document in documents]
      (folder / file).write_text('\n'.join(lines))
    peer = hashed_ngram_dsir.HashedNgramDSIR(
      raw_datasets=[str(folder / 'raw')],
      target_datasets=[str(folder / 'target')],
      cache_dir=str(folder / 'cache'),
      num_proc=1,
    )
    peer.tokenizer = tokenizer or peer.tokenizer
    began = time.perf_counter()
    peer.fit_importance_estimator(num_tokens_to_fit='all')
    peer.compute_importance_weights()
    rate = len(corpus) / (time.perf_counter() - began)
    print(f"the authors' package, fit and weights: {rate:,.0f} documents/s")
    weight = np.load(peer.log_importance_weights_dir / '0.npy')
    length = np.load(peer.perexample_metadata_dir / '0.npy')
  return weight, np.asarray(peer.perexample_metadata_filter(length))


if __name__ == '__main__':
  main()
