import jax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
import numpy as np
import pytest

from jaxcurate.models import mesh as mesh_lib
from jaxcurate.models import partitioning, t5


@pytest.fixture
def mesh():
  return mesh_lib.make_mesh('data=4,model=2')


def test_specs_by_hand(mesh):
  axes = {
    'table': ('vocab', 'embed'),
    'kernel': ('layers', 'embed', 'joined_kv'),
    'bias': ('heads', 'relpos_buckets'),
    'projection': (),
  }
  found = partitioning.param_shardings(mesh, axes)
  assert {name: sharding.spec for name, sharding in found.items()} == {
    'table': P('model', None),
    'kernel': P(None, None, 'model'),
    'bias': P('model', None),
    'projection': P(),
  }


def test_what_does_not_divide_is_replicated(mesh):
  axes = {'bias': ('heads', 'relpos_buckets'), 'wo': ('mlp', 'embed')}
  sizes = {'bias': np.zeros((3, 32)), 'wo': np.zeros((6, 5))}
  found = partitioning.param_shardings(mesh, axes, sizes)
  assert found['bias'].spec == P(None, None)
  assert found['wo'].spec == P('model', None)


def test_another_mesh_is_refused():
  mesh = jax.sharding.Mesh(np.array(jax.devices()), ('x',))
  with pytest.raises(ValueError, match=r"\('x',\).*'model'"):
    partitioning.param_shardings(mesh, {})


@pytest.mark.parametrize('scan', [False, True])
def test_eight_devices_give_what_one_gives(mesh, make_config, strong, scan):
  network = t5.make_network(make_config(scan_layers=scan))
  params = strong(network)
  rng = np.random.default_rng(0)
  tokens = rng.integers(1, 24, (8, 10), np.int32)
  segments = (
    np.repeat([[1, 2], [1, 0]], 5, axis=1).repeat(4, 0).astype(np.int32)
  )

  @jax.jit
  def run(params, tokens, segments):
    encoded = network.encode(params, tokens, segments)
    states = network.decode(params, encoded, segments, tokens, segments)
    return jax.nn.log_softmax(states @ network.head(params))

  alone = run(params, tokens, segments)
  rows = NamedSharding(mesh, P('data'))
  spread = jax.device_put(
    params, partitioning.param_shardings(mesh, network.logical_axes, params)
  )
  shared = run(
    spread, jax.device_put(tokens, rows), jax.device_put(segments, rows)
  )
  assert shared.sharding.spec[0] == 'data'
  np.testing.assert_allclose(shared, alone, atol=1e-4)
