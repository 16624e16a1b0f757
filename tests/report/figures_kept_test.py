import numpy as np
import pytest

from jaxcurate.report import figures_kept, load


def _load(folder):
  return load.load([str(folder)])


@pytest.fixture
def small(artefacts, tmp_path):
  """Six documents of two domains and one without; two selections."""
  domain = ['a', 'a', 'a', 'b', 'b', None]
  ids = artefacts.scores(
    tmp_path / 'scores', {'s': np.arange(6.0)}, domain=domain
  )
  artefacts.selection(tmp_path / 'first', [ids[0], ids[1], ids[3]], by='s')
  artefacts.selection(tmp_path / 'second', [ids[0], ids[5], 'unknown'])
  return tmp_path


def test_kept_share_by_hand(small):
  figure = figures_kept.kept_share(_load(small))
  data = figure.data
  assert data['selections'] == ['first', 'second']
  assert data['domains'] == ['a', 'b', '(no domain)']
  np.testing.assert_array_equal(data['documents'], [3, 2, 1])
  np.testing.assert_array_equal(data['kept'], [[2, 1], [1, 0], [0, 1]])
  np.testing.assert_allclose(data['share_of_all'], [3 / 6, 2 / 6])
  assert '66.7 %' in figure.svg
  assert 'a (3)' in figure.svg


def test_small_domains_are_put_together(artefacts, tmp_path):
  domain = [f'd{i:02d}' for i in range(30) for _ in range(30 - i)]
  ids = artefacts.scores(
    tmp_path / 'scores', {'s': np.zeros(len(domain))}, domain=domain
  )
  artefacts.selection(tmp_path / 'all', ids)
  data = figures_kept.kept_share(_load(tmp_path)).data
  assert len(data['domains']) == 20
  assert data['domains'][0] == 'd00'
  assert data['domains'][-1] == '(other domains)'
  assert data['documents'].sum() == len(domain)
  np.testing.assert_array_equal(data['kept'][:, 0], data['documents'])


def test_scores_without_domains_have_one_row(artefacts, tmp_path):
  ids = artefacts.scores(
    tmp_path / 'scores', {'s': np.zeros(4)}, domain=[None] * 4
  )
  artefacts.selection(tmp_path / 'kept', ids[:1])
  data = figures_kept.kept_share(_load(tmp_path)).data
  assert data['domains'] == ['(no domain)']
  np.testing.assert_allclose(data['share_of_all'], [0.25])


def test_nothing_was_kept(artefacts, tmp_path):
  artefacts.scores(tmp_path / 'scores', {'s': np.zeros(4)})
  artefacts.selection(tmp_path / 'one', [])
  artefacts.selection(tmp_path / 'two', [])
  study = _load(tmp_path)
  assert figures_kept.kept_share(study).data['kept'].sum() == 0
  assert figures_kept.overlaps(study) is None


def test_selections_without_scores_have_no_figure(artefacts, tmp_path):
  artefacts.selection(tmp_path / 'one', ['a'])
  artefacts.selection(tmp_path / 'two', ['a'])
  study = _load(tmp_path)
  assert figures_kept.kept_share(study) is None
  assert figures_kept.overlaps(study) is None


def test_overlap_by_hand(small):
  figure = figures_kept.overlaps(_load(small))
  data = figure.data
  # first = {0, 1, 3}, second = {0, 5} of 6 known documents.
  assert data['jaccard'][0, 1] == pytest.approx(1 / 4)
  assert data['chance'][0, 1] == pytest.approx(1 / 4)
  assert np.isnan(data['jaccard'][0, 0])
  assert '0.25' in figure.svg


def test_one_selection_overlaps_nothing(artefacts, tmp_path):
  ids = artefacts.scores(tmp_path / 'scores', {'s': np.zeros(4)})
  artefacts.selection(tmp_path / 'one', ids)
  assert figures_kept.overlaps(_load(tmp_path)) is None
