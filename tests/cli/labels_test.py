"""Scores learnt from labels: --anchors with --targets, by id."""

import json

import numpy as np
import pytest

from jaxcurate.io import manifest as manifests
from jaxcurate.io import tables


@pytest.fixture
def files(documents, tmp_path):
  """(anchors, their labels): 12 documents, 8 labels and one of another id."""
  anchors, labels = tmp_path / 'anchors.jsonl', tmp_path / 'labels.jsonl'
  rows = [{**row, 'id': f'a{i}'} for i, row in enumerate(documents[:12])]
  anchors.write_text(''.join(json.dumps(row) + '\n' for row in rows))
  grades = [{'id': f'a{i}', 'grade': i % 3} for i in range(8)]
  grades += [{'id': 'a8', 'grade': None}, {'id': 'z', 'grade': 1}]
  labels.write_text(''.join(json.dumps(row) + '\n' for row in grades))
  return anchors, labels


@pytest.fixture
def score(run, tiny_model, corpus, tmp_path):
  def call(*flags, name='out', method='embedding_regression'):
    return run(
      'score', f'--method={method}', f'--model={tiny_model}',
      f'--input={corpus}', f'--output={tmp_path / name}', *flags,
    )  # fmt: skip

  return call


def column(folder):
  table, _ = tables.read_score_table([str(folder)])
  order = np.argsort(table.id)
  return table.scores['embedding_regression'][order]


def test_labels_are_learnt_said_and_kept(
  score, files, corpus, tmp_path, fails_clearly
):
  anchors, labels = files
  flags = (f'--anchors={anchors}', f'--targets={labels}', '--by=grade')
  result = score(*flags)
  assert result.code == 0, result.err
  assert 'labels of 8 of 12 anchors; 1 others are not among them' in result.out
  assert 'embedding_regression: held-out R²' in result.out
  found = manifests.read_manifest(tmp_path / 'out', 'scores')
  report = found['diagnostics']['fitted']['embedding_regression']
  assert report['labelled'] == 8 and -1 <= report['held-out Spearman'] <= 1
  assert np.isfinite(column(tmp_path / 'out')).all()
  again = score(f'--fitted={tmp_path / "out"}', name='again')
  assert again.code == 0, again.err
  np.testing.assert_array_equal(
    column(tmp_path / 'again'), column(tmp_path / 'out')
  )
  # Other labels are other settings.
  labels.write_text(labels.read_text().replace('"grade": 2', '"grade": 4'))
  assert fails_clearly(score(*flags), 'anchors', 'another --output')
  # Scores of a table are labels too: of these, the head itself is one.
  flags = (f'--anchors={corpus}', f'--targets={tmp_path / "out"}')
  assert score(*flags, name='learnt').code == 0
  np.testing.assert_allclose(
    column(tmp_path / 'learnt'),
    column(tmp_path / 'out'),
    atol=0.1 * np.std(column(tmp_path / 'out')),
  )


def test_what_a_user_can_put_right(score, files, fails_clearly):
  anchors, labels = files
  given, known = f'--anchors={anchors}', f'--targets={labels}'
  assert fails_clearly(score(given), 'learns labels', '--targets=FILE')
  assert fails_clearly(score(known), 'labels of --anchors')
  assert fails_clearly(score(given, known), 'give --by=COLUMN', 'grade')
  result = score(given, known, '--by=grade', method='embedding_similarity')
  assert fails_clearly(result, 'not for', 'but for embedding_regression')
  labels.write_text('{"id": "z", "grade": 1}\n')
  result = score(given, known, '--by=grade')
  assert fails_clearly(result, 'has no label of any of --anchors')
