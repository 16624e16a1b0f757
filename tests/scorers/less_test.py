"""LESS: by hand, and against float64 gradients one at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.data.vocabulary import ByteVocabulary
from jaxcurate.io.errors import UserError
from jaxcurate.ops import adam_direction, projection
from jaxcurate.scorers import gradient_features, less
from jaxcurate.types import Document

BYTES = ByteVocabulary()
WIDTH, RANK, ALPHA, SEED = 256, 1, 2.0, 3
SMALL = {
  'rank': RANK,
  'alpha': ALPHA,
  'targets': ('value', 'out'),
  'dropout_rate': 0.0,
  'learning_rate': 1e-2,
  'epochs': 2,
  'batch_size': 2,
  'width': WIDTH,
  'max_length': 16,
  'seed': SEED,
}
ANCHORS = [
  Document('a0', 'a rabbit', 'animals'),
  Document('p0', 'some peas', 'plants'),
  Document('a1', 'two owls', 'animals'),
  Document('p1', 'a tulip', 'plants'),
]
SPEECH = (('user', 'which one'), ('assistant', 'a hare'))
SILENT = (('user', 'which one'),)
POOL = [
  Document('d0', 'rabbits eat', None),
  Document('d1', 'tulips grow', None),
  Document('d2', 'which one a hare', None, turns=SPEECH),
  Document('d3', 'which one', None, turns=SILENT),
]


@pytest.fixture(scope='module')
def slow(slow_llama):
  # Weights at which float32 has its usual digits.
  return slow_llama(BYTES.size, embed_dim=8, scale=1.5)


def make(slow, anchors=ANCHORS, sample=POOL, **settings):
  return less.make(
    network=slow.network,
    vocabulary=BYTES,
    anchors=anchors,
    sample=sample,
    **{**SMALL, **settings},
  )


def examples_of(scorer, documents):
  tokens = BYTES.encode_batch([document.text for document in documents])
  return [own for [own] in scorer.features.examples(documents, tokens)]


def score(scorer, slow, fitted, tools, documents):
  """Columns of documents that have an example, without the engine."""
  stored = tools.outputs(
    scorer.features, (slow.params, fitted), examples_of(scorer, documents)
  )['embedding']
  assert stored.dtype == jnp.bfloat16
  state = scorer.summary.init({'fitted': fitted}, len(documents))
  features = {'embedding': jnp.asarray(stored, jnp.float32)}
  return jax.jit(scorer.summary.score)(state, features)


@pytest.fixture(scope='module')
def whole(slow, fit_tools):
  """A scorer, what it learnt, and the columns of three documents."""
  scorer = make(slow)
  fitted = jax.device_get(scorer.fit(slow.params, fit_tools))
  return scorer, fitted, score(scorer, slow, fitted, fit_tools, POOL[:3])


def test_scores_by_hand():
  # Two checkpoints of rates 3/4 and 1/4, two domains, K = 2.
  state = {
    'anchors': jnp.array([[[1.0, 0], [0, 0.5]], [[0, 1.0], [0, 0]]]),
    'rates': jnp.array([0.75, 0.25]),
  }
  rows = jnp.array([[3.0, 4, 0, 1], [0, 2, 0, -5], [0, 0, 0, 0]])
  found = less._score(['x', 'y'], state, {'embedding': rows})
  np.testing.assert_allclose(found['less/x'], [0.7, -0.25, 0.0], atol=1e-7)
  np.testing.assert_allclose(found['less/y'], [0.3, 0.375, 0.0], atol=1e-7)
  np.testing.assert_allclose(found['less'], [0.7, 0.375, 0.0], atol=1e-7)


def dense_signs(adapters):
  """[P, K] float64: the matrix that `projection` never makes."""
  leaves, structure = jax.tree.flatten(adapters)
  sizes = [leaf.size for leaf in leaves]
  parts = np.split(np.eye(sum(sizes), dtype=np.float32), np.cumsum(sizes), 1)
  ones = [
    part.reshape(-1, *leaf.shape)
    for part, leaf in zip(parts[:-1], leaves, strict=True)
  ]
  found = projection.project(structure.unflatten(ones), seed=SEED, width=WIDTH)
  np.testing.assert_allclose(np.abs(found), WIDTH**-0.5, rtol=1e-6)
  return np.float64(found)


def flat(tree):
  leaves = jax.tree.leaves(tree)
  return np.concatenate([np.asarray(x, np.float64).ravel() for x in leaves])


def unit(vector):
  return vector / np.linalg.norm(vector)


@pytest.mark.slow
def test_against_float64_one_gradient_at_a_time(slow, slow_gradient, whole):
  scorer, fitted, found = whole
  expected = {'less/animals': 0.0, 'less/plants': 0.0}
  for checkpoint in range(2):
    own = {
      name: jax.tree.map(lambda leaf, c=checkpoint: leaf[c], fitted[name])
      for name in ('adapters', 'first_moment', 'second_moment')
    }
    signs = dense_signs(own['adapters'])

    def gradient(example, adapters=own['adapters']):
      return flat(
        slow_gradient(
          slow,
          adapters,
          ALPHA,
          example,
          lambda log_p, share: -np.sum(share * log_p),
        )
      )

    first, second = flat(own['first_moment']), flat(own['second_moment'])
    directions = []
    for example in examples_of(scorer, POOL[:3]):
      g = gradient(example)
      m, v = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g**2
      directions.append(unit(m / np.sqrt(v + 1e-8) @ signs))
    for name in ('animals', 'plants'):
      shots = [anchor for anchor in ANCHORS if anchor.domain == name]
      cosine = [
        [d @ unit(gradient(example) @ signs) for d in directions]
        for example in examples_of(scorer, shots)
      ]
      rate = fitted['rates'][checkpoint]
      expected[f'less/{name}'] += rate * np.mean(cosine, axis=0)
  for name, column in expected.items():
    # Features are stored with 8 bits: 2^-9 of each number at most.
    np.testing.assert_allclose(found[name], column, atol=2e-3)
    assert np.std(column) > 0.02
  np.testing.assert_allclose(
    found['less'], np.maximum(*expected.values()), atol=2e-3
  )


def test_scores_are_cosines(whole):
  scorer, fitted, found = whole
  assert list(found) == list(scorer.columns)
  assert np.isclose(fitted['rates'].sum(), 1.0)
  assert all((np.abs(column) <= 1).all() for column in found.values())
  best = np.maximum(found['less/animals'], found['less/plants'])
  np.testing.assert_array_equal(found['less'], best)
  weights = scorer.summary.diagnose(scorer.summary.init({'fitted': fitted}, 3))
  assert weights == {'checkpoint_weights': pytest.approx(fitted['rates'])}


def test_who_never_answers_has_no_score(slow):
  scorer = make(slow)
  tokens = BYTES.encode_batch([document.text for document in POOL])
  counts = [len(own) for own in scorer.features.examples(POOL, tokens)]
  assert counts == [1, 1, 1, 0]


def test_an_empty_row_has_feature_zero(slow, whole):
  _, fitted, _ = whole
  tokens = np.full((2, 4), 5, np.int32)
  segments = np.array([[1] * 4, [0] * 4], np.int32)
  batch = {
    'decoder_input_tokens': tokens,
    'decoder_target_tokens': tokens,
    'decoder_segment_ids': segments,
    'decoder_loss_weights': np.ones((2, 4), np.float32),
  }
  settings = gradient_features.Settings(alpha=ALPHA, width=WIDTH, seed=SEED)
  found = jax.jit(
    lambda fitted, batch: less.document_features(
      slow.network, slow.params, fitted, batch, settings
    )
  )(fitted, jax.tree.map(jnp.asarray, batch))
  assert found.shape == (2, 2 * WIDTH)
  assert np.asarray(found[0]).any() and not np.asarray(found[1]).any()
  # Without that rule the momentum's own direction would be there.
  none = jax.tree.map(jnp.zeros_like, fitted['first_moment'])
  none = jax.tree.map(lambda leaf: leaf[:1], none)
  first = jax.tree.map(lambda leaf: leaf[0], fitted['first_moment'])
  second = jax.tree.map(lambda leaf: leaf[0], fitted['second_moment'])
  direction = adam_direction.adam_direction(none, first, second)
  assert flat(direction).any()


def test_one_task_without_domains(slow):
  scorer = make(slow, by_domain=False)
  assert list(scorer.columns) == ['less']
  plain = [anchor._replace(domain=None) for anchor in ANCHORS]
  assert list(make(slow, plain).columns) == ['less']
  assert list(make(slow).columns) == ['less', 'less/animals', 'less/plants']


def test_the_pass_is_named_after_all_that_decides_it(slow):
  base = make(slow).features.name
  assert make(slow).features.name == base
  others = [
    make(slow, rank=2),
    make(slow, width=128),
    make(slow, epochs=1),
    make(slow, seed=4),
    make(slow, [*ANCHORS, ANCHORS[0]._replace(text='more owls')]),
  ]
  assert len({base, *(other.features.name for other in others)}) == 6


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'anchors': ANCHORS[:1]}, 'give at least 2'),
    ({'sample': []}, 'none of the 0 documents drawn'),
    ({'sample': [POOL[3]]}, 'none of the 1 documents drawn'),
    ({'rank': 0}, 'rank is 0'),
    ({'anchors': [*ANCHORS[:2], POOL[0]]}, 'name no domain'),
  ],
)
def test_what_cannot_be(slow, change, message):
  with pytest.raises(ValueError, match=message):
    make(slow, **change)


def test_damaged_weights_are_named(slow, fit_tools, monkeypatch):
  broken = jax.tree.map(lambda leaf: leaf * np.nan, slow.params)
  scorer = make(slow)
  with pytest.raises(UserError, match='the loss is nan; lower the learning'):
    scorer.fit(broken, fit_tools)


def test_anchors_whose_gradients_overflow_are_refused(slow, whole, fit_tools):
  _, fitted, _ = whole
  scorer = make(slow)
  text = less.training_examples.of_documents(
    slow.network, BYTES, max_length=16, conversations=False
  )
  references = {None: [[own] for own in examples_of(scorer, ANCHORS)]}
  adapters = jax.tree.map(lambda leaf: leaf * 1e30, fitted['adapters'])
  with pytest.raises(ValueError, match='expected finite and above 0; lower'):
    less._anchor_features(
      slow.network,
      slow.params,
      {**fitted, 'adapters': adapters},
      fit_tools,
      text,
      references,
      gradient_features.Settings(alpha=ALPHA, width=WIDTH, seed=SEED),
    )
