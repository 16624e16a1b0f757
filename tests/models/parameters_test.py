import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.models import parameters, t5


def test_stack_by_hand():
  tree = {
    'encoder': {
      'layers_1': {'kernel': np.array([3, 4])},
      'layers_0': {'kernel': np.array([1, 2])},
      'encoder_norm': {'scale': np.array([5])},
    }
  }
  stacked = parameters.stack_layers(tree)
  assert stacked['encoder']['layers']['kernel'].tolist() == [[1, 2], [3, 4]]
  assert stacked['encoder']['encoder_norm']['scale'].tolist() == [5]
  assert isinstance(stacked['encoder']['layers']['kernel'], np.ndarray)


def test_twelve_layers_keep_their_numeric_order():
  tree = {f'layers_{i}': jnp.array(float(i)) for i in range(12)}
  stacked = parameters.stack_layers(tree)
  assert stacked['layers'].tolist() == list(range(12))
  again = parameters.unstack_layers(stacked)
  assert {name: float(leaf) for name, leaf in again.items()} == {
    f'layers_{i}': i for i in range(12)
  }


def test_a_gap_is_refused():
  with pytest.raises(ValueError, match=r'\[0, 2\]'):
    parameters.stack_layers({'layers_0': 1.0, 'layers_2': 2.0})


def test_stack_makes_the_scanned_network_s_tree(make_config):
  plain = t5.make_network(make_config(num_encoder_layers=2))
  scanned = t5.make_network(make_config(num_encoder_layers=2, scan_layers=True))
  key = jax.random.key(0)
  shapes = jax.eval_shape(plain.init, key)
  stacked = jax.eval_shape(scanned.init, key)
  assert jax.eval_shape(parameters.stack_layers, shapes) == stacked
  assert jax.eval_shape(parameters.unstack_layers, stacked) == shapes


def test_every_leaf_has_its_logical_axes(make_config):
  for scan in (False, True):
    network = t5.make_network(make_config(scan_layers=scan, projection_dim=3))
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    axes = {'/'.join(k): v for k, v in _flat_axes(network).items()}
    sizes = {'/'.join(k): v for k, v in parameters.flatten(shapes).items()}
    assert axes.keys() == sizes.keys()
    replicated = {name for name, names in axes.items() if not names}
    assert replicated == {'projection/kernel'}
    for name in axes.keys() - replicated:
      assert len(axes[name]) == sizes[name].ndim
  assert axes['encoder/layers/attention/key/kernel'] == (
    'layers', 'embed', 'joined_kv',
  )  # fmt: skip
  assert axes['decoder/layers/mlp/wo/kernel'] == ('layers', 'mlp', 'embed')
  assert axes['decoder/logits_dense/kernel'] == ('embed', 'vocab')


def _flat_axes(network):
  leaves, _ = jax.tree_util.tree_flatten_with_path(
    network.logical_axes, is_leaf=lambda x: isinstance(x, tuple)
  )
  return {tuple(entry.key for entry in path): leaf for path, leaf in leaves}


def test_axes_that_do_not_fit_are_refused():
  leaf = jax.ShapeDtypeStruct((2, 3, 4), jnp.float32)
  with pytest.raises(ValueError, match='attention/out/kernel'):
    parameters.logical_axes({'attention': {'out': {'kernel': leaf}}})
