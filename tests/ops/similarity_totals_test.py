import jax.numpy as jnp
import numpy as np

from jaxcurate.ops import similarity_totals


def batch(domain, similarity, weights, num_domains, mask=None):
  mask = np.ones(len(domain), bool) if mask is None else mask
  return similarity_totals.of_batch(
    jnp.where(mask, jnp.float32(weights), 0.0),
    jnp.float32(similarity),
    jnp.asarray(mask),
    jnp.int32(domain),
    num_domains,
  )


def test_by_hand():
  found = batch(
    [0, 1, -1, 1], [-1.0, 0.05, 1.0, np.nan], [0.25, 0.5, 1.0, 9.0], 3,
    mask=np.array([True, True, True, False]),
  )  # fmt: skip
  np.testing.assert_array_equal(found['weight_M'], [0.25, 0.5, 1.0])
  where = np.argwhere(np.asarray(found['similarity_MxK']))
  assert where.tolist() == [[0, 0], [1, 10], [2, 19]]
  none = batch([0, 0], [0.1, 0.1], [1.0, 1.0], 1, mask=np.zeros(2, bool))
  for name, value in similarity_totals.zeros(1).items():
    np.testing.assert_array_equal(none[name], value)
    assert none[name].dtype == value.dtype


def test_what_happened_between_two_readings():
  first = batch([0, 1], [0.0, 0.0], [0.5, 0.5], 3)
  more = batch([1, 1, -1], [0.95, -0.35, 0.0], [0.25, 0.75, 0.1], 3)
  after = {name: np.asarray(first[name] + more[name]) for name in first}
  before = {name: np.asarray(value) for name, value in first.items()}
  log = similarity_totals.between(before, after, ['web', 'books'])
  shown = {name: value for name, value in log.items() if value}
  expected = {
    'effective_proportion': 1.1 / 3,
    'similarity_hist/06': 1,
    'similarity_hist/10': 1,
    'similarity_hist/19': 1,
    'effective_proportion/books': 0.5,
    'similarity_hist/books/06': 1,
    'similarity_hist/books/19': 1,
    'effective_proportion/-': 0.1,
    'similarity_hist/-/10': 1,
  }
  assert shown.keys() == expected.keys()
  for name, value in expected.items():
    np.testing.assert_allclose(shown[name], value, rtol=1e-6)
  assert similarity_totals.between(after, after, ['web', 'books']) == {}


def test_counts_wrap_around_and_one_row_has_no_names():
  before = {
    'weight_M': np.zeros(1, np.float32),
    'similarity_MxK': np.full((1, 20), 2**32 - 1, np.uint32),
  }
  after = {
    'weight_M': np.full(1, 30.0, np.float32),
    'similarity_MxK': np.full((1, 20), 2, np.uint32),
  }
  log = similarity_totals.between(before, after, ['web'])
  assert log['effective_proportion'] == 0.5
  assert log['similarity_hist/07'] == 3.0
  assert len(log) == 21
