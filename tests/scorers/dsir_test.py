"""DSIR against the authors' formula, one n-gram at a time."""

import itertools
import json

import jax
import numpy as np
import pytest

from jaxcurate.cli import main as cli
from jaxcurate.data.vocabulary import ByteVocabulary
from jaxcurate.io import manifest as manifests
from jaxcurate.io import tables
from jaxcurate.ops import words
from jaxcurate.scorers import dsir
from jaxcurate.types import Document


def documents_of(texts, domain=None):
  return [Document(f'd{i}', text, domain) for i, text in enumerate(texts)]


def make(anchors, texts, **settings):
  """The scorer, and what it learns from a corpus."""
  scorer = dsir.make(
    anchors=anchors,
    corpus=lambda count: count(iter(documents_of(texts))),
    **{'min_words': 1, **settings},
  )
  return scorer, scorer.fit(None, None)


def score(score_documents, scorer, fitted, texts):
  rows = score_documents(
    scorer, ({}, fitted), documents_of(texts), ByteVocabulary()
  )
  return {
    name: np.array([row[name] if row else np.nan for row in rows])
    for name in scorer.columns
  }


def slow_grams(text, num_buckets):
  """Buckets of words and pairs of words; texts have no other signs."""
  terms = text.lower().split()
  pairs = [f'{a} {b}' for a, b in itertools.pairwise(terms)]
  return [slow_bucket(gram, num_buckets) for gram in terms + pairs]


def slow_bucket(gram, num_buckets):
  """The project's bucket of one n-gram alone."""
  order = gram.count(' ') + 1
  [found] = words.gram_buckets(words.word_ids([gram]), order, num_buckets)
  return int(found[-1])


def slow_dsir(targets, raws, documents, num_buckets, smoothing=0.0):
  """As p-lambda/dsir: dense counts of each text, one dot product."""

  def count(texts):
    counts = np.zeros(num_buckets)
    for text in texts:
      for bucket in slow_grams(text, num_buckets):
        counts[bucket] += 1
    return counts

  target, raw = count(targets) + smoothing, count(raws) + smoothing
  ratio = np.log(target / target.sum() + 1e-8) - np.log(raw / raw.sum() + 1e-8)
  return np.array([ratio @ count([text]) for text in documents])


def random_texts(seed, sizes, num_words=60):
  """Texts of words w0, w1, ..., the first ones common."""
  rng = np.random.default_rng(seed)
  return [
    ' '.join(f'W{int(word)}' for word in num_words * rng.random(size) ** 2)
    for size in sizes
  ]


def test_three_documents_by_hand(score_documents):
  # Words only. The target has a, a, b, c; the corpus a, b, b, d: ratios 2, 1/2,
  # and c and d are 1 / 4 against the floor.
  texts = ['a b', 'B d.', 'c']
  scorer, fitted = make(documents_of(['a A', 'b c']), ['a b', 'b d'],
                        max_order=1)  # fmt: skip
  found = score(score_documents, scorer, fitted, texts)['dsir']
  floor = np.log(0.25 + 1e-8) - np.log(1e-8)
  expected = [0.0, np.log(0.5) - floor, floor]
  np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize('smoothing', [0.0, 1.0])
def test_equals_a_slow_one(score_documents, smoothing):
  targets = random_texts(1, [30, 3, 400], num_words=90)
  raws = random_texts(0, [5, 40, 900, 1, 77, 300, 12, 5])
  texts = [*raws, targets[2]]
  scorer, fitted = make(
    documents_of(targets), raws, num_buckets=500, smoothing=smoothing
  )
  # A document with more than 1,024 n-grams is several examples.
  [parts] = scorer.features.examples(documents_of([raws[2]]), [None])
  assert [len(part['decoder_inputs']) for part in parts] == [1024, 775]
  found = score(score_documents, scorer, fitted, texts)['dsir']
  expected = slow_dsir(targets, raws, texts, 500, smoothing)
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


def test_every_target_has_a_column(score_documents):
  raws = random_texts(2, [50] * 6)
  first, second = random_texts(3, [80, 90]), random_texts(4, [70])
  anchors = documents_of(first, 'books') + documents_of(second, 'law')
  scorer, fitted = make(anchors, raws, num_buckets=300)
  found = score(score_documents, scorer, fitted, raws)
  assert list(found) == ['dsir', 'dsir/books', 'dsir/law']
  for name, own in (
    ('dsir', first + second), ('dsir/books', first), ('dsir/law', second)
  ):  # fmt: skip
    expected = slow_dsir(own, raws, raws, 300)
    np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-4)
  scorer, _ = make(anchors, raws, by_domain=False)
  assert list(scorer.columns) == ['dsir']


