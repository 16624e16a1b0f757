"""BM25 against a slow one that asks every anchor about every document."""

import json
import math

import jax
import numpy as np
import pytest

from jaxcurate.cli import main as cli
from jaxcurate.data.vocabulary import ByteVocabulary
from jaxcurate.io import tables
from jaxcurate.scorers import bm25
from jaxcurate.types import Document

VOCABULARY = ByteVocabulary()


def documents_of(texts):
  return [Document(f'd{i}', text, None) for i, text in enumerate(texts)]


def make(anchors, texts, **settings):
  """The scorer, and what it learns from a corpus."""
  scorer = bm25.make(
    vocabulary=VOCABULARY,
    anchors=documents_of(anchors),
    corpus=lambda count: count(iter(documents_of(texts))),
    **settings,
  )
  return scorer, scorer.fit(None, None)


def slow_bm25(queries, documents, k1, b):
  """Mean over queries, for every document; both are lists of terms."""
  num = len(documents)
  mean = sum(map(len, documents)) / num
  scores = []
  for own in documents:
    total = 0.0
    for query in queries:
      for term in query:
        have = sum(term in other for other in documents)
        idf = math.log(1 + (num - have + 0.5) / (have + 0.5))
        times = own.count(term)
        norm = k1 * (1 - b + b * len(own) / mean)
        total += idf * times * (k1 + 1) / (times + norm) if times else 0.0
    scores.append(total / len(queries))
  return np.array(scores)


def random_texts(seed, sizes, num_words=90):
  """Texts of words w0, w1, ..., the first ones common."""
  rng = np.random.default_rng(seed)
  return [
    ' '.join(f'w{int(word)}' for word in num_words * rng.random(size) ** 2)
    for size in sizes
  ]


def score(score_documents, scorer, fitted, texts):
  rows = score_documents(scorer, ({}, fitted), documents_of(texts), VOCABULARY)
  return np.array([row['bm25'] for row in rows])


def test_three_documents_by_hand(score_documents):
  # 3 documents of 2 words on average. ln 1.6 for A, in 2 of them, and ln 8/3
  # for C, in 1; an anchor has A 1/2 times and C once on average.
  texts = ['a b', 'A, a: C!', 'b']
  scorer, fitted = make(['a', 'c c'], texts)
  assert fitted['mean_terms'] == 2.0
  np.testing.assert_allclose(
    fitted['weight'], [math.log(1.6) / 2, math.log(8 / 3)], rtol=1e-6
  )
  found = score(score_documents, scorer, fitted, texts)
  second = 0.2350018 * 5 / 4.0625 + 0.9808293 * 2.5 / 3.0625
  np.testing.assert_allclose(found, [0.2350018, second, 0.0], rtol=1e-6)
  # Okapi's limits: k1 = 0 asks only whether a word is there.
  scorer, fitted = make(['a', 'c c'], texts, k1=0.0)
  found = score(score_documents, scorer, fitted, texts)
  np.testing.assert_allclose(found, [0.2350018, 1.2158311, 0.0], rtol=1e-6)


@pytest.mark.parametrize('k1, b', [(1.5, 0.75), (1.2, 0.0)])
def test_equals_a_slow_one(score_documents, k1, b):
  texts = random_texts(0, [5, 40, 900, 1, 77, 300, 12, 5])
  anchors = random_texts(1, [30, 3, 400], num_words=200)
  scorer, fitted = make(anchors, texts, k1=k1, b=b)
  # A document with more than 128 different terms is several examples.
  [parts] = scorer.features.examples(documents_of([anchors[2]]), [None])
  assert len(parts) == 2
  texts = [*texts, anchors[2]]  # not in the corpus
  found = score(score_documents, scorer, fitted, texts)
  corpus = [text.split() for text in texts[:-1]]
  queries = [text.split() for text in anchors]
  expected = slow_bm25(queries, corpus, k1, b)
  np.testing.assert_allclose(found[:-1], expected, rtol=1e-6)
  assert found[-1] > found[:-1].max()


def test_tokens_of_the_vocabulary(score_documents):
  texts, anchors = ['abcab', 'xyz', 'zzabz'], ['ab', 'z']
  scorer, fitted = make(anchors, texts, terms='tokens')
  found = score(score_documents, scorer, fitted, texts)
  expected = slow_bm25([*map(list, anchors)], [*map(list, texts)], 1.5, 0.75)
  np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_counts_of_parts_add_up_in_any_order():
  documents = documents_of(random_texts(2, [20] * 2100))
  number = {f'w{i}': i for i in range(50)}

  def count(part):
    return bm25.count(
      iter(part), lambda d: bm25.words([x.text for x in d]), number
    )

  whole = count(documents)
  parts = jax.tree.map(
    lambda *x: sum(x), count(documents[1500:]), count(documents[:1500])
  )
  jax.tree.map(np.testing.assert_array_equal, whole, parts)
  assert whole['documents'] == 2100
  assert whole['terms'] == 2100 * 20
  assert whole['with_term'].dtype == np.int64
  assert count([])['documents'] == 0


def test_nothing_in_common_is_zero(score_documents):
  scorer, fitted = make(['a word'], ['other', '...', ''])
  found = score(score_documents, scorer, fitted, ['other', '?', ''])
  np.testing.assert_array_equal(found, 0.0)
  # A corpus without a single word has no mean length to compare with.
  scorer, fitted = make(['a word'], ['...'])
  assert np.isfinite(score(score_documents, scorer, fitted, ['a'])).all()


@pytest.mark.parametrize(
  'settings, message',
  [
    ({'k1': -1.0}, 'k1 is -1.0, expected at least 0'),
    ({'b': 1.5}, r'b is 1.5, expected a number in \[0, 1\]'),
    ({'anchors': ['', '...']}, 'there are 2 anchors, 0 with words'),
  ],
)
def test_bad_settings_are_refused(settings, message):
  with pytest.raises(ValueError, match=message):
    make(**{'anchors': ['a'], 'texts': ['a'], **settings})


def test_the_command_counts_the_corpus_once_and_keeps_it(tmp_path):
  texts = random_texts(3, [30] * 12)
  for name, rows in (('anchors', texts[:2]), ('documents', texts)):
    lines = [
      json.dumps({'id': f'{name}{i}', 'text': t}) for i, t in enumerate(rows)
    ]
    (tmp_path / f'{name}.jsonl').write_text('\n'.join(lines))
  output = tmp_path / 'scores'
  command = [
    'score', '--method=bm25', f'--input={tmp_path / "documents.jsonl"}',
    f'--anchors={tmp_path / "anchors.jsonl"}', f'--output={output}',
  ]  # fmt: skip
  assert cli.main(command) == 0
  table, _ = tables.read_score_table([str(output)])
  found = table.scores['bm25'][np.argsort(table.id)]
  texts = [texts[int(name[9:])] for name in sorted(table.id)]
  queries = [t.split() for t in random_texts(3, [30] * 12)[:2]]
  expected = slow_bm25(queries, [t.split() for t in texts], 1.5, 0.75)
  np.testing.assert_allclose(found, expected, rtol=1e-6)
  assert (output / 'fitted' / 'bm25.safetensors').exists()
