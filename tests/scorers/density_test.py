"""The sketch density: known pools, the paper's erratum, merging, bad rows."""

import jax
from jax import export
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import numpy as np
import pytest

from jaxcurate.ops import ids as ids_lib
from jaxcurate.ops import log_density, lsh, ranks
from jaxcurate.samplers import inverse_propensity
from jaxcurate.samplers.budget import Budget
from jaxcurate.scorers import density
from jaxcurate.types import Candidates


def make(num_rows=128, num_buckets=500, **settings):
  return density.make(
    embedding='column:vector',
    num_rows=num_rows,
    num_buckets=num_buckets,
    **settings,
  )


def clusters(num, width=16, num_clusters=20, noise=0.5, seed=0):
  """Unit vectors around unequal clusters."""
  rng = np.random.default_rng(seed)
  centres = rng.normal(size=(num_clusters, width))
  centres /= np.linalg.norm(centres, axis=1, keepdims=True)
  share = rng.dirichlet(np.ones(num_clusters))
  points = centres[rng.choice(num_clusters, num, p=share)]
  points = points + noise * rng.normal(size=(num, width)) / np.sqrt(width)
  return points / np.linalg.norm(points, axis=1, keepdims=True)


def exact_gaussian(points, bandwidth):
  square = 2 - 2 * points @ points.T
  return np.exp(-square / (2 * bandwidth**2)).mean(1)


def test_limits_by_hand(driver):
  scorer = make(bandwidth=0.01)
  equal = np.ones((50, 16))
  state = driver.fit(scorer, equal)
  np.testing.assert_array_equal(driver.score(scorer, state, equal), 0.0)
  apart = 100 * np.random.default_rng(0).normal(size=(50, 16))
  state = driver.fit(scorer, apart)
  score = driver.score(scorer, state, apart)
  # Alone in its buckets but for accidents of 1 in 500.
  np.testing.assert_allclose(score, np.log(50), atol=0.1)
  one = driver.fit(scorer, equal[:1])
  assert driver.score(scorer, one, equal[:1]) == 0.0


def test_estimates_its_own_kernel(driver):
  points = clusters(400)
  scorer = make(num_rows=1_500, num_buckets=64, hashes_per_row=2)
  state = driver.fit(scorer, points)
  distance = np.linalg.norm(points[:, None] - points[None], axis=-1)
  kernel = lsh.collision_kernel(
    jnp.asarray(distance, jnp.float32), state.hashes.bandwidth, 2
  )
  mean = np.asarray(kernel).mean(1)
  off_diagonal = (mean.mean() - 1 / 400) / (1 - 1 / 400)
  assert off_diagonal == pytest.approx(0.45, abs=0.02)
  got = np.exp(-driver.score(scorer, state, points))
  # The rows' counts differ by at most one half of all documents.
  np.testing.assert_allclose(got, mean, atol=5 * 0.5 / np.sqrt(1_500))


def test_agrees_with_the_exact_density_better_with_more_rows(driver):
  points = clusters(2_000)
  found = {}
  for num_rows, per_row in [(32, 2), (512, 4)]:
    scorer = make(num_rows=num_rows, hashes_per_row=per_row)
    state = driver.fit(scorer, points)
    report = scorer.summary.diagnose(state)
    exact = exact_gaussian(points, report['gaussian_bandwidth'])
    score = driver.score(scorer, state, points)
    everywhere = ranks.spearman(score.astype(np.float64), -exact)
    assert report['checked_documents'] == 128
    assert report['spearman_exact'] == pytest.approx(everywhere, abs=0.08)
    assert report['mean_kernel'] == pytest.approx(exact.mean(), abs=0.03)
    found[num_rows, per_row] = everywhere
  assert found[32, 2] + 0.05 < found[512, 4]
  assert found[512, 4] > 0.85


@pytest.mark.parametrize('share', [1e-2, 1e-3])
def test_duplicated_groups_stand_out_of_a_narrow_kernel(share, driver):
  num = 4_000
  points = np.random.default_rng(0).normal(size=(num, 16))
  copies = int(share * num)
  points[:copies] = points[0]
  # One hash has heavy tails: strangers at 5.7 would still collide with 0.7 %.
  scorer = make(
    num_rows=256, num_buckets=2_000, bandwidth=0.1, hashes_per_row=3
  )
  state = driver.fit(scorer, points)
  density_of = np.exp(-driver.score(scorer, state, points))
  assert scorer.summary.diagnose(state)['resolvable_share'] < share
  np.testing.assert_allclose(density_of[:copies], share, rtol=0.3)
  assert density_of[copies:].max() < density_of[:copies].min()


@pytest.mark.parametrize('share', [1e-2, 1e-3])
def test_rare_groups_score_highest(share, driver):
  num = 3_000
  points = clusters(num, noise=0.3)
  rare = max(1, int(share * num))
  points[:rare] = -3 * points.mean(0) + 0.01 * points[:rare]
  scorer = make(num_rows=512, hashes_per_row=2)
  score = driver.score(scorer, driver.fit(scorer, points), points)
  assert score[:rare].min() > np.quantile(score[rare:], 0.95)


