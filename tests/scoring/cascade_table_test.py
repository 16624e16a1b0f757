"""Runs of the engine behind a small judge's table."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import scipy.stats

from jaxcurate.io.errors import UserError
from jaxcurate.ops import isotonic
from jaxcurate.scoring import cascade as cascades
from jaxcurate.scoring import cascade_table


def judges(output):
  """Id -> who scored it."""
  found = {}
  for path in output.glob('part-*.parquet'):
    table = pq.read_table(path).to_pydict()
    found |= dict(
      zip(table['id'], table[cascade_table.JUDGE_COLUMN], strict=True)
    )
  return found


def test_table_is_complete_and_on_one_scale(small_judge, small):
  folder, names, truth, cheap = small_judge.world
  steps = small_judge.plan(folder)
  small.run(folder / 'in', folder / 'out', cascade=steps)
  ids, columns, table = small.read(folder / 'out')
  assert ids == names.tolist()
  assert set(columns) == {'mean_byte'}
  assert table.units == {'mean_byte': 'bytes'}
  large = steps.for_large
  assert 60 <= large.sum() < 100
  np.testing.assert_allclose(
    columns['mean_byte'][large], truth[large], rtol=1e-6
  )
  # The rest by hand: the curve of the audited documents.
  curve = isotonic.fit(
    steps.score[steps.audit], truth[steps.audit].astype(np.float32)
  )
  np.testing.assert_allclose(
    columns['mean_byte'][~large],
    isotonic.apply(curve, cheap[~large].astype(np.float32)),
    rtol=1e-5,
  )
  who = judges(folder / 'out')
  assert [who[i] == 'large' for i in ids] == large.tolist()


def test_documents_outside_the_band_keep_the_small_order(small_judge, small):
  folder, _, _, cheap = small_judge.world
  steps = small_judge.plan(folder)
  small.run(folder / 'in', folder / 'out', cascade=steps)
  _, columns, _ = small.read(folder / 'out')
  rest = np.flatnonzero(~steps.for_large)
  rising = rest[np.argsort(cheap[rest])]
  assert (np.diff(columns['mean_byte'][rising]) >= 0).all()


def test_saving_is_what_the_large_judge_alone_would_have_cost(
  small_judge, small
):
  folder, *_ = small_judge.world
  alone = small.run(folder / 'in', folder / 'alone')
  got = small.run(
    folder / 'in', folder / 'out', cascade=small_judge.plan(folder)
  )
  found = got['diagnostics']['cascade']
  assert found['flops']['large_on_all'] == alone['cost']['flops']
  assert found['flops']['small'] == small_judge.flops
  total = small_judge.flops + found['flops']['large']
  assert got['cost']['flops'] == got['cost']['columns']['mean_byte'] == total
  assert 0 < found['flops']['large'] < alone['cost']['flops']
  assert found['saving']['flops'] == 1 - total / alone['cost']['flops']
  large = small_judge.plan(folder).for_large
  assert found['documents'] == {
    'all': 200,
    'large': large.sum(),
    'band': 60,
    'audit': 40,
    'without_small_score': 0,
    'not_in_input': 0,
  }
  assert found['saving']['documents'] == pytest.approx(1 - large.mean())
  assert 'cascade' not in alone['diagnostics']


def slow_agreement(steps, truth):
  """Cross-fitted score of the audited documents, one at a time."""
  audit = steps.audit.tolist()
  found = []
  for place, row in enumerate(audit):
    others = [r for i, r in enumerate(audit) if i % 5 != place % 5]
    curve = isotonic.fit(steps.score[others], truth[others])
    fitted = isotonic.apply(curve, steps.score[[row]])[0]
    found.append(truth[row] if steps.in_band[row] else fitted)
  return scipy.stats.spearmanr(found, truth[audit]).statistic


def test_agreement_is_that_of_documents_outside_the_sample(small_judge, small):
  folder, _, truth, cheap = small_judge.world
  steps = small_judge.plan(folder, audit=80)
  got = small.run(folder / 'in', folder / 'out', cascade=steps)
  found = got['diagnostics']['cascade']['agreement']
  truth = truth.astype(np.float32).astype(np.float64)
  audit = steps.audit
  assert found['documents'] == 80
  alone = scipy.stats.spearmanr(cheap[audit], truth[audit]).statistic
  tau = scipy.stats.kendalltau(cheap[audit], truth[audit]).statistic
  assert found['small']['spearman'] == pytest.approx(alone, abs=1e-9)
  assert found['small']['kendall'] == pytest.approx(tau, abs=1e-9)
  assert found['cascade']['spearman'] == pytest.approx(
    slow_agreement(steps, truth), abs=1e-9
  )
  low, high = found['cascade']['interval']
  assert low < found['cascade']['spearman'] < high <= 1


def test_measured_agreement_is_the_true_one_of_the_others(small_judge, small):
  """The audit's estimate holds for documents that were not audited."""
  folder, _, truth, _ = small_judge.world
  steps = small_judge.plan(folder, audit=100, seed=3)
  got = small.run(folder / 'in', folder / 'out', cascade=steps)
  _, columns, _ = small.read(folder / 'out')
  others = np.ones(len(truth), bool)
  others[steps.audit] = False
  real = scipy.stats.spearmanr(columns['mean_byte'][others], truth[others])
  found = got['diagnostics']['cascade']['agreement']['cascade']
  low, high = found['interval']
  slack = (high - low) / 2  # the other half is a sample too
  assert low - slack < real.statistic < high + slack
  assert found['spearman'] > 0.75


