"""Fits beside the scores: written once, read back, refused elsewhere."""

from etils import epath
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.io.errors import UserError
from jaxcurate.models import mesh as mesh_lib
from jaxcurate.scoring import fitting
from jaxcurate.types import Document

OF = {'network': 'n', 'pass': 'p'}
FITTED = {'a': {'key': np.arange(6, dtype=np.float32).reshape(2, 3)}}


def test_what_is_written_reads_back(tmp_path):
  path = epath.Path(tmp_path) / 'fitted' / 'x.safetensors'
  assert fitting.read(path, OF) is None
  fitting.write(path, FITTED, OF)
  found = fitting.read(path, OF)
  np.testing.assert_array_equal(found['a']['key'], FITTED['a']['key'])


@pytest.mark.parametrize(
  ('of', 'words'),
  [
    ({**OF, 'network': 'm'}, 'another model.*network n there, m now'),
    ({**OF, 'pass': 'q'}, 'other settings'),
  ],
)
def test_what_belongs_elsewhere_is_refused(tmp_path, of, words):
  path = epath.Path(tmp_path) / 'x.safetensors'
  fitting.write(path, FITTED, OF)
  with pytest.raises(UserError, match=words):
    fitting.read(path, of)


def test_a_damaged_file_is_said(tmp_path):
  path = epath.Path(tmp_path) / 'x.safetensors'
  path.write_bytes(b'not a tensor')
  with pytest.raises(UserError, match=r'x\.safetensors.*delete it'):
    fitting.read(path, OF)


def test_fingerprints_tell_networks_apart():
  params = {'w': jnp.ones((3, 2)), 'b': jnp.zeros(2)}
  same = jax.tree.map(jnp.array, params)
  assert fitting.fingerprint(params) == fitting.fingerprint(same)
  others = [
    {**params, 'w': 2 * params['w']},
    {**params, 'w': jnp.ones((2, 3))},
    {'v': params['w'], 'b': params['b']},
    {**params, 'b': jnp.float32(0)},
  ]
  found = {fitting.fingerprint(other) for other in [params, *others]}
  assert len(found) == 5


def test_anchors_read_back(tmp_path):
  anchors = [
    Document('a', 'text é\n', 'news'),
    Document('b', 'q\n\na', None, turns=(('user', 'q'), ('assistant', 'a'))),
    Document('c', 'c', None, label=2.5),
  ]
  fitting.write_anchors(tmp_path, anchors)
  assert fitting.read_anchors(str(tmp_path)) == anchors
  fitting.write_anchors(tmp_path / 'empty', [])
  assert fitting.read_anchors(str(tmp_path / 'empty')) == []
  with pytest.raises(UserError, match='--fitted'):
    fitting.read_anchors(str(tmp_path / 'none'))


def test_a_fit_runs_once_and_is_handed_to_the_pass(toy, tmp_path):
  calls, said = [], {'error': 0.5, 'names': ['é', 'b']}

  def fit(params, tools):
    calls.append(tools)
    return {'shift': params['scale'] + 1, 'report': said}

  scorer = toy.mean()._replace(fit=fit)
  settings = {
    'second': None,
    'mesh': mesh_lib.make_mesh(None, jax.devices()[:2]),
    'output': tmp_path / 'out',
  }
  for _ in range(2):
    [(params, fitted)] = fitting.pass_params(
      [scorer], toy.params, **settings
    ).values()
    assert params is toy.params and float(fitted['shift']) == 1.5
    assert len(fitted['shift'].devices()) == 2 and len(fitted) == 1
  assert len(calls) == 1
  found = fitting.pass_params(
    [scorer],
    toy.params,
    **{**settings, 'output': tmp_path / 'new'},
    reuse=tmp_path / 'out',
  )
  assert len(calls) == 1 and found
  for folder in ('out', 'new'):
    reports = fitting.reports(tmp_path / folder, [scorer, toy.mean('b')])
    assert reports == {'mean': said}
  with pytest.raises(UserError, match=r'mean\.safetensors: does not exist'):
    fitting.pass_params(
      [scorer],
      toy.params,
      **{**settings, 'output': tmp_path / 'third'},
      reuse=tmp_path / 'none',
    )