def test_inverse_propensity_draws_against_the_printed_form(driver):
  # Two points 95 : 5 whose kernel is 0.1028; METHODS A2's check.
  num, trials = 1_000, 200
  bandwidth = 1.0
  distance = np.linspace(0.1, 20, 200_000).astype(np.float32)
  kernel = lsh.collision_kernel(jnp.asarray(distance), bandwidth, 1)
  away = distance[np.argmin(np.abs(np.asarray(kernel) - 0.1028))]
  minority = np.arange(num) < 50
  points = np.ones((num, 16))
  points[minority, 0] += away
  scorer = make(num_rows=1_500, bandwidth=bandwidth)
  score = driver.score(scorer, driver.fit(scorer, points), points)
  ids = np.array([f'doc{i}' for i in range(num)], object)
  pool = Candidates(
    id=ids,
    id_hash=ids_lib.hash_ids(ids),
    score=score,
    num_tokens=np.ones(num, np.int32),
    domain=np.full(num, None, object),
    unit=scorer.columns['density'],
  )
  rare = set(ids[minority])

  def minority_share(candidates):
    drawn = [
      inverse_propensity.sample(seed, candidates, Budget(10)).id
      for seed in range(trials)
    ]
    return np.mean([name in rare for sample in drawn for name in sample])

  assert minority_share(pool) == pytest.approx(0.25, abs=0.05)
  pool.score[:] = -score  # the printed Algorithm 2
  assert minority_share(pool) < 0.02


def test_eight_shards_merge_to_the_whole(driver):
  points = clusters(160)
  ids = [f'doc{i}' for i in range(160)]
  scorer = make()
  summary = scorer.summary
  whole = driver.fit(scorer, points, ids)
  init = summary.init(driver.sample(scorer, points, ids), 160)
  merged = None
  for shard in range(8):
    part = slice(shard * 20, (shard + 1) * 20)
    features = driver.features(points[part], ids[part])
    state = jax.jit(summary.update)(init, features)
    merged = state if merged is None else summary.merge(merged, state)
  assert int(merged.num_documents) == 160
  np.testing.assert_array_equal(merged.sketch_RxK, whole.sketch_RxK)
  np.testing.assert_allclose(merged.check.total, whole.check.total, rtol=1e-5)


def test_eight_devices_change_nothing(driver):
  points = clusters(64)
  ids = [f'doc{i}' for i in range(64)]
  scorer = make()
  whole = driver.fit(scorer, points, ids)
  mesh = Mesh(np.array(jax.devices()), ('data',))
  init = scorer.summary.init(driver.sample(scorer, points, ids), 64)
  init = jax.device_put(init, NamedSharding(mesh, PartitionSpec()))
  split = NamedSharding(mesh, PartitionSpec('data'))
  features = jax.device_put(driver.features(points, ids), split)
  state = jax.jit(scorer.summary.update)(init, features)
  np.testing.assert_array_equal(state.sketch_RxK, whole.sketch_RxK)
  score = jax.jit(scorer.summary.score)(state, features)['density']
  expected = driver.score(scorer, whole, points, ids)
  np.testing.assert_allclose(score[:64], expected, rtol=1e-5)


def test_bad_vectors_have_no_score_and_harm_nobody(driver):
  points = clusters(60)
  scorer = make(bandwidth=1.0)
  clean = driver.score(scorer, driver.fit(scorer, points), points)
  bad = np.concatenate([points, points[:3]])
  bad[60], bad[61, 2], bad[62, 0] = 0.0, np.nan, np.inf
  state = driver.fit(scorer, bad)
  score = driver.score(scorer, state, bad)
  np.testing.assert_allclose(score[:60], clean, rtol=1e-5)
  assert np.isnan(score[60:]).all()
  assert int(state.num_documents) == 60
  assert scorer.summary.diagnose(state)['checked_documents'] == 60


def test_masked_rows_score_zero(driver):
  points = clusters(20)
  scorer = make()
  features = driver.features(points, [f'doc{i}' for i in range(20)])
  state = driver.fit(scorer, points)
  score = jax.jit(scorer.summary.score)(state, features)['density']
  np.testing.assert_array_equal(score[20:], 0.0)
  assert np.isfinite(score).all()


def test_lowers_for_tpu(driver):
  points = clusters(32)
  scorer = make()
  features = driver.features(points, [f'doc{i}' for i in range(32)])
  state = scorer.summary.init(features, 32)
  for function in (scorer.summary.update, scorer.summary.score):
    text = export.export(jax.jit(function), platforms=['tpu'])(state, features)
    assert 'callback' not in text.mlir_module()


@pytest.mark.parametrize(
  'settings, message',
  [
    ({'num_rows': 0}, 'num_rows is 0'),
    ({'num_buckets': 1}, 'num_buckets is 1'),
    ({'hashes_per_row': 0}, 'hashes_per_row is 0'),
    ({'bandwidth': 0.0}, 'bandwidth is 0.0'),
    ({'mean_collision': 1.0}, 'expected in'),
  ],
)
def test_bad_settings(settings, message):
  with pytest.raises(ValueError, match=message):
    make(**settings)


def test_too_many_documents(driver):
  with pytest.raises(ValueError, match='overflow'):
    make().summary.init(driver.features(clusters(4), list('abcd')), 2**32)


def test_unit():
  assert make().columns == {'density': log_density.UNIT}
