"""What `score` prints at the end: fits in numbers and names, and hints."""

import pytest

from jaxcurate.cli import score_report


def manifest_of(**diagnostics):
  return {
    'num_rows': 3,
    'skipped': {'empty': 2},
    'settings': {'exclude_anchors': False},
    'diagnostics': {'without_score': {'s': 1}, 'padding_share': 0.25}
    | diagnostics,
  }


def test_rows_and_the_next_command(capsys):
  score_report.report(manifest_of(), ['s'], 'out')
  first, following = capsys.readouterr().out.splitlines()
  assert first == (
    'out: 3 documents, columns s; skipped 2 empty; 1 without s; padding 25.0%'
  )
  assert '--method=top_k --by=s --input=out' in following
  for name, method in (
    ('density', 'inverse_propensity'),
    ('dsir', 'importance'),
  ):
    score_report.report(manifest_of(), [name], 'out')
    assert f'--method={method} --by={name}' in capsys.readouterr().out


@pytest.mark.parametrize(('num', 'shown', 'more'), [(2, 2, 0), (33, 30, 3)])
def test_names_of_a_fit_are_shown_up_to_a_screen(capsys, num, shown, more):
  said = {'mean cosine': 0.51239, 'names': [f'{i} sea' for i in range(num)]}
  manifest = manifest_of(fitted={'clusters': {**said, 'terms': [['sea']]}})
  score_report.report(manifest, ['clusters', 'clusters/index'], 'out')
  lines = capsys.readouterr().out.splitlines()
  assert lines[1:3] == ['clusters: mean cosine 0.5124', '  0 sea']
  assert lines.count(f'  {shown - 1} sea') == 1
  assert len(lines) == 3 + shown + bool(more)
  assert (f'  and {more} more in manifest.json' in lines) == bool(more)
  assert '--domains=out' in lines[-1]


def test_poor_agreement_and_known_documents_are_said(capsys):
  manifest = manifest_of(
    density={'spearman_exact': 0.4}, anchors={'id': 1, 'text': 0, 'either': 1}
  )
  score_report.report(manifest, ['density'], 'out')
  found = capsys.readouterr()
  assert 'Spearman 0.40 only' in found.out
  assert 'are also in --anchors' in found.err
