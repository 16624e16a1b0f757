import numpy as np
import pytest

from jaxcurate.evaluate.bootstrap import paired_bootstrap


def _losses(rng, num_seeds, num_documents, *, seed_std, effect=0.0):
  """Two methods on the same documents, with noise per seed and document."""
  difficulty = rng.normal(4.0, 1.0, num_documents)
  noise = rng.normal(0, 0.2, (2, num_seeds, num_documents))
  seeds = rng.normal(0, seed_std, (2, num_seeds, 1))
  method = difficulty + effect + noise[0] + seeds[0]
  return method, difficulty + noise[1] + seeds[1]


def test_difference_by_hand():
  loss = np.array([[1.0, 3.0], [3.0, 3.0]])  # means over seeds: 2, 3
  baseline = np.array([[2.0, 5.0], [2.0, 5.0]])  # 2, 5
  result = paired_bootstrap(loss, baseline, np.array([3, 1]))
  assert result.difference == pytest.approx((3 * 0 + 1 * -2) / 4)
  assert result.num_documents == 2
  assert result.num_seeds == 2


def test_agrees_with_a_slow_bootstrap_of_documents():
  rng = np.random.default_rng(0)
  loss, baseline = _losses(rng, 1, 400, seed_std=0.0)
  tokens = rng.integers(10, 200, 400)
  result = paired_bootstrap(loss, baseline, tokens)
  difference = (loss - baseline)[0]
  draws = []
  for _ in range(4_000):
    drawn = rng.integers(0, 400, 400)
    draws.append(
      (difference[drawn] * tokens[drawn]).sum() / tokens[drawn].sum()
    )
  low, high = np.quantile(draws, [0.025, 0.975])
  # A 2.5 % quantile of 4,000 normal draws has a standard error of 0.042 sd.
  atol = 4 * np.sqrt(2) * 0.042 * np.std(draws)
  assert result.low == pytest.approx(low, abs=atol)
  assert result.high == pytest.approx(high, abs=atol)


def test_seed_term_is_the_t_interval_of_the_seed_means():
  # No spread over documents: only the seeds are left.
  shift = np.array([[-0.1], [0.0], [0.4]])
  baseline = np.full((3, 50), 4.0)
  result = paired_bootstrap(baseline + shift, baseline, np.ones(50))
  half = 4.3027 * np.std(shift, ddof=1) / np.sqrt(3)  # t, 2 dof, 97.5 %
  assert result.difference == pytest.approx(0.1)
  assert result.low == pytest.approx(0.1 - half, rel=0.02)
  assert result.high == pytest.approx(0.1 + half, rel=0.02)


@pytest.mark.parametrize(
  'num_seeds, seed_std, num_documents',
  [(3, 0.3, 40), (3, 0.05, 40), (3, 0.0, 40), (1, 0.0, 12), (5, 0.02, 40)],
)
def test_interval_covers_the_truth(num_seeds, seed_std, num_documents):
  trials, effect = 400, 0.03
  rng = np.random.default_rng(num_seeds)
  covered = 0
  for trial in range(trials):
    loss, baseline = _losses(
      rng, num_seeds, num_documents, seed_std=seed_std, effect=effect
    )
    tokens = rng.integers(50, 100, num_documents)
    result = paired_bootstrap(
      loss, baseline, tokens, seed=trial, num_resamples=400
    )
    covered += result.low <= effect <= result.high
  # Never below the nominal 95 % by more than 4 standard errors; it may be
  # above: the noise common to one seed and one document is counted twice.
  assert covered / trials >= 0.95 - 4 * np.sqrt(0.95 * 0.05 / trials)


