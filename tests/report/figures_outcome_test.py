import numpy as np
import pytest

from jaxcurate.evaluate import held_out
from jaxcurate.report import figures_outcome, load, results


def test_domains_that_got_worse_are_seen(whole_study):
  study = load.load([str(whole_study)])
  figure = figures_outcome.domain_differences(study)
  data = figure.data['methods']
  assert set(data) == {'ask_llm', 'adapt', 'density', 'random'}
  forum, docs = data['ask_llm']['forum'], data['ask_llm']['docs']
  # The generator makes forum worse by 0.08 for ask_llm alone.
  assert forum['difference'] - docs['difference'] == pytest.approx(
    0.08, abs=0.03
  )
  assert forum['num_documents'] == 15
  assert 'wiki' in figure.svg


@pytest.mark.parametrize('methods', [['uniform'], ['mine', 'other'], []])
def test_no_comparison_no_domain_figure(artefacts, tmp_path, methods):
  for method in methods:
    artefacts.run(tmp_path / method)
  artefacts.scores(tmp_path / 'scores', {'a': np.ones(2)})
  study = load.load([str(tmp_path)])
  assert figures_outcome.domain_differences(study) is None


def test_one_domain_needs_no_figure(artefacts, tmp_path):
  for method in ('uniform', 'adapt'):
    artefacts.run(tmp_path / method, documents=1)
  study = load.load([str(tmp_path)])
  assert figures_outcome.domain_differences(study) is None


@pytest.mark.parametrize(
  'setting, expected',
  [
    ('wiki', {'high quality (wiki)': ['wiki']}),
    (['wiki', 'news'], {'high quality (wiki, news)': ['wiki', 'news']}),
    ({'HQ': ['wiki']}, {'HQ': ['wiki']}),
    (None, {}),
  ],
)
def test_high_quality_set_by_name(artefacts, tmp_path, setting, expected):
  artefacts.run(tmp_path / 'mine', settings={'train.high_quality': setting})
  study = load.load([str(tmp_path)])
  assert figures_outcome.named_sets(study) == expected
  groups = figures_outcome.perplexities(study)['mine']
  assert set(groups) >= {'all', 'docs', 'wiki', *expected}


def test_perplexities_hold_one_row_per_seed(whole_study):
  study = load.load([str(whole_study)])
  found = figures_outcome.perplexities(study)
  rows = found['adapt']['all']
  assert len(rows) == 3
  runs = study.methods()['adapt']
  for row, run in zip(rows, runs, strict=True):
    expected = held_out.mean_loss(run.documents.loss, run.documents.tokens)
    assert row.loss == pytest.approx(expected)


def test_cost_bars_tell_reached_from_not_reached(whole_study):
  study = load.load([str(whole_study)])
  figure = figures_outcome.cost_bars(study, results.compare(study))
  data = figure.data['methods']
  assert data['ask_llm']['reached']
  assert data['ask_llm']['scoring_flops'] == 2e12
  assert data['ask_llm']['training_flops'] < 18e12
  assert not data['random']['reached']
  assert data['random']['training_flops'] == 20e12
  assert 'not reached' in figure.svg
  assert any('scores' in command for command in figure.commands)


def test_cost_bars_without_baseline_or_flops(artefacts, tmp_path):
  artefacts.run(tmp_path / 'mine')
  study = load.load([str(tmp_path)])
  assert figures_outcome.cost_bars(study, results.compare(study)) is None
  artefacts.run(tmp_path / 'uniform')
  for name in ('mine', 'uniform'):
    (tmp_path / name / 'metrics.jsonl').write_text('')
  study = load.load([str(tmp_path)])
  assert figures_outcome.cost_bars(study, results.compare(study)) is None
