import jax
import numpy as np
import pytest

from jaxcurate.ops import domain_weights

DOMAINS = ('web', 'books', 'code')


example_weights = jax.jit(domain_weights.example_weights)
membership = jax.jit(domain_weights.membership, static_argnums=2)
totals = jax.jit(domain_weights.totals)
info_of = jax.jit(domain_weights.info_of)
update = jax.jit(
  domain_weights.update, static_argnames=('step_size', 'smoothing')
)


def moved(state, gain, known, size):
  return update(state, gain, known, size, step_size=1.0, smoothing=0.1)


def array(*values):
  return np.asarray(values, np.float32)


def test_by_hand():
  gain, size = array(np.log(2.0), 0.0, 0.0), array(1.0, 2.0, 1.0)
  state = moved(domain_weights.init(DOMAINS), gain, np.ones(3, bool), size)
  # softmax = 1/2, 1/4, 1/4; smoothed 0.9 / 2 + 0.1 / 3 and 0.9 / 4 + 0.1 / 3.
  alpha = np.array([0.483333, 0.258333, 0.258333])
  np.testing.assert_allclose(np.exp(state['log_weight_M']), alpha, rtol=1e-5)
  np.testing.assert_allclose(state['mean_weight_M'], alpha, rtol=1e-5)
  # Four examples, a half of books: alpha / p, of mean 1.
  mask = np.ones(4, bool)
  member = membership(np.array([0, 1, 1, 2]), mask, 3)
  weights = example_weights(state, member, mask, np.ones(4, np.float32))
  expected = [1.933333, 0.516667, 0.516667, 1.033333]
  np.testing.assert_allclose(weights, expected, rtol=1e-5)


def test_the_log_names_the_mean_weights_once_they_move():
  before = domain_weights.init(DOMAINS)
  after = moved(before, array(1, 0, 0), np.ones(3, bool), array(1, 1, 1))
  read = [jax.device_get(domain_weights.read(x)) for x in (before, after)]
  log = domain_weights.between(*read, DOMAINS)
  assert list(log) == [f'mean_weight/{name}' for name in DOMAINS]
  np.testing.assert_allclose(list(log.values()), after['mean_weight_M'])
  assert domain_weights.between(read[1], read[1], DOMAINS) == {}


def test_against_float64_over_many_batches():
  rng = np.random.default_rng(0)
  state = domain_weights.init(DOMAINS)
  alpha, last = np.full(3, 1 / 3), np.zeros(3)
  alphas, sizes = [], np.zeros(3)
  for _ in range(50):
    size = rng.integers(0, 3, 3) * 7.0
    gain = rng.uniform(0, 1, 3)
    state = moved(state, array(*gain), np.asarray(size > 0), array(*size))
    if not size.any():
      continue
    last = np.where(size > 0, gain, last)
    alpha = alpha * np.exp(last)
    alpha = 0.9 * alpha / alpha.sum() + 0.1 / 3
    alphas.append(alpha)
    sizes += size
  np.testing.assert_allclose(np.exp(state['log_weight_M']), alpha, rtol=1e-5)
  np.testing.assert_allclose(
    state['mean_weight_M'], np.mean(alphas, 0), rtol=1e-5
  )
  share = state['size_M'] / state['size_M'].sum()
  np.testing.assert_allclose(share, sizes / sizes.sum(), rtol=1e-5)
  assert int(state['num_updates']) == len(alphas)


def test_weights_have_mean_one_by_size_and_lift_each_domain_to_alpha():
  state = domain_weights.init(DOMAINS)
  domain = np.array([0, 1, 2, 0])
  size = np.array([1.0, 4.0, 5.0, 6.0])
  sums = np.array([size[domain == d].sum() for d in range(3)])
  state = moved(state, array(0.3, 0.9, 0.1), np.ones(3, bool), array(*sums))
  mask = np.ones(4, bool)
  member = membership(np.asarray(domain), mask, 3)
  weights = example_weights(state, member, mask, array(*size))
  np.testing.assert_allclose((weights * size).sum() / size.sum(), 1, rtol=1e-5)
  mass = [(weights * size)[domain == d].sum() for d in range(3)]
  np.testing.assert_allclose(
    np.array(mass) / size.sum(), np.exp(state['log_weight_M']), rtol=1e-5
  )


def test_masked_rows_and_unknown_domains_teach_nothing():
  mask = np.array([True, True, False, True])
  codes = np.array([1, -1, 1, 7])
  member = membership(codes, mask, 3)
  assert np.argwhere(member).tolist() == [[0, 1]]
  values = np.array([2.0, 5.0, np.nan, 9.0])
  assert totals(values, member).tolist() == [0.0, 2.0, 0.0]
  state = moved(
    domain_weights.init(DOMAINS),
    array(0, 1, 0),
    np.array([False, True, False]),
    array(0, 2, 0),
  )
  weights = example_weights(state, member, mask, np.ones(4))
  assert weights.tolist() == [1.0, 1.0, 0.0, 1.0]
  info = info_of(state, member)
  assert int(info['domains_present']) == 1


def test_a_batch_without_domains_changes_nothing():
  state = moved(
    domain_weights.init(DOMAINS), array(1, 2, 3), np.ones(3, bool), np.ones(3)
  )
  same = moved(state, array(9, 9, 0), np.zeros(3, bool), np.zeros(3))
  jax.tree.map(np.testing.assert_array_equal, same, state)


def test_vanished_domains_do_not_vanish_together():
  state = domain_weights.init(DOMAINS)
  for _ in range(2):
    state = update(
      state,
      array(0, 0, 1),
      np.ones(3, bool),
      np.ones(3),
      step_size=200.0,
      smoothing=0.0,
    )
  info = info_of(state, np.zeros((4, 3), bool))
  assert np.isfinite(state['log_weight_M']).all()
  assert float(info['domain_max']) == 1.0 and float(info['domain_entropy']) == 0
  # Both examples are of domains whose alpha is 0 in float32: they weigh alike.
  mask = np.array([True, True, False, False])
  member = membership(np.array([0, 1, 0, 1]), mask, 3)
  weights = example_weights(state, member, mask, array(1, 1, 1, 1))
  np.testing.assert_allclose(weights, [1.0, 1.0, 0.0, 0.0], rtol=1e-5)


def test_bad_requests_are_refused():
  with pytest.raises(ValueError, match="give its rows a 'domain'"):
    domain_weights.init(())
  with pytest.raises(ValueError, match='step_size is -1'):
    domain_weights.check(-1.0, 0.0)
  with pytest.raises(ValueError, match='smoothing is 2'):
    domain_weights.check(1.0, 2.0)
