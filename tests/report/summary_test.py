import re

import numpy as np
import pytest

from jaxcurate.report import load, results, summary


def _cells(table):
  """Rows of cells as text, the smaller line after a bar."""
  rows = re.findall(r'<tr>(.*?)</tr>', table)[1:]
  return [
    [
      re.sub('<[^>]*>', '', cell.replace('<span class="soft">', '|'))
      for cell in re.findall(r'<td>(.*?)</td>', row)
    ]
    for row in rows
  ]


@pytest.fixture(scope='module')
def loaded(whole_study):
  study = load.load([str(whole_study)])
  return study, results.compare(study)


def test_runs_table(loaded):
  study, compared = loaded
  rows = _cells(summary.runs_table(study, compared))
  assert [row[0] for row in rows] == [r.method for r in compared]
  uniform, best = rows[0], rows[1]
  assert uniform[3] == 'baseline'
  assert uniform[5] == '20 TFLOP'
  assert best[0] == 'ask_llm'
  assert best[1] == '3'
  assert re.fullmatch(r'−0\.\d{3}\|−0\.\d{3}\.\.−0\.\d{3}', best[3])
  assert best[4] == 'better'
  assert re.fullmatch(r'1\.\d\d ×\|1\.\d\d\.\.1\.\d\d', best[6])
  assert best[7] == 'run 1'
  (random,) = [row for row in rows if row[0] == 'random']
  assert random[6] == 'not reached'
  assert random[7] == '–'
  (adapt,) = [row for row in rows if row[0] == 'adapt']
  assert adapt[7] == 'no scoring'


def test_cost_table(loaded):
  rows = {row[0]: row for row in _cells(summary.cost_table(*loaded))}
  assert rows['ask_llm'][1:4] == ['2 TFLOP', '18 TFLOP', '180']
  assert rows['random'][4:7] == ['not reached'] * 3
  assert rows['adapt'][1] == '0 FLOP'
  assert rows['adapt'][7] == '1.5 min'


def test_perplexity_table(loaded):
  study, compared = loaded
  rows = {row[0]: row for row in _cells(summary.perplexity_table(study))}
  assert set(rows) == {'all', 'docs', 'forum', 'news', 'wiki'}
  assert rows['all'][1:3] == ['60', '2,970']
  assert float(rows['all'][3]) == pytest.approx(
    np.exp(compared[0].loss), abs=0.01
  )


def test_provenance_holds_command_seed_and_skipped(loaded):
  body = summary.provenance(loaded[0], 'jaxcurate report --input=<x>')
  rows = _cells(body)
  assert len(rows) == 1 + 3 + 15
  assert rows[0][1:6] == ['scores', '0.1.0', '–', '800', '3 empty']
  assert rows[0][7] == '1.0 min|cpu x1'
  assert rows[-1][3] == '2'
  assert 'jaxcurate scores --output=scores' in body
  assert '&quot;sample.by&quot;: &quot;density&quot;' in body
  assert 'jaxcurate report --input=&lt;x&gt;' in body


def test_one_seed_and_scoring_that_never_pays(artefacts, tmp_path):
  artefacts.run(tmp_path / 'uniform', final=4.2)
  artefacts.run(tmp_path / 'density', final=4.2, noise=0.0, speed=0.999)
  artefacts.run(tmp_path / 'far', final=4.19, settings={'selection': '/gone'})
  artefacts.scores(tmp_path / 'scores', {'density': np.arange(4.0)})
  artefacts.selection(tmp_path / 'kept' / 'density', ['doc-0'], by='density')
  study = load.load([str(tmp_path)])
  compared = results.compare(study)
  rows = {row[0]: row for row in _cells(summary.runs_table(study, compared))}
  assert rows['uniform'][2].count('±') == 0
  assert rows['far'][5] == '–'  # scoring cost unknown
  assert rows['far'][6:] == ['–', '–']
  costs = {row[0]: row for row in _cells(summary.cost_table(study, compared))}
  assert costs['far'][1] == '–'
  assert costs['far'][6].endswith('|one seed')


def test_nothing_gives_no_table(artefacts, tmp_path):
  artefacts.scores(tmp_path, {'a': np.ones(2)})
  study = load.load([str(tmp_path)])
  assert summary.runs_table(study, []) == ''
  assert summary.cost_table(study, []) == ''
  assert summary.perplexity_table(study) == ''


def test_manifests_full_of_surprises(artefacts, tmp_path):
  artefacts.run(tmp_path / 'uniform')
  artefacts.manifest(
    tmp_path / 'uniform',
    'training',
    command=None,
    settings=['no dict'],
    cost='cheap',
    skipped=[1],
    version=None,
    diagnostics={'<script>': '\ud800'},
  )
  body = summary.provenance(load.load([str(tmp_path)]), '')
  body.encode('utf-8')
  assert '<script' not in body
  assert '&lt;script&gt;' in body
