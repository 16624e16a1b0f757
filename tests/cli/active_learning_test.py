"""Rows worth labelling, batch after batch, through the command line."""

import json

import pytest

from jaxcurate.io import manifest as manifests
from jaxcurate.io import tables


@pytest.fixture
def draw(run, scores, tmp_path):
  """draw(name, flags...) -> (result, ids)."""

  def call(name, *flags, method='uncertainty', budget='6'):
    output = tmp_path / name
    result = run(
      'sample', f'--method={method}', f'--input={scores}',
      f'--budget={budget}', f'--output={output}', *flags,
    )  # fmt: skip
    ids = tables.read_selection(output).id.tolist() if not result.code else []
    return result, ids

  return call


def test_batch_after_batch_never_repeats_a_document(draw, tmp_path, documents):
  seen, flags = [], []
  for batch in range(5):
    result, ids = draw(f'batch{batch}', *flags)
    assert result.code == 0, result.err
    assert len(ids) == 6
    assert f'--exclude={tmp_path}/batch{batch}' in result.out
    seen += ids
    flags.append(f'--exclude={tmp_path}/batch{batch}')
  assert sorted(seen) == sorted(row['id'] for row in documents)
  found = manifests.read_manifest(tmp_path / 'batch3', 'selection')
  assert found['skipped'] == {'no score': 0, 'excluded': 18}
  result, _ = draw('more', *flags)
  assert result.code == 1
  assert 'names every document with a score' in result.last


def test_labelled_files_are_left_out_by_every_method(draw, tmp_path):
  labels = tmp_path / 'labels.jsonl'
  rows = [{'id': f'doc{i}', 'label': i % 2} for i in range(24)]
  labels.write_text(''.join(json.dumps(row) + '\n' for row in rows))
  for method in ('uncertainty', 'top_k', 'uniform'):
    result, ids = draw(method, f'--exclude={labels}', method=method)
    assert sorted(ids) == [f'doc{i}' for i in range(24, 30)]
    assert '24 excluded' in result.out


def test_more_labels_are_other_settings(draw, tmp_path, fails_clearly):
  labels = tmp_path / 'labels.jsonl'
  labels.write_text('{"id": "doc1"}\n')
  assert draw('out', f'--exclude={labels}')[0].code == 0
  again, _ = draw('out', f'--exclude={labels}')
  assert 'already sampled' in again.out
  labels.write_text('{"id": "doc1"}\n{"id": "doc2"}\n')
  assert fails_clearly(draw('out', f'--exclude={labels}')[0], 'exclude')


def test_the_line_is_a_threshold_or_a_quantile(draw, scores):
  table, _ = tables.read_score_table([str(scores)])
  score = dict(zip(table.id, table.scores['ask_llm'], strict=True))
  narrow = ('--gin.uncertainty.sample.width=0.005',)
  narrow += ('--gin.uncertainty.sample.uniform_share=1e-12',)
  line = sorted(score.values())[24]
  _, near = draw('threshold', f'--threshold={line}', *narrow)
  _, same = draw('quantile', '--gin.uncertainty.sample.quantile=0.81', *narrow)
  ranked = sorted(score, key=lambda id_: score[id_])
  assert set(near) == set(ranked[22:28]) or set(near) == set(ranked[21:27])
  assert len(set(near) & set(same)) >= 5


@pytest.mark.parametrize(
  'flags, words',
  [
    (['--exclude=none.jsonl'], ['none.jsonl', 'no file']),
    (['--gin.uncertainty.sample.width=0.0'], ['uncertainty: ', 'width 0.0']),
  ],
)
def test_mistakes_are_one_clear_line(draw, fails_clearly, flags, words):
  assert fails_clearly(draw('out', *flags)[0], *words)
