import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.models import prefix as prefixes
from jaxcurate.types import Prefix


def _prefix(rows, slots, fill=1.0, layers=2, heads=1, head_dim=4):
  blank = jnp.full((layers, rows, slots, heads, head_dim), fill)
  return Prefix(blank, -blank, jnp.ones((rows, slots), bool))


def test_slots_fill_up_by_hand():
  cache = prefixes.reserve(_prefix(2, 1), 3)
  assert cache.mask.astype(int).tolist() == [[1, 0, 0, 0]] * 2
  new = _prefix(2, 1, 5.0)._replace(mask=jnp.array([[True], [False]]))
  cache = jax.jit(prefixes.write)(cache, new, jnp.int32(2))
  assert cache.key[0, 0, :, 0, 0].tolist() == [1, 0, 5, 0]
  assert cache.value[1, 1, :, 0, 3].tolist() == [-1, 0, -5, 0]
  assert cache.mask.astype(int).tolist() == [[1, 0, 1, 0], [1, 0, 0, 0]]


def test_writing_keeps_the_dtype_and_all_else():
  cache = jax.tree.map(
    lambda x: x if x.dtype == bool else x.astype(jnp.bfloat16),
    prefixes.reserve(_prefix(1, 2), 2),
  )
  written = prefixes.write(cache, _prefix(1, 2, 7.0), 2)
  assert written.key.dtype == jnp.bfloat16
  np.testing.assert_array_equal(written.key[:, :, :2], cache.key[:, :, :2])
  assert written.mask.all()
  unchanged = prefixes.write(cache, _prefix(1, 0), 1)
  jax.tree.map(np.testing.assert_array_equal, unchanged, cache)


@pytest.mark.parametrize(
  'changes, message',
  [
    ({}, None),
    ({'rows': 1}, None),
    ({'slots': 0}, None),
    ({'rows': 2}, "2 rows, expected 1 or the batch's 3"),
    ({'layers': 1}, r'keys \(1, 3, 5, 1, 4\).*expected \(2, 3, 5, 1, 4\)'),
    ({'head_dim': 2}, r'values \(2, 3, 5, 1, 2\).*another network'),
    ({'heads': 2}, 'another network'),
  ],
)
def test_a_prefix_of_another_network(changes, message):
  prefix = _prefix(**{'rows': 3, 'slots': 5, **changes})
  if message is None:
    prefixes.check(prefix, (2, 1, 4), 3)
    return
  with pytest.raises(ValueError, match=message):
    prefixes.check(prefix, (2, 1, 4), 3)


def test_keys_and_values_of_different_shapes():
  prefix = _prefix(3, 5)._replace(value=_prefix(3, 4).value)
  with pytest.raises(ValueError, match=r'values \(2, 3, 4, 1, 4\)'):
    prefixes.check(prefix, (2, 1, 4), 3)
