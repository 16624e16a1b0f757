"""Clusters: groups of a sample by its words or states, with names."""

import numpy as np
import pytest

from jaxcurate.data.vocabulary import ByteVocabulary
from jaxcurate.models import t5
from jaxcurate.ops import word_vectors
from jaxcurate.scorers import bm25, clusters, embedding
from jaxcurate.types import Document

VOCABULARY = ByteVocabulary()
TOPICS = [
  'ship wave sail storm anchor harbour deck mast'.split(),
  'loop file bug byte class code print stack'.split(),
  'flour oven bread butter sugar spoon yeast dough'.split(),
]
SIZES = (14, 10, 6)


def texts_of(sizes, seed=0):
  """Texts of three topics, the topics' numbers, in a random order."""
  rng = np.random.default_rng(seed)
  topic = rng.permutation(np.repeat(np.arange(3), sizes))
  return [
    ' '.join(['the', *rng.choice(TOPICS[t], 6, replace=False)]) for t in topic
  ], topic


def documents_of(texts):
  return [Document(f'd{i}', text, None) for i, text in enumerate(texts)]


def make(texts, **settings):
  return clusters.make(
    vocabulary=VOCABULARY,
    sample=documents_of(texts),
    **{'num_clusters': 3, 'width': 4, 'max_length': 32, **settings},
  )


@pytest.fixture(scope='module')
def fitted(fit_tools):
  """(scorer, what it fitted) of thirty texts of three topics."""
  scorer = make(texts_of(SIZES)[0])
  return scorer, scorer.fit({}, fit_tools)


def test_three_topics_are_found_and_named(fitted):
  scorer, found = fitted
  report = found['report']
  assert report['documents'] == list(SIZES) and report['sample'] == 30
  for k, (name, terms) in enumerate(
    zip(report['names'], report['terms'], strict=True)
  ):
    assert name == ' '.join([str(k), *terms[:3]])
    assert set(terms) == set(TOPICS[k])
  assert found['group'].tolist() == [0, 1, 2]
  row = scorer.score(
    scorer.features.combine(
      {'cosine': np.array([0.5]), 'index': np.array([2.0])}
    )
  )
  assert row == {'clusters': 0.5, 'clusters/index': 2.0}
  assert list(row) == list(scorer.columns)


def test_scores_agree_with_slow_vectors(fitted, score_documents):
  scorer, found = fitted
  arrays = {name: a for name, a in found.items() if name != 'report'}
  texts, topic = texts_of((4, 4, 4), seed=1)
  texts += ['of nothing known', 'ship ship code', '...']
  rows = score_documents(scorer, ({}, arrays), documents_of(texts), VOCABULARY)
  assert rows.pop() is None  # not a word
  for text, row in zip(texts, rows, strict=False):
    total = np.zeros(4)
    words = bm25.words([text])[0]
    for word in sorted(set(words)):
      [bucket], _ = word_vectors.entries([word])
      vector = np.float64(arrays['word'][bucket])
      total += (1 + np.log(words.count(word))) * vector
    norm = np.linalg.norm(total) or 1.0
    cosine = np.float64(arrays['centroid']) @ total / norm
    assert row['clusters'] == pytest.approx(cosine.max(), abs=1e-5)
    assert row['clusters/index'] == int(np.argmax(cosine))
  index = [row['clusters/index'] for row in rows[:12]]
  assert index == topic.tolist()
  assert rows[12]['clusters'] == 0.0


def test_near_clusters_are_merged(fitted, fit_tools):
  _, found = fitted
  near = found['centroid'] @ found['centroid'].T
  assert near[np.triu_indices(3, 1)].max() < 0.5
  texts = texts_of(SIZES)[0]
  split = make(texts, num_clusters=9).fit({}, fit_tools)
  assert len(split['report']['names']) == 9
  merged = make(texts, num_clusters=9, merge_above=0.5).fit({}, fit_tools)
  np.testing.assert_array_equal(merged['centroid'], split['centroid'])
  assert merged['report']['documents'] == list(SIZES)
  assert merged['group'].max() == 2
  one = make(texts, num_clusters=9, merge_above=-1.0).fit({}, fit_tools)
  assert one['report']['documents'] == [30] and not one['group'].any()


def test_states_are_grouped_as_they_are(
  draw_params, fit_tools, score_documents
):
  network = t5.make_network(
    t5.T5Config(
      vocab_size=VOCABULARY.size,
      embed_dim=16,
      num_heads=2,
      head_dim=8,
      mlp_dim=32,
      num_encoder_layers=1,
      num_decoder_layers=0,
    )
  )
  params = draw_params(network)
  texts = [f'{"ax"[i % 2] * 9} {i}' for i in range(20)]
  scorer = make(texts, network=network, embedding='states', num_clusters=2)
  found = scorer.fit(params, fit_tools)
  assert found.pop('report')['documents'] == [10, 10]
  rows = score_documents(
    scorer, (params, found), documents_of(texts), VOCABULARY
  )
  index = [row['clusters/index'] for row in rows]
  assert index[::2] == [index[0]] * 10 and index[1::2] == [index[1]] * 10
  assert index[0] != index[1]
  features = embedding.encoder_embedding(network, VOCABULARY, max_length=32)
  tokens = VOCABULARY.encode_batch(texts)
  flat = [own for [own] in features.examples(documents_of(texts), tokens)]
  vectors = fit_tools.outputs(features, params, flat)['embedding']
  expected = (vectors @ found['centroid'].T).max(axis=1)
  found = [row['clusters'] for row in rows]
  np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize('texts', [['one two three'], ['same text'] * 5])
def test_one_text_is_one_cluster(texts, fit_tools):
  found = make(texts).fit({}, fit_tools)
  assert found['report']['documents'] == [len(texts)]
  assert found['report']['names'] == ['0']  # nothing tells it from the rest


def test_the_sample_has_no_say_in_the_name():
  """A fit serves other corpora; other settings are other clusters."""
  names = [
    make(texts_of(SIZES, seed)[0], num_clusters=num).features.name
    for seed, num in ((0, 3), (1, 3), (0, 4))
  ]
  assert names[0] == names[1] != names[2]


@pytest.mark.parametrize(
  ('texts', 'settings', 'why'),
  [
    ([], {}, '0 documents were drawn'),
    (['..', '?'], {}, '2 documents were drawn from the corpus, 0 of them'),
    (['a'], {'num_clusters': 0}, 'num_clusters is 0'),
    (['a'], {'merge_above': 1.5}, 'merge_above is 1.5'),
    (['a'], {'embedding': 'states'}, 'needs a network'),
    (['a'], {'embedding': 'column:v'}, 'have no vectors'),
  ],
)
def test_what_is_wrong_is_said(texts, settings, why):
  with pytest.raises(ValueError, match=why):
    make(texts, **settings)
