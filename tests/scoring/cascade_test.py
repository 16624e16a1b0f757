"""Which documents of a small judge's table go to the large one."""

import numpy as np
import pytest

from jaxcurate.io import manifest as manifests
from jaxcurate.io import tables
from jaxcurate.io.errors import UserError
from jaxcurate.scoring import cascade as cascades
from jaxcurate.types import Document, Features, Scorer


def write_table(folder, score, ids=None, cost=None, column='quality'):
  ids = [f'd{i}' for i in range(len(score))] if ids is None else ids
  tables.write_table(
    folder / 'part-0.parquet',
    {
      'id': np.array(ids, object),
      'domain': np.array([None] * len(score), object),
      'num_tokens': np.ones(len(score), np.int32),
      column: np.array(score, np.float32),
    },
  )
  content = {'kind': 'scores', 'columns': {column: 'bytes'}, 'settings': {}}
  cost = {'cost': cost} if cost is not None else {}
  manifests.write_manifest(folder, content | cost)
  return str(folder)


def plan(folder, band=(0.5, 0.8), audit=10, **settings):
  return cascades.plan(folder, 'quality', band=band, audit=audit, **settings)


def test_band_by_hand(tmp_path):
  folder = write_table(tmp_path / 's', [4, 9, 1, 6, 2, 8, 3, 7, 5, 0])
  # From rank 5 to below rank 8 of ten: scores 5, 6 and 7.
  found = plan(folder)
  assert np.flatnonzero(found.in_band).tolist() == [3, 7, 8]
  assert found.row['d3'] == 3
  assert found.band == (0.5, 0.8)
  assert found.for_large.all()  # ten audited


@pytest.mark.parametrize('size', [40, 41, 203])
@pytest.mark.parametrize(
  'band', [(0.0, 1.0), (0.3, 0.3), (0.25, 0.9), (0.0, 0.1)]
)
def test_band_is_what_a_sorted_list_says(tmp_path, size, band):
  score = np.random.default_rng(0).permutation(size)
  found = plan(write_table(tmp_path / 's', score), band)
  first, last = (int(share * size + 0.5) for share in band)
  want = [i for i in range(size) if first <= score[i] < last]
  assert np.flatnonzero(found.in_band).tolist() == want
  assert len(found.audit) == len(set(found.audit.tolist())) == 10
  chosen = set(want) | set(found.audit.tolist())
  assert set(np.flatnonzero(found.for_large).tolist()) == chosen


def test_row_order_changes_nothing_and_seed_the_sample_only(tmp_path):
  ids = [f'd{i}' for i in range(100)]
  score = np.arange(100) // 10  # ties across both ends of the band
  order = np.random.default_rng(1).permutation(100)
  one = plan(write_table(tmp_path / 'a', score, ids), (0.55, 0.78))
  two = plan(
    write_table(tmp_path / 'b', score[order], [ids[i] for i in order]),
    (0.55, 0.78),
  )
  chosen = [
    {id_ for id_, row in p.row.items() if p.for_large[row]} for p in (one, two)
  ]
  assert chosen[0] == chosen[1]
  assert one.in_band.sum() == 23
  names = np.array(list(one.row))[one.audit], np.array(list(two.row))[two.audit]
  assert names[0].tolist() == names[1].tolist()
  other = plan(str(tmp_path / 'a'), (0.55, 0.78), seed=1)
  assert set(other.audit) != set(one.audit)


def test_audit_sample_is_uniform(tmp_path):
  folder = write_table(tmp_path / 's', np.arange(50.0))
  trials = 400
  counts = np.zeros(50)
  for seed in range(trials):
    counts[plan(folder, seed=seed).audit] += 1
  # Four standard errors of a share of 0.2, and one more for 50 looks.
  bound = 5 * np.sqrt(0.2 * 0.8 / trials)
  np.testing.assert_allclose(counts / trials, 0.2, atol=bound)


def test_documents_without_small_score_go_to_the_large_judge(tmp_path):
  score = np.arange(60.0)
  score[[3, 58]] = np.nan
  found = plan(write_table(tmp_path / 's', score), (0.0, 0.0))
  assert found.for_large[[3, 58]].all()
  assert not set(found.audit.tolist()) & {3, 58}
  assert found.for_large.sum() == 12


def test_equal_scores_are_split(tmp_path):
  found = plan(write_table(tmp_path / 's', np.zeros(200)), (0.4, 0.6))
  assert found.in_band.sum() == 40


def test_documents_are_looked_up_by_id(tmp_path):
  found = plan(write_table(tmp_path / 's', np.arange(40.0)))
  documents = [Document(f'd{i}', 'text', None) for i in (39, 25, 2)]
  assert cascades.choose(found, documents).tolist() == [
    bool(found.for_large[i]) for i in (39, 25, 2)
  ]
  assert cascades.choose(found, []).shape == (0,)
  with pytest.raises(UserError, match=r"'x' is not in .*small judge first"):
    cascades.choose(found, [*documents, Document('x', 'text', None)])


@pytest.mark.parametrize(
  'cost, want',
  [
    (None, 0.0),
    ({'flops': 7.0}, 7.0),
    ({'flops': 7.0, 'columns': {'quality': 3.0}}, 3.0),
  ],
)
def test_cost_of_the_small_judge(tmp_path, cost, want):
  folder = write_table(tmp_path / 's', np.arange(20.0), cost=cost)
  assert plan(folder).flops == want


def test_settings_tell_plans_apart(tmp_path):
  folder = write_table(tmp_path / 's', np.arange(40.0))
  one = cascades.settings(plan(folder))
  assert one == cascades.settings(plan(folder))
  for other in ({'band': (0.5, 0.9)}, {'audit': 11}, {'seed': 3}):
    assert cascades.settings(plan(folder, **other)) != one


@pytest.mark.parametrize(
  'settings, words',
  [
    ({'band': (0.9, 0.7)}, '0.9,0.7: expected 0 <= LOW <= HIGH <= 1'),
    ({'band': (-0.1, 0.7)}, 'expected 0 <= LOW'),
    ({'band': (0.1, 70.0)}, 'expected 0 <= LOW'),
    ({'band': (float('nan'), 0.5)}, 'expected 0 <= LOW'),
    ({'audit': 9}, 'audit is 9, expected at least 10'),
  ],
)
def test_settings_out_of_range(tmp_path, settings, words):
  folder = write_table(tmp_path / 's', np.arange(40.0))
  with pytest.raises(UserError, match=words):
    plan(folder, **settings)


def test_tables_without_the_score(tmp_path):
  with pytest.raises(UserError, match='no document has a score'):
    plan(write_table(tmp_path / 'nan', [np.nan] * 3))
  with pytest.raises(UserError, match="no score column 'quality'"):
    plan(write_table(tmp_path / 'other', [1.0], column='age'))


def test_only_one_judge_of_single_documents_can_be_large(small):
  cascades.check([small.mean_byte()])
  with pytest.raises(UserError, match=r'one column, not 2 \(a, b\)'):
    cascades.check([small.mean_byte(columns=('a', 'b'))])
  with pytest.raises(UserError, match=r'one column, not 2 \(x, y\)'):
    cascades.check([small.mean_byte(columns=(c,)) for c in 'xy'])


def test_a_summary_of_the_corpus_is_no_judge(toy):
  with pytest.raises(UserError, match='above is no judge'):
    cascades.check([toy.above()])
  vector = Features('v', list, 0, 0, dict, dict, column='vector')
  with pytest.raises(UserError, match='v is no judge'):
    cascades.check([Scorer({'v': 'x'}, vector)])
