import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.types import Signals, TrainingShapes
from jaxcurate.weightings import adapt


def signals(pooled, mask=None, step=1, states='decoder', domain=None):
  mask = np.ones(len(pooled), bool) if mask is None else mask
  field = {f'{states}_pooled_ExD': jnp.asarray(pooled, jnp.float32)}
  if domain is not None:
    field['domain_E'] = jnp.asarray(domain, jnp.int32)
  return Signals(mask_E=jnp.asarray(mask), step=jnp.int32(step), **field)


def slow_weights(pooled, anchors, temperature):
  """Equations 7-11, anchor by anchor, in float64."""
  weights = []
  for row in pooled:
    similarities = [
      row / np.linalg.norm(row) @ (anchor / np.linalg.norm(anchor))
      for anchor in anchors
    ]
    weights.append(1 / (1 + np.exp(-np.mean(similarities) / temperature)))
  return np.array(weights)


def weights_of(weighting, pooled, anchors, mask=None):
  state = weighting.init(TrainingShapes(len(pooled[0])))
  state = jax.jit(weighting.refresh)(signals(anchors), state)
  return jax.jit(weighting.update)(signals(pooled, mask), state)


def test_by_hand():
  # Unit anchors (1, 0) and (0, 1): their mean is (1/2, 1/2).
  anchors = np.array([[2.0, 0.0], [0.0, 5.0]])
  pooled = np.array([[3.0, 0.0], [-1.0, 0.0], [1.0, -1.0]])
  weights, _, info = weights_of(adapt.make(), pooled, anchors)
  np.testing.assert_allclose(
    weights, [0.6224593, 0.3775407, 0.5], atol=1e-6
  )  # sigmoid(1/2), sigmoid(-1/2), sigmoid(0)
  np.testing.assert_allclose(info['similarity_mean'], 0.0, atol=1e-6)
  np.testing.assert_allclose(info['similarity_std'], np.sqrt(1 / 6), atol=1e-6)


def test_tasks_have_the_same_say_by_hand():
  # Task 0: (1, 0) thrice; task 1: (0, 1). The mean of means is (1/2, 1/2), the
  # plain mean (3/4, 1/4).
  weighting = adapt.make(per_task=True)
  assert weighting.anchor_needs == {'decoder_pooled', 'domain'}
  assert weighting.needs == {'decoder_pooled'}
  rows = [[1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [0.0, 4.0], [np.nan, 0.0]]
  anchors = signals(rows, mask=[True] * 4 + [False], domain=[0, 0, 0, 1, 1])
  state = weighting.init(TrainingShapes(2, anchor_domains=('a', 'b')))
  state = weighting.refresh(anchors, state)
  np.testing.assert_allclose(state['anchor_mean'], [0.5, 0.5], atol=1e-6)
  plain = adapt.make().refresh(anchors, state)
  np.testing.assert_allclose(plain['anchor_mean'], [0.75, 0.25], atol=1e-6)
  # Anchors of no domain are a task as well.
  mixed = signals(rows, mask=[True] * 4 + [False], domain=[0, 0, 0, -1, -1])
  mixed = weighting.refresh(mixed, state)
  np.testing.assert_allclose(mixed['anchor_mean'], [0.5, 0.5], atol=1e-6)
  with pytest.raises(ValueError, match='domain'):
    weighting.refresh(signals(rows), state)


def test_histogram_and_effective_proportion_by_hand():
  # Similarities 1, 0, -1 and 0.6 with the one anchor (1, 0).
  pooled = np.array([[2.0, 0.0], [0.0, 1.0], [-3.0, 0.0], [3.0, 4.0]])
  weights, state, info = weights_of(adapt.make(), pooled, [[1.0, 0.0]])
  bins = np.array([int(info[f'similarity_hist/{i:02d}']) for i in range(20)])
  assert np.flatnonzero(bins).tolist() == [0, 10, 16, 19]
  np.testing.assert_allclose(
    info['effective_proportion'], np.mean(weights), atol=1e-6
  )
  np.testing.assert_array_equal(state['totals']['similarity_MxK'][0], bins)
  np.testing.assert_allclose(state['totals']['weight_M'], [sum(weights)])


def test_totals_by_domain_against_numpy():
  rng = np.random.default_rng(4)
  weighting = adapt.make(by_domain=True)
  assert weighting.needs == {'decoder_pooled', 'domain'}
  state = weighting.init(TrainingShapes(4, domains=('web', 'books')))
  state = weighting.refresh(signals(rng.normal(size=(3, 4))), state)
  mean = np.asarray(state['anchor_mean'])
  update = jax.jit(weighting.update)
  expected, total = np.zeros((3, 20)), np.zeros(3)
  for _ in range(3):
    pooled, mask = rng.normal(size=(40, 4)), rng.uniform(size=40) < 0.7
    domain = rng.integers(-1, 2, 40)  # -1: of no domain, the last row
    batch = signals(pooled, mask, domain=domain)
    weights, state, _ = update(batch, state)
    similarity = pooled @ mean / np.linalg.norm(pooled, axis=1)
    for row in np.flatnonzero(mask):
      expected[domain[row], int((similarity[row] + 1) * 10)] += 1
      total[domain[row]] += weights[row]
  found = state['totals']
  np.testing.assert_array_equal(found['similarity_MxK'], expected)
  np.testing.assert_allclose(found['weight_M'], total, rtol=1e-5)
  zeros = weighting.init(TrainingShapes(4, domains=('web', 'books')))
  logged = weighting.tally.between(
    *map(weighting.tally.read, (zeros, state)), ['web', 'books']
  )
  assert logged['similarity_hist/books/07'] == expected[1, 7]
  np.testing.assert_allclose(
    logged['effective_proportion/web'], total[0] / expected[0].sum(), rtol=1e-5
  )
  with pytest.raises(ValueError, match='domain'):
    weighting.update(signals(pooled), state)


@pytest.mark.parametrize('temperature', [1.0, 0.1])
def test_against_the_paper_anchor_by_anchor(temperature):
  rng = np.random.default_rng(0)
  pooled, anchors = rng.normal(size=(6, 16)), rng.normal(size=(9, 16)) + 0.5
  weighting = adapt.make(temperature=temperature)
  weights, _, _ = weights_of(weighting, pooled, anchors)
  np.testing.assert_allclose(
    weights, slow_weights(pooled, anchors, temperature), atol=1e-5
  )


def test_scale_of_states_does_not_matter_and_weights_stay_in_range():
  rng = np.random.default_rng(1)
  pooled, anchors = rng.normal(size=(50, 4)), rng.normal(size=(3, 4))
  weights, _, _ = weights_of(adapt.make(), pooled, anchors)
  scaled, _, _ = weights_of(adapt.make(), 100 * pooled, 0.01 * anchors)
  np.testing.assert_allclose(weights, scaled, atol=1e-5)
  assert weights.min() >= 0.2689
  assert weights.max() <= 0.7311


def test_masked_rows_are_exactly_zero_and_never_read():
  pooled = np.array([[np.nan, np.inf], [1.0, 0.0]])
  weights, state, info = weights_of(
    adapt.make(center=True), pooled, [[1.0, 0.0]], mask=[False, True]
  )
  assert float(weights[0]) == 0.0
  np.testing.assert_allclose(weights[1], 0.7310586, atol=1e-6)
  assert all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(state))
  np.testing.assert_allclose(info['similarity_mean'], 1.0, atol=1e-6)