def test_counts_of_parts_add_up_in_any_order():
  documents = documents_of(random_texts(2, [20] * 2100))
  whole = dsir.count(documents, 2, 400)
  parts = jax.tree.map(
    lambda *x: sum(x),
    dsir.count(iter(documents[1500:]), 2, 400),
    dsir.count(documents[:1500], 2, 400),
  )
  np.testing.assert_array_equal(whole['grams'], parts['grams'])
  assert whole['grams'].sum() == 2100 * 39
  assert whole['grams'].dtype == np.int64
  assert dsir.count([], 2, 400)['grams'].sum() == 0


def test_the_same_distribution_weighs_nothing(score_documents):
  texts = random_texts(5, [40] * 4)
  scorer, fitted = make(documents_of(texts[::-1]), texts)
  found = score(score_documents, scorer, fitted, texts)['dsir']
  np.testing.assert_allclose(found, 0.0, atol=1e-5)


def test_short_texts_have_no_score(score_documents):
  texts = ['one two three', 'one two', ' \n']
  scorer, fitted = make(documents_of(['one']), texts, min_words=3)
  found = score(score_documents, scorer, fitted, texts)['dsir']
  np.testing.assert_array_equal(np.isfinite(found), [True, False, False])
  # Without a limit, whatever has a word at all.
  scorer, fitted = make(documents_of(['one']), texts, min_words=0)
  found = score(score_documents, scorer, fitted, texts)['dsir']
  np.testing.assert_array_equal(np.isfinite(found), [True, True, False])


@pytest.mark.parametrize(
  'settings, message',
  [
    ({'num_buckets': 0}, 'num_buckets is 0, max_order 2'),
    ({'max_order': 0}, 'max_order 0 and smoothing'),
    ({'smoothing': -1.0}, r'smoothing -1\.0, expected'),
    ({'anchors': documents_of([' '])}, '--anchors: no document has a word'),
    (
      {'anchors': [*documents_of(['a'], 'x'), *documents_of([' '], 'y')]},
      'y: no document has a word',
    ),
  ],
)
def test_bad_settings_are_refused(settings, message):
  with pytest.raises(ValueError, match=message):
    make(**{'anchors': documents_of(['a']), 'texts': ['a'], **settings})


def test_the_commands_score_and_draw(tmp_path, capsys):
  """Both methods of words, and the samplers that their papers have."""
  texts = [*random_texts(3, [60] * 10), 'too short']
  for name, rows in (('anchors', texts[:6]), ('documents', texts)):
    lines = [
      json.dumps({'id': f'{name}{i}', 'text': t}) for i, t in enumerate(rows)
    ]
    (tmp_path / f'{name}.jsonl').write_text('\n'.join(lines))
  scores = tmp_path / 'scores'
  command = [
    'score', '--method=dsir', '--method=ngram_classifier',
    f'--input={tmp_path / "documents.jsonl"}', f'--output={scores}',
    f'--anchors={tmp_path / "anchors.jsonl"}',
    '--gin.dsir.make.min_words=10',
  ]  # fmt: skip
  assert cli.main(command) == 0
  out = capsys.readouterr().out
  assert '1 without dsir' in out
  assert 'ngram_classifier: held-out AUC' in out
  table, _ = tables.read_score_table([str(scores)])
  order = [int(id_[9:]) for id_ in table.id]
  expected = slow_dsir(texts[:6], texts, texts, 10_000)[order]
  expected[np.array(order) == 10] = np.nan
  np.testing.assert_allclose(
    table.scores['dsir'], expected, rtol=1e-5, atol=1e-3
  )
  assert np.isfinite(table.scores['ngram_classifier']).all()
  for method, by, without in (
    ('importance', 'dsir', 1), ('pareto', 'ngram_classifier', 0)
  ):  # fmt: skip
    kept = tmp_path / method
    command = [
      'sample', f'--method={method}', f'--by={by}', f'--input={scores}',
      '--budget=3', f'--output={kept}',
    ]  # fmt: skip
    assert cli.main(command) == 0
    assert len(tables.read_selection(kept).id) == 3
    skipped = manifests.read_manifest(kept, 'selection')['skipped']
    assert skipped['no score'] == without