def test_resampling_three_seeds_would_not_cover():
  # The alternative that the module docstring rejects.
  trials, rng, covered = 400, np.random.default_rng(0), 0
  for _ in range(trials):
    loss, baseline = _losses(rng, 3, 40, seed_std=0.3)
    difference = loss - baseline
    seeds = rng.integers(0, 3, (400, 3))
    documents = rng.integers(0, 40, (400, 40))
    by_seed = difference[:, documents].mean(axis=2)  # [3, 400]
    draws = np.take_along_axis(by_seed.T, seeds, axis=1).mean(axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    covered += low <= 0 <= high
  assert covered / trials < 0.85


def test_verdicts():
  rng = np.random.default_rng(1)
  loss, baseline = _losses(rng, 3, 200, seed_std=0.001)
  tokens = np.full(200, 50)

  def verdict(shift):
    return paired_bootstrap(loss + shift, baseline, tokens).verdict

  assert verdict(-0.3) == 'better'
  assert verdict(+0.3) == 'worse'
  assert verdict(-np.mean(loss - baseline)) == 'no difference shown'


def test_many_documents_are_grouped_without_changing_the_interval():
  rng = np.random.default_rng(2)
  difference = rng.normal(0.1, 1.0, (1, 30_000))
  result = paired_bootstrap(
    difference, np.zeros((1, 30_000)), np.ones(30_000), num_resamples=1_000
  )
  half = 1.96 * difference.std() / np.sqrt(30_000)
  assert result.high - result.low == pytest.approx(2 * half, rel=0.2)
  assert result.difference == pytest.approx(difference.mean())


def test_same_seed_same_interval_and_document_order_is_irrelevant_to_the_mean():
  rng = np.random.default_rng(3)
  loss, baseline = _losses(rng, 2, 30, seed_std=0.01)
  tokens = rng.integers(1, 9, 30)
  first = paired_bootstrap(loss, baseline, tokens)
  assert first == paired_bootstrap(loss, baseline, tokens)
  swapped = paired_bootstrap(
    loss[:, ::-1], baseline[:, ::-1], tokens[::-1].copy()
  )
  assert swapped.difference == pytest.approx(first.difference)


def test_swapping_the_methods_mirrors_the_interval():
  rng = np.random.default_rng(5)
  loss, baseline = _losses(rng, 3, 80, seed_std=0.02, effect=-0.05)
  tokens = rng.integers(1, 90, 80)
  forward = paired_bootstrap(loss, baseline, tokens)
  back = paired_bootstrap(baseline, loss, tokens)
  assert back.difference == pytest.approx(-forward.difference)
  # The same draws with the sign of the t term turned: equal up to noise.
  width = forward.high - forward.low
  assert back.low == pytest.approx(-forward.high, abs=0.1 * width)
  assert back.high == pytest.approx(-forward.low, abs=0.1 * width)


@pytest.mark.parametrize('scale, token_scale', [(3.0, 1), (1.0, 7), (0.01, 2)])
def test_units_of_loss_and_tokens_only_scale(scale, token_scale):
  rng = np.random.default_rng(6)
  loss, baseline = _losses(rng, 2, 40, seed_std=0.02, effect=0.02)
  tokens = rng.integers(1, 90, 40)
  plain = paired_bootstrap(loss, baseline, tokens)
  scaled = paired_bootstrap(
    loss * scale, baseline * scale, tokens * token_scale
  )
  np.testing.assert_allclose(scaled[:3], np.multiply(plain[:3], scale))
  assert scaled.verdict == plain.verdict


def test_what_both_methods_share_cancels():
  rng = np.random.default_rng(7)
  loss, baseline = _losses(rng, 2, 50, seed_std=0.01)
  tokens = rng.integers(1, 90, 50)
  hard = rng.normal(0, 50, 50)
  plain = paired_bootstrap(loss, baseline, tokens)
  shifted = paired_bootstrap(loss + hard, baseline + hard, tokens)
  np.testing.assert_allclose(shifted[:3], plain[:3], atol=1e-9)


def test_more_documents_narrow_the_interval():
  rng = np.random.default_rng(8)
  widths = []
  for num in (5, 50, 500):
    loss, baseline = _losses(rng, 1, num, seed_std=0.0)
    result = paired_bootstrap(loss, baseline, np.ones(num))
    widths.append(result.high - result.low)
  assert widths == sorted(widths, reverse=True)


def test_unpaired_seeds_may_differ_in_number():
  rng = np.random.default_rng(4)
  loss, _ = _losses(rng, 3, 30, seed_std=0.1)
  _, baseline = _losses(rng, 2, 30, seed_std=0.1)
  tokens = np.ones(30)
  result = paired_bootstrap(loss, baseline, tokens, paired_seeds=False)
  assert result.num_seeds == 2
  assert result.low < result.difference < result.high
  with pytest.raises(ValueError, match='3 against 2'):
    paired_bootstrap(loss, baseline, tokens)


def test_degenerate_input():
  one = np.array([[1.0]])
  result = paired_bootstrap(one, one + 1, np.array([5]))
  assert result.difference == -1
  assert np.isnan(result.low)
  assert result.verdict == 'no difference shown'
  with pytest.raises(ValueError, match='target tokens'):
    paired_bootstrap(one, one, np.array([0]))
  with pytest.raises(ValueError, match='seeds'):
    paired_bootstrap(np.zeros((0, 1)), one, np.array([1]))
  # A document without tokens can be drawn alone; it must not make NaN.
  two = np.array([[1.0, 2.0]])
  result = paired_bootstrap(two, two + 1, np.array([0, 5]))
  assert np.isfinite([result.low, result.high]).all()
