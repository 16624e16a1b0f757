"""The weighting's state as named arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.t5x import state
from jaxcurate.types import Signals
from jaxcurate.weightings import adapt, greats, uniform


def test_any_state_survives_the_naming():
  rule = {
    'sums': (jnp.arange(2.0), jnp.int32(3)),
    'nested': {'flag': jnp.array([True, False])},
    'nothing': {},
  }
  kept = state.pack(rule, refreshes=4, nonfinite=5)
  assert set(kept) == {
    'refreshes', 'nonfinite', 'rule.sums.0', 'rule.sums.1', 'rule.nested.flag'
  }  # fmt: skip
  assert (int(kept['refreshes']), int(kept['nonfinite'])) == (4, 5)
  again = state.unpack(kept, jax.eval_shape(lambda: rule))
  assert jax.tree.structure(again) == jax.tree.structure(rule)
  jax.tree.map(np.testing.assert_array_equal, again, rule)
  assert not any('/' in name for name in kept)  # names of files
  dicts = {'totals': {'a': 1, 'b': {'c': 2}}, 'd': 3}
  assert state.nested(state.pack(dicts)) == dicts


def test_states_of_one_array_and_of_none():
  for rule in (jnp.arange(3), {}, ()):
    kept = state.pack(rule)
    again = state.unpack(kept, rule)
    assert jax.tree.structure(again) == jax.tree.structure(rule)
    jax.tree.map(np.testing.assert_array_equal, again, rule)


def test_parts_fill_the_whole():
  def signals(rows):
    count = len(rows)
    return Signals(
      mask_E=jnp.ones(2 * count, bool),
      step=jnp.int32(3),
      loss_E=jnp.repeat(jnp.array(rows, jnp.float32), 2),
      token_loss_BxT=jnp.tile(jnp.array(rows, jnp.float32)[:, None], (1, 3)),
    )

  whole = jax.tree.map(jnp.zeros_like, vars(signals([0, 0, 0, 0])))
  for row, part in ((0, [1, 2]), (2, [3, 4])):
    whole = state.fill(whole, signals(part), jnp.int32(row), 2)
  jax.tree.map(
    np.testing.assert_array_equal, whole, vars(signals([1, 2, 3, 4]))
  )


def test_what_is_shaped_like_parameters_is_laid_out_like_them():
  rule = {
    'target': {'a': {'kernel': jnp.ones((2, 3))}, 'b': jnp.ones(4)},
    'kernel': jnp.ones(5),
    'seen': (jnp.ones((2, 2)), jnp.int32(0)),
  }
  params_axes = {
    ('a', 'kernel'): ('embed', 'mlp'),
    ('b',): ('vocab',),
    ('kernel',): ('heads', 'kv'),  # another rank: no match
  }
  assert state.axes(rule, params_axes) == {
    'refreshes': (),
    'nonfinite': (),
    'rule.target.a.kernel': ('embed', 'mlp'),
    'rule.target.b': ('vocab',),
    'rule.kernel': (None,),
    'rule.seen.0': (None, None),
    'rule.seen.1': (),
  }
  assert state.axes(rule, params_axes).keys() == state.pack(rule).keys()


def test_needs_that_t5x_cannot_meet_are_named():
  state.check(uniform.make(), has_encoder=False)
  state.check(adapt.make(states='encoder'), has_encoder=True)
  with pytest.raises(ValueError, match=r"'gradients'.*jaxcurate train"):
    state.check(greats.make(), has_encoder=True)
  state.check(greats.make(learning_rate=1.0), True, has_gradients=True)
  with pytest.raises(ValueError, match="states = 'decoder'"):
    state.check(adapt.make(states='encoder'), has_encoder=False)
