"""The reference density: exact on small pools, unbiased, blind where said."""

import jax
from jax import export
import numpy as np
import pytest

from jaxcurate.ops import ranks
from jaxcurate.scorers import density_references


def make(**settings):
  return density_references.make(embedding='column:vector', **settings)


def clusters(num, width=16, noise=0.5, seed=0):
  rng = np.random.default_rng(seed)
  centres = rng.normal(size=(20, width))
  centres /= np.linalg.norm(centres, axis=1, keepdims=True)
  points = centres[rng.choice(20, num, p=rng.dirichlet(np.ones(20)))]
  points = points + noise * rng.normal(size=(num, width)) / np.sqrt(width)
  return points / np.linalg.norm(points, axis=1, keepdims=True)


def exact(points, bandwidth):
  norm = (points**2).sum(1)
  square = norm[:, None] + norm - 2 * points @ points.T
  return np.exp(-square / (2 * bandwidth**2)).mean(1)


def test_small_pools_are_exact(driver):
  points = clusters(300)
  scorer = make(num_references=300)
  state = driver.fit(scorer, points)
  report = scorer.summary.diagnose(state)
  score = driver.score(scorer, state, points)
  expected = -np.log(exact(points, report['bandwidth']))
  np.testing.assert_allclose(score, expected, atol=2e-5)
  assert report['spearman_exact'] > 0.9999
  assert report['resolvable_share'] == 1 / 300
  assert report['num_references'] == 300
  off_diagonal = (exact(points, report['bandwidth']).mean() - 1 / 300) / (
    1 - 1 / 300
  )
  assert off_diagonal == pytest.approx(0.45, abs=0.02)


@pytest.mark.parametrize('num', [1, 2])
def test_tiny_pools(num, driver):
  points = np.eye(16)[:num]
  scorer = make(bandwidth=1.0)
  score = driver.score(scorer, driver.fit(scorer, points), points)
  expected = -np.log((1 + (num - 1) * np.exp(-1)) / num)
  np.testing.assert_allclose(score, expected, rtol=1e-5, atol=1e-7)


def test_estimate_is_unbiased_for_references_and_others(driver):
  points, trials, size = clusters(40), 200, 8
  totals, own_totals, own_counts = np.zeros(40), np.zeros(40), np.zeros(40)
  scorer = make(num_references=size, bandwidth=0.5)
  estimate = jax.jit(scorer.summary.score)
  update = jax.jit(scorer.summary.update)
  for trial in range(trials):
    ids = [f'{trial}/{i}' for i in range(40)]
    features = driver.features(points, ids)
    state = update(scorer.summary.init(features, 40), features)
    found = np.exp(-estimate(state, features)['density_references'])[:40]
    totals += found
    references = {tuple(pair) for pair in np.asarray(state.id_hash).tolist()}
    own = np.array(
      [tuple(pair) in references for pair in features['id_hash'][:40].tolist()]
    )
    assert own.sum() == size
    own_totals += found * own
    own_counts += own
  truth = exact(points, 0.5)
  # Kernel values lie in [0, 1]: a mean of 8 has a deviation below 0.18.
  np.testing.assert_allclose(
    totals / trials, truth, atol=4 * 0.18 / np.sqrt(trials)
  )
  bound = 5 * 0.18 / np.sqrt(own_counts.min())
  np.testing.assert_allclose(own_totals / own_counts, truth, atol=bound)


def test_agreement_is_measured_on_documents_that_are_no_references(driver):
  points = clusters(2_000)
  scorer = make(num_references=400)
  state = driver.fit(scorer, points)
  report = scorer.summary.diagnose(state)
  references = {tuple(pair) for pair in np.asarray(state.id_hash).tolist()}
  checked = {tuple(pair) for pair in np.asarray(state.check.id_hash).tolist()}
  assert not references & checked
  truth = exact(points, report['bandwidth'])
  score = driver.score(scorer, state, points).astype(np.float64)
  everywhere = ranks.spearman(score, -truth)
  assert everywhere > 0.95
  assert report['spearman_exact'] == pytest.approx(everywhere, abs=0.03)
  assert report['num_documents'] == 2_000


