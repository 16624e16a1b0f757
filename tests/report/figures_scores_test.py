import numpy as np
import pytest

from jaxcurate.evaluate import agreement
from jaxcurate.report import figures_scores, load


def _load(folder):
  return load.load([str(folder)])


def test_histograms_count_every_scored_document(whole_study):
  study = _load(whole_study)
  figure = figures_scores.histograms(study)
  panels = figure.data['columns']
  assert set(panels) == {'ask_llm', 'perplexity', 'density'}
  for panel in panels.values():
    assert panel['count'].sum() == 800
    assert panel['missing'] == 0
  assert panels['ask_llm']['kept']['ask_llm'].sum() == 160
  panel = panels['ask_llm']
  assert (panel['kept']['ask_llm'] <= panel['count']).all()
  assert panels['perplexity']['kept'] == {}
  assert 'unit of density' in figure.svg
  assert 'kept by that score' in figure.caption


def test_histograms_of_odd_columns(artefacts, tmp_path):
  columns = {
    'constant': np.full(5, 2.0),
    'missing': np.full(5, np.nan),
    'one': np.array([np.nan, 1.0, np.nan, np.nan, np.nan]),
    'infinite': np.array([np.inf, 1.0, 2.0, 3.0, -np.inf]),
  }
  artefacts.scores(tmp_path, columns)
  panels = figures_scores.histograms(_load(tmp_path)).data['columns']
  assert set(panels) == {'constant', 'one', 'infinite'}
  assert panels['constant']['count'].sum() == 5
  assert panels['one']['missing'] == 4
  assert panels['infinite']['count'].sum() == 3


def test_nothing_to_count(artefacts, tmp_path):
  artefacts.scores(tmp_path / 'scores', {'a': np.full(3, np.nan)})
  assert figures_scores.histograms(_load(tmp_path)) is None
  artefacts.run(tmp_path / 'run' / 'uniform')
  assert figures_scores.histograms(_load(tmp_path / 'run')) is None


def test_kendall_holds_the_agreement(whole_study):
  study = _load(whole_study)
  figure = figures_scores.kendall(study)
  names = figure.data['columns']
  tau = figure.data['tau_b']
  i, j = names.index('ask_llm'), names.index('perplexity')
  expected = agreement.rank_agreement(
    study.table.scores['ask_llm'], study.table.scores['perplexity']
  )
  assert tau[i, j] == pytest.approx(expected.tau)
  assert tau[i, i] == 1
  assert 'sampled' not in figure.caption


def test_kendall_with_an_empty_column(artefacts, tmp_path):
  rng = np.random.default_rng(0)
  columns = {
    'a': rng.normal(size=9),
    'b': rng.normal(size=9),
    'none': np.full(9, np.nan),
  }
  artefacts.scores(tmp_path, columns)
  tau = figures_scores.kendall(_load(tmp_path)).data['tau_b']
  assert np.isnan(tau[2]).all()
  assert np.isfinite(tau[0, 1])


@pytest.mark.parametrize(
  'columns',
  [{'a': np.arange(3.0)}, {'a': np.ones(1), 'b': np.ones(1)}],
)
def test_kendall_needs_two_columns_that_vary(artefacts, tmp_path, columns):
  artefacts.scores(tmp_path, columns)
  assert figures_scores.kendall(_load(tmp_path)) is None
