import html.parser
import json

import numpy as np
import pytest

from jaxcurate.report import findings, load, page, plotting


class _Tags(html.parser.HTMLParser):
  """Collects tags, attributes and visible text."""

  def __init__(self, document):
    super().__init__()
    self.tags, self.shown = [], []
    self.feed(document)

  def handle_starttag(self, tag, attrs):
    self.tags.append((tag, dict(attrs)))

  def handle_data(self, data):
    self.shown.append(data)


def test_page_escapes_and_marks_verdicts():
  found = [
    findings.Sentence('<b>one</b> won (95 % sure)', 'better'),
    findings.Sentence('two', 'no difference shown'),
    findings.Sentence('and "more"'),
  ]
  section = page.Section('part', 'A & B', '<p>body</p>')
  whole = page.page('<title>', 'sub', found, [section], 'foot')
  parsed = _Tags(whole)
  assert whole.startswith('<!DOCTYPE html>')
  assert '&lt;title&gt;' in whole
  assert ('a', {'href': '#part'}) in parsed.tags
  assert ('section', {'id': 'part'}) in parsed.tags
  assert ('b', {}) not in parsed.tags
  assert '<span class="pill better">better</span>' in whole
  assert '<span class="pill none">no difference shown</span>' in whole
  assert '<ul class="rest"><li>and &quot;more&quot; </li></ul>' in whole
  assert '95&nbsp;%' in whole


def test_page_carries_a_policy_that_forbids_scripts():
  whole = page.page('t', 's', [], [], 'f')
  parsed = _Tags(whole)
  (policy,) = [
    attrs['content']
    for tag, attrs in parsed.tags
    if attrs.get('http-equiv') == 'Content-Security-Policy'
  ]
  assert policy.startswith("default-src 'none'")
  assert 'script' not in policy
  assert '<ul' not in whole  # no findings, no empty box


@pytest.mark.parametrize('commands, shown', [(['a <b>'], True), ([''], False)])
def test_figure_names_the_commands_that_made_it(commands, shown):
  drawn = plotting.Figure(
    'name', '<T>', 'a "caption"', {}, commands, '<svg></svg>', b''
  )
  body = page.figure(drawn)
  assert '<svg></svg>' in body
  assert 'a &quot;caption&quot;' in body
  assert ('a &lt;b&gt;' in body) == shown
  assert ('name.json' in body) == shown


def test_table_and_cells():
  body = page.table(['<h>'], [[page.cell('<v>', '<u>')]], 'a note & more')
  assert '&lt;h&gt;' in body
  assert '&lt;v&gt;<span class="soft">&lt;u&gt;</span>' in body
  assert 'a note &amp; more' in body
  assert page.cell('x') == 'x'
  assert page.pill('') == ''


def _examples(artefacts, folder, lines):
  artefacts.scores(folder, {'a': np.arange(3.0)}, examples=False)
  (folder / 'examples.jsonl').write_text(
    ''.join(json.dumps(line) + '\n' for line in lines)
  )
  return page.examples(load.load([str(folder)]).scores)


def test_examples_in_order_with_the_rest_folded(artefacts, tmp_path):
  lines = [
    {
      'column': 'a',
      'side': side,
      'rank': rank,
      'id': f'{side}{rank}',
      'domain': None,
      'score': rank / 2,
      'text': f'text {rank}',
    }
    for side in ('high', 'low')
    for rank in reversed(range(7))
  ]
  body = _examples(artefacts, tmp_path, lines)
  shown = [tag for tag, _ in _Tags(body).tags]
  assert shown.count('article') == 14
  assert body.count('<summary>2 more</summary>') == 2
  assert body.index('high0') < body.index('high6') < body.index('low0')
  assert 'a (unit of a)' in body
  assert '3.000' in body


def test_examples_are_escaped(artefacts, tmp_path):
  evil = artefacts.hostile
  line = {
    'column': evil,
    'side': 'high',
    'rank': 'first',
    'id': evil,
    'domain': evil,
    'score': evil,
    'text': evil,
  }
  body = _examples(artefacts, tmp_path, [line])
  body.encode('utf-8')
  parsed = _Tags(body)
  assert {tag for tag, _ in parsed.tags} <= {
    'h3',
    'h4',
    'div',
    'article',
    'bdi',
    'p',
  }
  assert '\x00' not in body
  assert '\u202e' not in body
  assert '⟨U+202E⟩ reversed' in ''.join(parsed.shown)
  assert 'none kept' in body  # no lowest ones


def test_no_examples_no_text(artefacts, tmp_path):
  assert _examples(artefacts, tmp_path, []) == ''
  # A line without any field is shown empty rather than refused.
  assert '<article' in _examples(artefacts, tmp_path, [{'side': 'low'}])
