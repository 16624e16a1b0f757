"""Embedding regression: a ridge head learns labels and predicts them."""

import numpy as np
import pytest

from jaxcurate.data.vocabulary import ByteVocabulary
from jaxcurate.models import t5
from jaxcurate.ops import ranks, ridge
from jaxcurate.scorers import embedding, embedding_regression
from jaxcurate.types import Document

VOCABULARY = ByteVocabulary()
TEXTS = [f'{word} text {"and " * i}' for i, word in enumerate('abcdefghij')]
LABELS = [0.0, 1.0, 0.5, 2.5, 3.0, 2.0, 4.0, 4.5, 3.5, 5.0]


@pytest.fixture(scope='module')
def model(draw_params):
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
  return network, draw_params(network)


def documents_of(texts, labels=None):
  labels = labels or [None] * len(texts)
  return [
    Document(f'd{i}', text, None, label=label)
    for i, (text, label) in enumerate(zip(texts, labels, strict=True))
  ]


def make(network, texts=TEXTS, labels=LABELS, **settings):
  return embedding_regression.make(
    network=network,
    vocabulary=VOCABULARY,
    labelled=documents_of(texts, labels),
    **{'max_length': 48, **settings},
  )


def vectors_of(model, fit_tools, texts):
  network, params = model
  features = embedding.encoder_embedding(network, VOCABULARY, max_length=48)
  tokens = VOCABULARY.encode_batch(texts)
  examples = features.examples(documents_of(texts), tokens)
  flat = [example for own in examples for example in own]
  return np.float64(fit_tools.outputs(features, params, flat)['embedding'])


def test_a_line_by_hand(model, fit_tools):
  """Vectors 0, 1, 2 in one number, labels 1, 3, 5: two more for each."""
  scorer = make(model[0], TEXTS[:3], [1.0, 3.0, 5.0])
  line = np.array([[0.0], [1.0], [2.0]], np.float32)
  tools = fit_tools._replace(outputs=lambda *_: {'embedding': line})
  fitted = scorer.fit({}, tools)
  assert fitted['mean'].tolist() == [1.0] and fitted['bias'] == 3.0
  assert fitted['weight'][0] == pytest.approx(2.0, rel=1e-4)
  assert fitted['report']['held-out Spearman'] == 1.0
  assert fitted['report']['held-out R²'] > 0.999
  assert fitted['report']['labelled'] == 3
  row = scorer.score(scorer.features.combine({'label': np.array([2.5])}))
  assert row == {'embedding_regression': 2.5}
  assert list(row) == list(scorer.columns)


def test_agrees_with_the_ridge_of_its_vectors(
  model, fit_tools, score_documents
):
  scorer = make(model[0])
  fitted = scorer.fit(model[1], fit_tools)
  report = fitted.pop('report')
  others = ['what is new', 'and this?', *TEXTS[:2]]
  rows = score_documents(
    scorer, (model[1], fitted), documents_of(others), VOCABULARY
  )
  labels, vectors = np.array(LABELS), vectors_of(model, fit_tools, TEXTS)
  head = ridge.fit(vectors, labels)
  expected = (vectors_of(model, fit_tools, others) - head.mean) @ head.weight
  expected += labels.mean()
  assert np.ptp(expected) > 0.1
  found = [row['embedding_regression'] for row in rows]
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
  spearman = ranks.spearman(head.left_out, labels)
  assert report['held-out Spearman'] == pytest.approx(spearman)
  assert report['ridge'] == head.strength


def test_a_label_that_the_vectors_say_is_learnt(model, fit_tools):
  texts = [f'{"ab"[i % 2] * (3 + i // 2)} {i % 7}' for i in range(40)]
  labels = [5.0 * (i % 2) for i in range(40)]
  report = make(model[0], texts, labels).fit(model[1], fit_tools)['report']
  assert report['held-out R²'] > 0.9
  random = np.random.default_rng(0).normal(size=40).tolist()
  report = make(model[0], texts, random).fit(model[1], fit_tools)['report']
  assert report['held-out R²'] < 0.3


def test_equal_labels_are_predicted_everywhere(
  model, fit_tools, score_documents
):
  scorer = make(model[0], [*TEXTS, ''], [3.0] * (len(TEXTS) + 1))
  fitted = scorer.fit(model[1], fit_tools)
  report = fitted.pop('report')
  assert report['labelled'] == len(TEXTS)  # one is without text
  both = documents_of(['something', ''])
  first, none = score_documents(scorer, (model[1], fitted), both, VOCABULARY)
  assert first == {'embedding_regression': 3.0} and none is None


def test_labels_have_a_say_in_the_name(model):
  made = [LABELS, LABELS[::-1], LABELS]
  names = [make(model[0], labels=labels).features.name for labels in made]
  assert names[0] == names[2] != names[1]


@pytest.mark.parametrize('texts', [[], ['only one'], ['one', '', '']])
def test_too_few_labels_are_refused(model, texts):
  with pytest.raises(ValueError, match=f'{len(texts)} labelled documents'):
    make(model[0], texts, [1.0] * len(texts))


def test_a_column_is_refused(model):
  with pytest.raises(ValueError, match='documents have no vectors'):
    make(model[0], embedding='column:v')