def test_band_of_everything_is_the_large_judge_alone(small_judge, small):
  folder, *_ = small_judge.world
  small.run(folder / 'in', folder / 'alone')
  got = small.run(
    folder / 'in', folder / 'out', cascade=small_judge.plan(folder, (0.0, 1.0))
  )
  one, two = (small.read(folder / name)[1] for name in ('alone', 'out'))
  np.testing.assert_array_equal(one['mean_byte'], two['mean_byte'])
  found = got['diagnostics']['cascade']
  assert found['saving']['documents'] == 0.0
  assert found['saving']['flops'] < 0
  assert found['agreement']['cascade']['spearman'] == pytest.approx(1)


def test_empty_band_leaves_only_the_audited_to_the_large_judge(
  small_judge, small
):
  folder, *_ = small_judge.world
  steps = small_judge.plan(folder, (0.8, 0.8))
  got = small.run(folder / 'in', folder / 'out', cascade=steps)
  found = got['diagnostics']['cascade']
  assert found['documents']['large'] == found['documents']['audit'] == 40
  assert sorted(judges(folder / 'out').values()).count('large') == 40
  # The cross-fitted curve keeps the small judge's order but for its seams.
  small_rank = found['agreement']['small']['spearman']
  assert found['agreement']['cascade']['spearman'] == pytest.approx(
    small_rank, abs=0.15
  )


def test_whole_blocks_outside_the_band(small_judge, small):
  folder, names, truth, _ = small_judge.world
  cheap = np.array([name.startswith('1') for name in names], float)
  small_judge.write(folder / 'by_file', names, cheap)
  steps = cascades.plan(
    str(folder / 'by_file'), 'quality', band=(0.5, 1.0), audit=10
  )
  small.run(folder / 'in', folder / 'out', cascade=steps)
  _, columns, _ = small.read(folder / 'out')
  large = steps.for_large
  assert np.isfinite(columns['mean_byte']).all()
  np.testing.assert_allclose(
    columns['mean_byte'][large], truth[large], rtol=1e-6
  )


def test_a_small_judge_that_sees_nothing(small_judge, small):
  folder, names, truth, _ = small_judge.world
  small_judge.write(folder / 'flat', names, np.zeros(len(names)))
  steps = cascades.plan(
    str(folder / 'flat'), 'quality', band=(0.4, 0.5), audit=50
  )
  got = small.run(folder / 'in', folder / 'out', cascade=steps)
  _, columns, _ = small.read(folder / 'out')
  rest = columns['mean_byte'][~steps.for_large]
  np.testing.assert_allclose(rest, truth[steps.audit].mean(), rtol=1e-6)
  found = got['diagnostics']['cascade']['agreement']
  assert found['small']['spearman'] is None
  assert -1 <= found['cascade']['spearman'] <= 1


def test_part_of_the_corpus_and_documents_without_small_score(
  small_judge, small
):
  folder, names, _, cheap = small_judge.world
  cheap = cheap.copy()
  cheap[:30] = np.nan
  more = [*names, 'gone1', 'gone2']
  small_judge.write(folder / 'more', more, [*cheap, 1.0, 2.0])
  steps = cascades.plan(
    str(folder / 'more'), 'quality', band=(0.5, 0.6), audit=30
  )
  got = small.run(folder / 'in', folder / 'out', cascade=steps)
  documents = got['diagnostics']['cascade']['documents']
  assert documents['all'] == 200
  assert documents['without_small_score'] == 30
  assert documents['not_in_input'] == 2
  _, columns, _ = small.read(folder / 'out')
  assert np.isfinite(columns['mean_byte']).all()


def test_document_that_the_small_table_lacks_stops_early(small_judge, small):
  folder, names, _, cheap = small_judge.world
  small_judge.write(folder / 'part', names[:150], cheap[:150])
  steps = cascades.plan(
    str(folder / 'part'), 'quality', band=(0.5, 0.6), audit=30
  )
  with pytest.raises(UserError, match=r'is not in .*part'):
    small.run(folder / 'in', folder / 'out', cascade=steps)


def test_large_judge_without_a_score_for_the_sample(small_judge, small):
  folder, *_ = small_judge.world
  mute = small.mean_byte()
  mute = mute._replace(
    features=mute.features._replace(
      examples=lambda documents, tokens: [[] for _ in documents]
    )
  )
  with pytest.raises(UserError, match='for 0 of the 40 documents'):
    small.run(
      folder / 'in',
      folder / 'out',
      scorers=[mute],
      cascade=small_judge.plan(folder),
    )
