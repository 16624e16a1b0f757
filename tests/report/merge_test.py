import numpy as np

from jaxcurate.report import load, merge


def test_nothing_and_one_folder(artefacts, tmp_path):
  assert merge.merged_scores([]) is None
  artefacts.scores(tmp_path / 'scores', {'a': np.arange(3.0)})
  (folder,) = load.load([str(tmp_path)]).scores
  assert merge.merged_scores([folder]) is folder.table


def test_folders_are_joined_by_id_and_shared_names_told_apart(
  artefacts, tmp_path
):
  artefacts.scores(
    tmp_path / 'one',
    {'a': np.array([1.0, 2.0]), 'b': np.array([5.0, 6.0])},
    domain=['x', None],
  )
  artefacts.scores(
    tmp_path / 'two', {'a': np.array([3.0, 4.0, 5.0])}, domain=['z', 'y', None]
  )
  table = load.load([str(tmp_path)]).table
  assert table.id.tolist() == ['doc-0', 'doc-1', 'doc-2']
  assert table.domain.tolist() == ['x', 'y', None]
  assert set(table.scores) == {'one: a', 'two: a', 'b'}
  np.testing.assert_array_equal(table.scores['one: a'], [1, 2, np.nan])
  np.testing.assert_array_equal(table.scores['two: a'], [3, 4, 5])
  assert table.units['two: a'] == 'unit of a'
  assert table.num_tokens.tolist() == [100, 100, 100]


def test_corpora_without_a_common_document(artefacts, tmp_path):
  artefacts.scores(tmp_path / 'one', {'a': np.ones(2)}, prefix='x')
  artefacts.scores(tmp_path / 'two', {'b': np.ones(1)}, prefix='y')
  table = load.load([str(tmp_path)]).table
  assert len(table.id) == 3
  assert not (
    np.isfinite(table.scores['a']) & np.isfinite(table.scores['b'])
  ).any()
