import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.models import mesh as meshes
from jaxcurate.train import members


def power(state, batch, scale, nothing):
  assert nothing is None
  return {'x': state['x'] ** batch['n'] * scale}, jnp.sum(state['x'])


@pytest.mark.parametrize('take_turns', [True, False])
@pytest.mark.parametrize('layout', [None, 'data=4,model=2'])
def test_all_members_by_hand(take_turns, layout):
  mesh = layout and meshes.make_mesh(layout)
  lifted = members.lift(
    power, [False, False, True, True], mesh, take_turns=take_turns
  )
  rows = [{'n': np.int32(member % 3)} for member in range(8)]
  state = {'x': jnp.stack([jnp.arange(1.0, 3.0)] * 8)}
  scale = members.put_shared(np.float32(10), mesh)
  after, total = lifted(state, members.put(rows, mesh), scale, None)
  expected = [[10, 10], [10, 20], [10, 40]]
  np.testing.assert_allclose(after['x'], [expected[m % 3] for m in range(8)])
  np.testing.assert_allclose(total, np.full(8, 3.0))
  if mesh is not None:
    assert after['x'].sharding.shard_shape((8, 2)) == (2, 2)


def test_the_loop_can_give_its_buffers_away():
  lifted = members.lift(
    lambda x, y: x + y, [False, True], None, donate=True, take_turns=True
  )
  x = jnp.arange(4.0)
  np.testing.assert_allclose(lifted(x, 1.0), [1, 2, 3, 4])
  assert x.is_deleted()


@pytest.mark.parametrize('number', [1, 6, 12])
def test_devices_must_divide_the_members(number):
  members.check(number, None)
  with pytest.raises(ValueError, match=f'{number} members for 8 devices'):
    members.check(number, meshes.make_mesh('data=8'))
  members.check(8 * number, meshes.make_mesh('data=8'))
  members.check(number, meshes.make_mesh(None, jax.devices()[:1]))


@pytest.mark.parametrize('number, size', [(32, 8), (6, 6), (12, 6), (9, 3)])
def test_as_many_devices_as_can_share_the_members(number, size):
  mesh = members.mesh_for(number)
  assert mesh is not None
  assert mesh.shape['data'] == size and mesh.devices.size == size
  members.check(number, mesh)
  assert members.mesh_for(11) is None
  assert members.mesh_for(number, jax.devices()[:1]) is None
