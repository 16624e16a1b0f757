import html.parser
import json
import pathlib
import re

import numpy as np
import pytest

from jaxcurate.io.errors import UserError
from jaxcurate.report import run

ALL = [
  'cost',
  'held_out_difference',
  'held_out_domains',
  'kendall',
  'kept_share',
  'loss_curves',
  'overlap',
  'score_histograms',
  'weights',
]


@pytest.fixture(scope='module')
def report(whole_study, tmp_path_factory):
  """The report of the whole study: its folder and its page."""
  folder = tmp_path_factory.mktemp('report')
  path = run.run(
    inputs=[str(whole_study)], output=str(folder), title='The <title>'
  )
  return folder, open(path, encoding='utf-8').read()


def test_every_figure_is_written_as_png_and_json(report):
  folder, _ = report
  assert sorted(path.stem for path in folder.glob('*.png')) == ALL
  assert sorted(path.stem for path in folder.glob('*.json')) == ALL
  for path in folder.glob('*.json'):
    content = json.loads(path.read_text())
    assert content['report_command'].startswith('jaxcurate report --input=')
    assert all(x.startswith('jaxcurate ') for x in content['commands'])
    assert content['data']


def test_the_page_is_self_contained(report):
  _, page = report
  assert '<h1>The &lt;title&gt;</h1>' in page
  assert page.count('<svg ') == len(ALL)
  assert '<script' not in page
  assert '<link' not in page
  assert '@import' not in page
  for attribute in re.findall(r'(?:src|href)="([^"]*)"', page):
    assert attribute.startswith('#')
  assert set(re.findall(r'url\(([^)]{2})', page)) <= {'#p', '#h'}
  # Ids must not clash between the figures.
  ids = re.findall(r' id="([^"]+)"', page)
  assert len(ids) == len(set(ids))


def test_the_page_says_what_was_found(report):
  _, page = report
  assert '1 score folder, 3 selections, 5 methods, 15 training runs' in page
  for name in ('Results', 'Training', 'Cost', 'Held-out domains', 'Weights'):
    assert f'<h2>{name}</h2>' in page
  assert 'ask_llm: held-out loss' in page
  assert 'Text of document' in page


class _Tags(html.parser.HTMLParser):
  def __init__(self, document):
    super().__init__()
    self.tags = []
    self.feed(document)

  def handle_starttag(self, tag, attrs):
    self.tags.append(tag)
    self.tags += [f'{tag}@{name}' for name, _ in attrs]


def test_hostile_names_and_texts_stay_text(artefacts, tmp_path):
  evil = artefacts.hostile.replace('\ud800', '').replace('\x00', '\x01')
  rng = np.random.default_rng(0)
  ids = artefacts.scores(
    tmp_path / 'scores',
    {evil: rng.normal(size=40), '$_x^$': rng.normal(size=40)},
    domain=[evil, '</svg><script>alert(1)</script>'] * 20,
    prefix=evil,
    command=['jaxcurate', evil],
    diagnostics={evil: evil},
  )
  (tmp_path / 'scores' / 'examples.jsonl').write_text(
    json.dumps({'column': evil, 'side': 'high', 'text': artefacts.hostile})
  )
  artefacts.selection(tmp_path / 'kept', ids[:9], by=evil)
  artefacts.selection(tmp_path / '<img onerror=alert(1)>', ids[5:20])
  for method in ('uniform', '"><script>alert(2)<', '_"\'&'):
    artefacts.run(tmp_path / 'runs' / method.replace('/', '') / 'seed0')
  path = run.run(
    inputs=[str(tmp_path)], output=str(tmp_path / 'out'), title=evil
  )
  page = open(path, encoding='utf-8').read()
  tags = _Tags(page).tags
  assert 'script' not in tags
  assert 'img' not in tags
  assert not [tag for tag in tags if '@on' in tag]
  assert '\u202e' not in page
  assert not re.search('[\x00-\x08\x0b-\x1f]', page)
  for figure in (tmp_path / 'out').glob('*.json'):
    json.loads(figure.read_text())


def _report(tmp_path, *inputs, **settings):
  path = run.run(
    inputs=[str(folder) for folder in inputs],
    output=str(tmp_path / 'out'),
    **settings,
  )
  figures = sorted(path.stem for path in (tmp_path / 'out').glob('*.png'))
  return open(path, encoding='utf-8').read(), figures


def test_scores_alone(artefacts, tmp_path):
  rng = np.random.default_rng(0)
  columns = {'a': rng.normal(size=20), 'b': np.full(20, np.nan)}
  artefacts.scores(tmp_path / 'scores', columns, domain=[None] * 20)
  page, figures = _report(tmp_path, tmp_path / 'scores')
  assert figures == ['score_histograms']
  assert '20 documents have no b score' in page
  assert 'id="results"' not in page


def test_one_document(artefacts, tmp_path):
  ids = artefacts.scores(tmp_path / 'scores', {'a': np.ones(1)})
  artefacts.selection(tmp_path / 'kept', ids)
  for method in ('uniform', 'adapt'):
    artefacts.run(tmp_path / 'runs' / method, documents=1, weighted=True)
  page, figures = _report(tmp_path, tmp_path)
  assert 'no difference shown' in page
  assert 'held_out_difference' in figures
  data = (tmp_path / 'out' / 'held_out_difference.json').read_text()
  assert json.loads(data)['data']['methods']['adapt']['low'] is None


def test_an_empty_selection_and_empty_examples(artefacts, tmp_path):
  artefacts.scores(tmp_path / 'scores', {'a': np.ones(2)}, examples=False)
  artefacts.selection(tmp_path / 'kept', [])
  page, figures = _report(tmp_path, tmp_path)
  assert figures == ['kept_share', 'score_histograms']
  assert 'Of 2 documents kept: kept 0 (0.0 %)' in page
  assert 'id="examples"' not in page


def test_one_run_and_another_baseline(artefacts, tmp_path):
  artefacts.run(tmp_path / 'plain')
  artefacts.run(tmp_path / 'mine', final=4.1)
  page, _ = _report(tmp_path, tmp_path / 'plain', tmp_path / 'mine')
  assert 'name the baseline run' in page
  page, _ = _report(
    tmp_path, tmp_path / 'plain', tmp_path / 'mine', baseline='plain'
  )
  assert 'vs plain' in page
  assert '--baseline=plain' in page


def test_a_report_among_its_inputs_is_overwritten_in_place(artefacts, tmp_path):
  artefacts.run(tmp_path / 'runs' / 'uniform')
  for _ in range(2):
    path = run.run(inputs=[str(tmp_path)], output=str(tmp_path / 'out'))
  assert path == str(tmp_path / 'out' / 'report.html')


def test_nothing_found_writes_nothing(tmp_path):
  with pytest.raises(UserError, match='no artefact there'):
    run.run(inputs=[str(tmp_path)], output=str(tmp_path / 'out'))
  assert not (tmp_path / 'out').exists()


def test_matplotlib_is_imported_late():
  folder = pathlib.Path(run.__file__).parent
  sources = [path.read_text() for path in folder.glob('*.py')]
  assert any('import matplotlib' in source for source in sources)
  for source in sources:
    assert not re.search('^(import|from) matplotlib', source, re.MULTILINE)
