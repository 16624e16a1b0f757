"""mixture.json: what is written is read back, and what is wrong is named."""

import dataclasses
import json

import numpy as np
import pytest

from jaxcurate.io import mixtures
from jaxcurate.io.errors import UserError
from jaxcurate.types import Mixture, QualityShape, RankMap

CONTENT = {'command': ['jaxcurate', 'mix'], 'settings': {}, 'inputs': ['x']}


def full():
  rng = np.random.default_rng(0)
  shape = QualityShape(
    ('ask_llm', 'density'), rng.dirichlet([1, 1], 2), *rng.random((4, 2))
  )
  return Mixture(('web', 'bücher'), np.array([0.25, 0.75]), shape)


@pytest.mark.parametrize('with_shape', [False, True])
def test_round_trip(tmp_path, with_shape):
  mixture = full()
  if not with_shape:
    mixture = Mixture(mixture.domains, mixture.share_M)
  mixtures.write_mixture(tmp_path / 'm', mixture, CONTENT)
  for path in (tmp_path / 'm', tmp_path / 'm' / 'mixture.json'):
    found = mixtures.read_mixture(path)
    assert found.domains == mixture.domains
    np.testing.assert_array_equal(found.share_M, mixture.share_M)
    if mixture.shape is None or found.shape is None:
      assert found.shape is mixture.shape is None
      continue
    assert found.shape.criteria == mixture.shape.criteria
    for name in ('weights_MxQ', 'steepness_M', 'keep_fraction_M',
                 'repetition_M', 'floor_M'):  # fmt: skip
      np.testing.assert_array_equal(
        getattr(found.shape, name), getattr(mixture.shape, name)
      )


def test_people_can_read_and_write_it(tmp_path):
  mixtures.write_mixture(tmp_path / 'm', full(), CONTENT)
  text = (tmp_path / 'm' / 'mixture.json').read_text()
  assert '"bücher": {' in text and '"share": 0.75' in text
  assert json.loads(text)['provenance'] == CONTENT
  path = tmp_path / 'own.json'
  path.write_text('{"domains": {"a": {"share": 0.5}, "b": {"share": 0.5}}}')
  assert mixtures.read_mixture(path).domains == ('a', 'b')


@pytest.mark.parametrize(
  ('text', 'why'),
  [
    ('{', 'broken JSON'),
    ('{}', "'domains' is missing"),
    ('{"domains": {}}', 'needs a domain'),
    ('{"domains": {"a": {}}}', "'share' is missing"),
    ('{"domains": {"a": 1.0}}', 'of another type'),
    ('{"domains": {"a": {"share": 0.7}}}', 'sum to 0.7'),
    ('{"domains": {"a": {"share": 1, "criteria": {"q": 1}}}}', 'steepness'),
  ],
)
def test_what_is_wrong_is_named(tmp_path, text, why):
  path = tmp_path / 'm.json'
  path.write_text(text)
  with pytest.raises(UserError, match=why) as error:
    mixtures.read_mixture(path)
  assert str(path) in str(error.value)


def test_nothing_there(tmp_path):
  with pytest.raises(UserError, match='jaxcurate mix'):
    mixtures.read_mixture(tmp_path / 'none')


def test_ranks_go_with_it(tmp_path):
  mixture = full()
  rng = np.random.default_rng(1)
  ranks = RankMap('2-ff', rng.random((2, 5)), rng.random((2, 5)))
  shape = dataclasses.replace(mixture.shape, ranks=ranks)
  mixture = dataclasses.replace(mixture, shape=shape)
  mixtures.write_mixture(tmp_path, mixture, CONTENT)
  found = mixtures.read_mixture(tmp_path).shape.ranks
  assert found.pool == '2-ff'
  np.testing.assert_array_equal(found.score_QxK, ranks.score_QxK)
  np.testing.assert_array_equal(found.quality_MxK, ranks.quality_MxK)
  (tmp_path / mixtures.RANKS).write_text('{"pool": "2-ff", "scores": {}}')
  with pytest.raises(UserError, match=r'ask_llm.*mix again, or remove it'):
    mixtures.read_mixture(tmp_path)
