"""Numbers and figures of mixtures."""

import json

import numpy as np
import pytest

from jaxcurate.io import mixtures as mixtures_io
from jaxcurate.report import figures_mixtures, load, mixtures
from jaxcurate.types import Mixture, QualityShape

SHAPE = {
  'steepness': 1e3,
  'keep_fraction': 0.5,
  'repetition': 0.0,
  'floor': 0.0,
}


def write(folder, mixture, natural=None, **diagnostics):
  if natural is not None:
    diagnostics['natural'] = natural
  content = {
    'command': ['jaxcurate', 'mix'], 'inputs': [], 'skipped': {},
    'settings': {'method': 'quadmix'}, 'diagnostics': diagnostics,
  }  # fmt: skip
  mixtures_io.write_mixture(folder, mixture, content)


def shaped(domains, share, **settings):
  """Every domain has the same shape."""
  num = len(domains)
  rest = [np.full(num, value) for value in (SHAPE | settings).values()]
  weights = np.tile([0.25, 0.75], (num, 1))
  shape = QualityShape(('a', 'b'), weights, *rest)
  return Mixture(tuple(domains), np.array(share), shape)


def study(folder):
  return load.load([str(folder)])


def facts(folder):
  return mixtures.facts(study(folder).mixtures[0])


def test_numbers_by_hand(tmp_path):
  mixture = Mixture(('x', 'y'), np.array([0.75, 0.25]))
  write(tmp_path / 'm', mixture, {'x': 0.5, 'y': 0.5})
  found = facts(tmp_path / 'm')
  # 0.75^2 / 0.5 + 0.25^2 / 0.5
  assert found.repetition == pytest.approx(1.25)
  assert found.distance == pytest.approx(0.5)
  assert found.entropy == pytest.approx(0.5623, abs=1e-4)
  natural = Mixture(('x', 'y'), np.array([0.5, 0.5]))
  write(tmp_path / 'n', natural, {'x': 0.5, 'y': 0.5})
  assert facts(tmp_path / 'n').repetition == pytest.approx(1.0)
  # Half of the tokens are sampled, all alike: twice as often.
  write(tmp_path / 'q', shaped('xy', [0.5, 0.5]), {'x': 0.5, 'y': 0.5})
  assert facts(tmp_path / 'q').own_M == pytest.approx([2.0, 2.0])
  assert facts(tmp_path / 'q').repetition == pytest.approx(2.0)


def test_one_domain_and_an_unknown_corpus(tmp_path):
  write(tmp_path / 'm', Mixture(('x',), np.array([1.0])))
  found = facts(tmp_path / 'm')
  assert found.entropy == 0.0 and np.isnan(found.repetition)
  assert '–' in mixtures.table(study(tmp_path))
  [panel] = figures_mixtures.shares(study(tmp_path)).data['mixtures'].values()
  assert panel['domains'] == ['x'] and np.isnan(panel['natural']).all()


def test_figures_have_the_numbers(tmp_path):
  domains = [f'd{i:02d}' for i in range(30)]
  share = np.arange(1.0, 31) / np.arange(1.0, 31).sum()
  natural = dict.fromkeys(domains, 1 / 30)
  write(tmp_path / 'plain', Mixture(tuple(domains), share), natural)
  whole = shaped(domains, share, repetition=1.0, floor=0.1)
  write(tmp_path / 'with quality', whole, natural, **{'loss/realised': 2.5})
  found = study(tmp_path)
  panels = figures_mixtures.shares(found).data['mixtures']
  assert list(panels) == ['plain', 'with quality']
  assert panels['plain']['domains'][0] == 'd29'
  assert panels['plain']['left_out'] == 4
  [figure] = figures_mixtures.quality(found)
  assert figure.name == 'mixture_quality_with_quality'
  value = figure.data['sampling_value']
  np.testing.assert_allclose(value[:, 0], 2.1)
  np.testing.assert_allclose(value[:, -1], 0.1)  # beyond the cut
  np.testing.assert_allclose(figure.data['weights'], [[0.25, 0.75]] * 26)
  text = mixtures.table(found)
  assert '2.500' in text and 'd29' in text and 'd00' in text
  assert figures_mixtures.quality(load.load([str(tmp_path / 'plain')])) == []


def test_a_page_of_mixtures_with_hostile_names(run_report, tmp_path):
  name = '<script>x</script>\u202e $'
  write(tmp_path / 'm', shaped([name, 'y'], [0.5, 0.5]), {name: 0.1, 'y': 0.9})
  page = run_report(tmp_path / 'm')
  assert '<script>x' not in page and '⟨U+202E⟩' in page
  assert '1 mixture' in page and 'Shares of domains' in page


@pytest.fixture
def run_report(tmp_path):
  from jaxcurate.report import run

  def report(folder):
    path = run.run(inputs=[str(folder)], output=str(tmp_path / 'report'))
    for file in (tmp_path / 'report').glob('*.json'):
      json.loads(file.read_text())
    with open(path, encoding='utf-8') as file:
      return file.read()

  return report
