"""TRAK: by hand, and against float64 gradients one at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.data.vocabulary import ByteVocabulary
from jaxcurate.ops import projection
from jaxcurate.scorers import trak
from jaxcurate.types import Document

BYTES = ByteVocabulary()
WIDTH, RIDGE, ALPHA, SEED = 64, 0.1, 2.0, 3
SMALL = {
  'rank': 1,
  'alpha': ALPHA,
  'targets': ('value', 'out'),
  'dropout_rate': 0.0,
  'learning_rate': 1e-2,
  'epochs': 2,
  'batch_size': 2,
  'width': WIDTH,
  'ridge': RIDGE,
  'max_length': 16,
  'seed': SEED,
}
ANCHORS = [
  Document(f'a{i}', text, None) for i, text in enumerate(['a owl', 'peas'])
]
POOL = [
  Document(f'd{i}', text, None)
  for i, text in enumerate(['rabbits eat', 'tulips', 'a hare', 'so on'])
]


@pytest.fixture(scope='module')
def slow(slow_llama):
  # Weights at which float32 has its usual digits.
  return slow_llama(BYTES.size, embed_dim=8, scale=1.5)


def make(slow, anchors=ANCHORS, sample=POOL, **settings):
  return trak.make(
    network=slow.network,
    vocabulary=BYTES,
    anchors=anchors,
    sample=sample,
    **{**SMALL, **settings},
  )


def examples_of(scorer, documents):
  tokens = BYTES.encode_batch([document.text for document in documents])
  return [own for [own] in scorer.features.examples(documents, tokens)]


def summarised(summary, fitted, features):
  """The finished state over one batch, and the scores."""
  state = summary.init({'fitted': fitted}, len(features['mask']))
  state = jax.jit(summary.finish)(jax.jit(summary.update)(state, features))
  return state, jax.jit(summary.score)(state, features)['trak']


@pytest.fixture(scope='module')
def whole(slow, fit_tools):
  """A scorer, what it learnt, and the features of the pool."""
  scorer = make(slow)
  fitted = jax.device_get(scorer.fit(slow.params, fit_tools))
  stored = fit_tools.outputs(
    scorer.features, (slow.params, fitted), examples_of(scorer, POOL)
  )['embedding']
  assert stored.dtype == jnp.bfloat16
  features = {
    'embedding': jnp.asarray(stored, jnp.float32),
    'mask': jnp.ones(len(POOL), bool),
  }
  return scorer, fitted, features


def test_by_hand(slow):
  # One checkpoint, K = 2: G = diag(2, 1/2), tr(G) / K = 5/4, and lambda with
  # ridge 0.4 is 1/2: the anchors (1, 3) become (2/5, 3).
  summary = make(slow, epochs=1, width=2, ridge=0.4).summary
  features = {
    'embedding': jnp.array([[2.0, 0, 0.5], [0, 1.0, 0.1], [9.0, 9.0, 1.0]]),
    'mask': jnp.array([True, True, False]),
  }
  fitted = {'anchors': np.float32([[1.0, 3.0]])}
  state, found = summarised(summary, fitted, features)
  np.testing.assert_allclose(state['direction'], [[0.4, 3.0]], rtol=1e-6)
  np.testing.assert_allclose(found[:2], [0.8 * 0.5, 3.0 * 0.1], rtol=1e-6)
  told = summary.diagnose(state)
  assert told == {'num_documents': 2, 'regulariser': [pytest.approx(0.5)]}


def log_odds(log_p, share):
  return np.sum(share * (log_p - np.log(-np.expm1(log_p))))


def doubt(log_p, share):
  return np.sum(share * -np.expm1(log_p))


def test_against_float64_one_gradient_at_a_time(slow, slow_gradient, whole):
  scorer, fitted, features = whole
  influence, doubts = np.zeros(len(POOL)), np.zeros(len(POOL))
  for checkpoint in range(2):
    adapters = jax.tree.map(
      lambda leaf, c=checkpoint: leaf[c], fitted['adapters']
    )

    def phi(example, adapters=adapters):
      own = slow_gradient(slow, adapters, ALPHA, example, log_odds)
      own = jax.tree.map(lambda leaf: np.float32(leaf)[None], own)
      return np.float64(projection.project(own, seed=SEED, width=WIDTH)[0])

    pool = examples_of(scorer, POOL)
    phi_NxK = np.stack([phi(example) for example in pool])
    anchors = np.mean([phi(e) for e in examples_of(scorer, ANCHORS)], axis=0)
    moment = phi_NxK.T @ phi_NxK / len(pool)
    regulariser = RIDGE * np.trace(moment) / WIDTH * np.eye(WIDTH)
    influence += phi_NxK @ np.linalg.inv(moment + regulariser) @ anchors / 2
    doubts += [
      slow_gradient.value(slow, adapters, ALPHA, example, doubt) / 2
      for example in pool
    ]
  expected = influence * doubts
  _, found = summarised(scorer.summary, fitted, features)
  # Features are stored with 8 bits: 2^-9 of each number at most.
  scale = np.abs(expected).max()
  np.testing.assert_allclose(found, expected, atol=1e-2 * scale)
  assert np.std(expected) > 0.1 * scale


def test_parts_of_a_corpus_merge(whole):
  scorer, fitted, features = whole
  summary = scorer.summary
  start = summary.init({'fitted': fitted}, 4)
  halves = [
    summary.update(start, {**features, 'mask': mask})
    for mask in (jnp.array([1, 1, 0, 0], bool), jnp.array([0, 0, 1, 1], bool))
  ]
  merged = summary.finish(summary.merge(*halves))
  state, _ = summarised(summary, fitted, features)
  jax.tree.map(
    lambda one, two: np.testing.assert_allclose(one, two, rtol=2e-3, atol=1e-3),
    merged,
    state,
  )


def test_a_larger_ridge_shrinks(slow, whole):
  _, fitted, features = whole
  norms = [
    np.linalg.norm(
      summarised(make(slow, ridge=ridge).summary, fitted, features)[1]
    )
    for ridge in (0.1, 1.0, 10.0)
  ]
  assert norms[0] > norms[1] > norms[2] > 0


def test_a_corpus_without_gradients_scores_zero(whole):
  scorer, fitted, features = whole
  none = jax.tree.map(jnp.zeros_like, features['embedding'])
  _, found = summarised(scorer.summary, fitted, {**features, 'embedding': none})
  assert (np.asarray(found) == 0).all()


def test_a_state_of_the_same_shapes(whole):
  scorer, fitted, features = whole
  summary = scorer.summary
  state = summary.init({'fitted': fitted}, 4)
  for step in (
    lambda s: summary.update(s, features),
    lambda s: summary.merge(s, s),
    summary.finish,
  ):
    after = jax.eval_shape(step, state)
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'ridge': 0.0}, 'ridge is 0.0, expected above 0'),
    ({'anchors': ANCHORS[:1]}, 'give at least 2'),
    ({'sample': []}, 'none of the 0 documents drawn'),
    ({'epochs': 0}, 'epochs is 0'),
  ],
)
def test_what_cannot_be(slow, change, message):
  with pytest.raises(ValueError, match=message):
    make(slow, **change)