def test_masked_anchors_do_not_count():
  weighting = adapt.make()
  anchors = signals([[1.0, 0.0], [0.0, 7.0]], mask=[True, False])
  state = weighting.refresh(anchors, weighting.init(TrainingShapes(2)))
  np.testing.assert_allclose(state['anchor_mean'], [1.0, 0.0])


def test_degenerate_inputs_are_finite():
  weighting = adapt.make(temperature=0.0, center=True)
  all_masked, _, info = weights_of(
    weighting, np.zeros((3, 2)), np.zeros((1, 2)), mask=np.zeros(3, bool)
  )
  np.testing.assert_array_equal(all_masked, 0.0)
  assert float(info['similarity_mean']) == 0.0
  one_zero_row, _, _ = weights_of(weighting, np.zeros((1, 2)), np.zeros((1, 2)))
  np.testing.assert_array_equal(one_zero_row, 0.5)


def test_clip_bounds_the_weights_but_not_the_mask():
  weighting = adapt.make(temperature=0.01, clip=(0.4, 0.6))
  weights, _, _ = weights_of(
    weighting,
    np.array([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0]]),
    [[1.0, 0.0]],
    mask=[True, True, False],
  )
  np.testing.assert_allclose(weights, [0.6, 0.4, 0.0], atol=1e-6)


def test_centring_spreads_states_with_a_large_common_part():
  rng = np.random.default_rng(2)
  common = np.full(8, 10.0)
  anchors = common + np.eye(8)[:1]
  rows = [common + rng.normal(size=(64, 8)) for _ in range(30)]

  def spread(weighting):
    state = weighting.refresh(
      signals(anchors), weighting.init(TrainingShapes(8))
    )
    for batch in rows:
      _, state, first = weighting.update(signals(batch), state)
    state = weighting.refresh(signals(anchors), state)
    return first, weighting.update(signals(rows[0]), state)

  plain, _ = spread(adapt.make())
  before, (_, state, after) = spread(adapt.make(center=True))
  assert plain['similarity_mean'] > 0.98
  # Until the second refresh both sides use uncentred states.
  np.testing.assert_allclose(
    before['similarity_mean'], plain['similarity_mean'], atol=1e-6
  )
  np.testing.assert_allclose(state['center'], common, atol=0.2)
  assert abs(after['similarity_mean']) < 0.2
  assert after['similarity_std'] > 10 * plain['similarity_std']


def test_encoder_states_are_asked_for_by_name():
  weighting = adapt.make(states='encoder')
  assert weighting.needs == weighting.anchor_needs == {'encoder_pooled'}
  state = weighting.init(TrainingShapes(2))
  weights, _, _ = weighting.update(
    signals([[1.0, 0.0]], states='encoder'), state
  )
  assert float(weights[0]) == 0.5  # no anchors yet: similarity 0
  with pytest.raises(ValueError, match='encoder_pooled'):
    weighting.update(signals([[1.0, 0.0]]), state)


@pytest.mark.parametrize(
  'settings, message',
  [
    ({'temperature': -1.0}, 'temperature is -1.0'),
    ({'refresh_interval': 0}, 'refresh_interval is 0'),
    ({'clip': (0.9, 0.1)}, r'clip is \(0.9, 0.1\)'),
  ],
)
def test_bad_settings_are_refused(settings, message):
  with pytest.raises(ValueError, match=message):
    adapt.make(**settings)
