import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.io.errors import UserError
from jaxcurate.train import checkpoint, optimizers
from jaxcurate.train.state import abstract_state, init_state
from jaxcurate.weightings import adapt, uniform


def make_state(network, weighting, name='adafactor', **kwargs):
  return init_state(
    network, optimizers.make_optimizer(name), weighting, **kwargs
  )


@pytest.fixture
def open_checkpoints(tmp_path):
  opened = []

  def open_one(max_to_keep=2):
    opened.append(checkpoint.Checkpoints(tmp_path, max_to_keep=max_to_keep))
    return opened[-1]

  yield open_one
  for checkpoints in opened:
    checkpoints.close()


def test_round_trip_keeps_every_bit(tiny, open_checkpoints):
  network, weighting = tiny.make_network(), adapt.make(center=True)
  state = make_state(network, weighting, 'adamw', seed=3)
  moved = {**state.weighting_state, 'anchor_mean': jnp.linspace(0, 1, 8)}
  state = state.replace(step=jnp.int32(7), weighting_state=moved)
  first = open_checkpoints()
  assert first.latest_step() is None
  first.save(7, state, {'data': [{'epoch': 1, 'row': 2**40}]})
  first.wait()
  like = abstract_state(network, optimizers.make_optimizer('adamw'), weighting)
  second = open_checkpoints()
  assert second.latest_step() == 7
  restored, position = second.restore(like)
  jax.tree.map(np.testing.assert_array_equal, restored, state)
  assert jax.tree.structure(restored) == jax.tree.structure(state)
  assert position == {'data': [{'epoch': 1, 'row': 2**40}]}


def test_buffers_may_be_donated_while_it_writes(tiny, open_checkpoints):
  network = tiny.make_network(width=256, vocab_size=512)
  checkpoints = open_checkpoints()
  state = make_state(network, uniform.make())
  before = jax.tree.map(lambda x: np.array(x, copy=True), state)
  overwrite = jax.jit(
    lambda s: jax.tree.map(lambda x: x * 0 - 1, s), donate_argnums=0
  )
  checkpoints.save(1, state, {})
  state = jax.block_until_ready(overwrite(state))
  checkpoints.wait()
  restored, _ = checkpoints.restore(state)
  jax.tree.map(np.testing.assert_array_equal, restored, before)


def test_keeps_the_last_and_ignores_a_partial_one(tiny, tmp_path):
  state = make_state(tiny.make_network(), uniform.make())
  checkpoints = checkpoint.Checkpoints(tmp_path, max_to_keep=2)
  for step in (1, 2, 3):
    checkpoints.save(step, state, {'at': step})
  checkpoints.close()
  assert sorted(p.name for p in tmp_path.glob('[0-9]*')) == ['2', '3']
  partial = tmp_path / '4.orbax-checkpoint-tmp-99'
  (partial / 'state').mkdir(parents=True)
  (partial / 'state' / '_METADATA').write_text('{"cut')
  again = checkpoint.Checkpoints(tmp_path, max_to_keep=2)
  assert again.latest_step() == 3
  assert again.restore(state)[1] == {'at': 3}
  again.close()


def test_another_shape_is_named(tiny, open_checkpoints):
  checkpoints = open_checkpoints()
  state = make_state(tiny.make_network(), uniform.make())
  checkpoints.save(1, state, {})
  checkpoints.wait()
  wider = make_state(tiny.make_network(vocab_size=32), uniform.make())
  with pytest.raises(UserError) as caught:
    checkpoints.restore(wider)
  assert '/1: ' in str(caught.value)
  assert 'embedding is of shape (16, 8) there' in str(caught.value)
  assert 'of shape (32, 8) in this run' in str(caught.value)
  other = make_state(tiny.make_network(), adapt.make())
  with pytest.raises(UserError, match='anchor_mean is absent there'):
    checkpoints.restore(other)


def test_nothing_to_restore_and_nowhere_to_write(tiny, tmp_path):
  state = make_state(tiny.make_network(), uniform.make())
  empty = checkpoint.Checkpoints(tmp_path / 'a', max_to_keep=1)
  with pytest.raises(UserError, match='no checkpoint'):
    empty.restore(state)
  empty.close()
  (tmp_path / 'file').write_text('')
  with pytest.raises(UserError, match='cannot write a checkpoint'):
    checkpoint.Checkpoints(tmp_path / 'file' / 'b', max_to_keep=1)