@pytest.mark.parametrize('share', [1e-2, 1e-3, 1e-4])
def test_duplicated_groups_are_seen_above_the_resolvable_share(share, driver):
  num, trials = 20_000, 30
  copies = int(share * num)
  rng = np.random.default_rng(0)
  points = rng.normal(size=(num, 16))
  points[:copies] = points[0]
  scorer = make(num_references=400, bandwidth=0.02)
  estimate = jax.jit(scorer.summary.score)
  resolvable = density_references.resolvable_share(400, num)
  assert resolvable == pytest.approx(0.00746, abs=1e-5)
  seen = []
  for _ in range(trials):
    hashes = rng.integers(0, 2**64, num, dtype=np.uint64)
    rows = rng.permutation(num)[: scorer.summary.sample_size]
    sample = driver.features(points[rows], rows, hashes[rows])
    state = scorer.summary.init(sample, num)
    check = state.check._replace(num_documents=np.uint32(num))
    rows = np.arange(copies + 50)
    features = driver.features(points[rows], rows, hashes[rows])
    columns = estimate(state._replace(check=check), features)
    score = np.asarray(columns['density_references'])[: len(rows)]
    seen.append(np.median(score[:copies]) < score[copies:].min() - 0.5)
  expected = 1 - (1 - share) ** 400
  error = 4 * np.sqrt(expected * (1 - expected) / trials)
  assert abs(np.mean(seen) - expected) < error + 0.1
  if share > resolvable:
    assert np.mean(seen) > 0.85


def test_rare_groups_score_highest(driver):
  num = 3_000
  points = clusters(num, noise=0.3)
  points[:3] = -points.mean(0) / np.linalg.norm(points.mean(0))
  scorer = make(num_references=300)
  score = driver.score(scorer, driver.fit(scorer, points), points)
  assert score[:3].min() > np.quantile(score[3:], 0.95)


def test_eight_shards_and_any_row_order_give_the_same(driver):
  points = clusters(160)
  ids = [f'doc{i}' for i in range(160)]
  scorer = make(num_references=50)
  summary = scorer.summary
  whole = driver.fit(scorer, points, ids)
  order = np.random.default_rng(0).permutation(160)
  sample = driver.sample(scorer, points[order], [ids[i] for i in order])
  flipped = jax.tree.map(lambda array: array[::-1], sample)
  init = summary.init(flipped, 160)
  np.testing.assert_array_equal(init.embedding, whole.embedding)
  merged = None
  for shard in range(8):
    part = slice(shard * 20, (shard + 1) * 20)
    features = driver.features(points[part], ids[part])
    state = jax.jit(summary.update)(init, features)
    merged = state if merged is None else summary.merge(merged, state)
  np.testing.assert_allclose(
    driver.score(scorer, merged, points, ids),
    driver.score(scorer, whole, points, ids),
    rtol=1e-5,
  )


def test_bad_vectors_have_no_score_and_are_no_references(driver):
  points = clusters(60)
  bad = np.concatenate([points, points[:40]])
  bad[60:80], bad[80:, 2] = 0.0, np.nan
  scorer = make(num_references=70, bandwidth=0.5)
  state = driver.fit(scorer, bad)
  score = driver.score(scorer, state, bad)
  expected = -np.log(exact(points, 0.5))
  np.testing.assert_allclose(score[:60], expected, atol=2e-5)
  assert np.isnan(score[60:]).all()
  report = scorer.summary.diagnose(state)
  assert report['num_documents'] == report['num_references'] == 60


def test_lowers_for_tpu(driver):
  features = driver.features(clusters(32), [f'doc{i}' for i in range(32)])
  scorer = make()
  state = scorer.summary.init(features, 32)
  for function in (scorer.summary.update, scorer.summary.score):
    text = export.export(jax.jit(function), platforms=['tpu'])(state, features)
    assert 'callback' not in text.mlir_module()


def test_bad_settings():
  with pytest.raises(ValueError, match='num_references is 0'):
    make(num_references=0)
  with pytest.raises(ValueError, match='bandwidth is -1'):
    make(bandwidth=-1.0)
  with pytest.raises(ValueError, match='expected in'):
    make(mean_kernel=0.0)


def test_resolvable_share_by_hand():
  share = density_references.resolvable_share(2_000, 20_000)
  assert 1 - (1 - share) ** 2_000 == pytest.approx(0.95)
  assert density_references.resolvable_share(5, 5) == 0.2
  assert density_references.resolvable_share(0, 5) == 1.0
