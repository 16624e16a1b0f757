"""`jaxcurate sample` from score tables to a Selection."""

import json

import numpy as np
import pytest

from jaxcurate.cli import sample_candidates
from jaxcurate.io import manifest as manifests
from jaxcurate.io import tables
from jaxcurate.ops import log_ratio
from jaxcurate.types import ScoreTable


def write_scores(folder, scores, name='quality', unit='log P(yes)', ids=None):
  """A finished score table with one column."""
  count = len(scores)
  ids = ids or [f'doc{i}' for i in range(count)]
  tables.write_table(
    folder / 'part-0.parquet',
    {
      'id': np.array(ids, object),
      'domain': np.array(['ab'[i % 2] for i in range(count)], object),
      'num_tokens': np.arange(1, count + 1, dtype=np.int32),
      name: np.array(scores, np.float32),
    },
  )
  content = {'kind': 'scores', 'columns': {name: unit}, 'settings': {}}
  manifests.write_manifest(folder, {**content, 'num_rows': count})
  return folder


@pytest.fixture
def table(tmp_path):
  return write_scores(tmp_path / 'scores', np.arange(10.0))


def test_best_documents_within_the_budget(run, table, tmp_path):
  output = tmp_path / 'kept'
  result = run(
    'sample', '--method=top_k', f'--input={table}', '--budget=0.3',
    f'--output={output}',
  )  # fmt: skip
  assert result.code == 0, result.err
  selection = tables.read_selection(output)
  assert sorted(selection.id) == ['doc7', 'doc8', 'doc9']
  assert 'kept 3 of 10 documents (27 of 55 tokens) by top_k' in result.out
  assert f'--selection={output}' in result.out
  manifest = manifests.read_manifest(output, 'selection')
  assert manifest['diagnostics']['domains'] == {
    'a': {'documents': 5, 'kept': 1},
    'b': {'documents': 5, 'kept': 2},
  }
  assert manifest['settings']['by'] == 'quality'
  assert 'BUDGET' in (output / 'config.gin').read_text()


@pytest.mark.parametrize(
  'budget, expected', [('4', 4), ('1.0', 10), ('19t', 2), ('0.35t', 2)]
)
def test_budgets(run, table, tmp_path, budget, expected):
  run(
    'sample', '--method=top_k', f'--input={table}', f'--budget={budget}',
    f'--output={tmp_path / "kept"}',
  )  # fmt: skip
  assert len(tables.read_selection(tmp_path / 'kept').id) == expected


def test_same_seed_same_documents_and_again_does_nothing(run, table, tmp_path):
  kept = []
  for seed, name in [(1, 'a'), (1, 'b'), (2, 'c')]:
    argv = ('sample', '--method=uniform', f'--input={table}', '--budget=5')
    argv += (f'--seed={seed}', f'--output={tmp_path / name}')
    assert run(*argv).code == 0
    kept.append(sorted(tables.read_selection(tmp_path / name).id))
    assert 'already sampled' in run(*argv).out
  assert kept[0] == kept[1] != kept[2]


def test_other_settings_are_refused(run, table, tmp_path, fails_clearly):
  argv = ('sample', '--method=uniform', f'--input={table}')
  argv += (f'--output={tmp_path / "kept"}',)
  assert run(*argv, '--budget=5').code == 0
  result = run(*argv, '--budget=6')
  assert fails_clearly(result, "budget: '5' there, '6' now", 'kept')


def test_tables_are_joined_by_id(run, table, tmp_path):
  other = write_scores(
    tmp_path / 'other', [3.0, 2.0, 1.0], 'age', ids=['doc1', 'x', 'doc0']
  )
  result = run(
    'sample', '--method=top_k', f'--input={table}', f'--input={other}',
    '--by=age', '--budget=1', f'--output={tmp_path / "kept"}',
  )  # fmt: skip
  assert result.code == 0, result.err
  assert tables.read_selection(tmp_path / 'kept').id.tolist() == ['doc1']
  assert f'{table}: 8 ids are not in every table' in result.out
  skipped = json.loads((tmp_path / 'kept' / 'manifest.json').read_text())
  assert skipped['skipped'] == {
    'no score': 0,
    f'not joined: {table}': 8,
    f'not joined: {other}': 1,
  }


def test_columns_of_a_file_beside_the_tables(
  run, table, tmp_path, fails_clearly
):
  rows = [{'id': f'doc{i}', 'stars': 9 - i, 'by': 'us'} for i in range(8)]
  rows.append({'id': 'elsewhere', 'stars': 10})
  file = tmp_path / 'stars.jsonl'
  file.write_text(''.join(json.dumps(row) + '\n' for row in rows))
  argv = ['sample', '--method=top_k', f'--input={table}', '--budget=3']
  argv += [f'--columns={file}', f'--output={tmp_path / "kept"}']
  result = run(*argv, '--by=stars')
  assert result.code == 0, result.err
  kept = tables.read_selection(tmp_path / 'kept')
  assert sorted(kept.id) == ['doc0', 'doc1', 'doc2']
  for line in ('2 ids without a row', '1 ids not in the tables'):
    assert f'{file}: {line}' in result.out
  skipped = manifests.read_manifest(tmp_path / 'kept', 'selection')['skipped']
  assert skipped['no score'] == 2 == skipped[f'{file}: without a row']
  assert 'already sampled' in run(*argv, '--by=stars').out
  # Another content is another setting; other columns are named.
  file.write_text(json.dumps({'id': 'doc0', 'stars': 1, 'quality': 2}) + '\n')
  assert fails_clearly(run(*argv, '--by=stars'), 'columns: ')
  for by, words in {
    '--by=beauty': ["no score column 'beauty' in", str(file), 'quality'],
    '--by=quality': ["column 'quality' is in several of", str(table)],
  }.items():
    assert fails_clearly(run(*argv, by), *words)
  assert fails_clearly(run(*argv), 'give --by=COLUMN')


def test_the_union_of_several_criteria(run, table, tmp_path):
  other = [9.0, 8.0, *[np.nan] * 2, *np.zeros(6)]
  write_scores(tmp_path / 'other', other, 'other')
  argv = [f'--input={table}', f'--input={tmp_path / "other"}', '--budget=4']
  for by in ([], ['--by=other,quality']):
    output = tmp_path / f'kept{len(by)}'
    result = run(
      'sample', '--method=criteria_mix', *argv, *by, f'--output={output}'
    )
    assert result.code == 0, result.err
    kept = tables.read_selection(output)
    assert sorted(kept.id) == ['doc0', 'doc1', 'doc8', 'doc9']
    assert "2 documents have no score in 'other'" in result.out
    assert 'by criteria_mix of other,quality' in result.out


def test_documents_without_a_score_are_left_out_and_counted(run, tmp_path):
  scores = [1.0, np.nan, 3.0, np.nan]
  table = write_scores(tmp_path / 'scores', scores)
  result = run(
    'sample', '--method=uniform', '--by=quality', f'--input={table}',
    '--budget=1.0', f'--output={tmp_path / "kept"}',
  )  # fmt: skip
  assert '2 had no score' in result.out
  assert sorted(tables.read_selection(tmp_path / 'kept').id) == ['doc0', 'doc2']
  manifest = manifests.read_manifest(tmp_path / 'kept')
  assert manifest['skipped'] == {'no score': 2}


@pytest.mark.parametrize(
  'argv, words',
  [
    (['--budget=11'], ['budget 11', 'only 10', 'lower the budget']),
    (['--budget=999t'], ['999', 'only 55']),
    (['--budget=1.5'], ['1.5', 'at most 1']),
    (['--budget=0'], ['budget 0']),
    (['--budget=many'], ["'many'", '0.2t']),
    (['--budget=5', '--by=rank'], ["'rank'", 'they have quality']),
    (['--budget=5', '--input=none'], ['none', 'manifest.json']),
    (['--budget=5', '--method=topk'], ["'topk'", 'top_k']),
    (['--budget=5', '--method=uniform'], ['give one --method']),
    (['--budget=5', '--gin.top_k.sample.x=1'], ["'x'", 'top_k.sample']),
  ],
)
def test_mistakes_are_one_clear_line(
  run, table, tmp_path, fails_clearly, argv, words
):
  if '--method=topk' not in argv:
    argv = ['--method=top_k', *argv]
  result = run('sample', f'--input={table}', f'--output={tmp_path}/out', *argv)
  assert fails_clearly(result, *words)
  assert not (tmp_path / 'out' / 'manifest.json').exists()


def test_inverse_propensity_wants_a_density(
  run, table, tmp_path, fails_clearly
):
  argv = ('sample', '--method=inverse_propensity', '--budget=5')
  argv += (f'--output={tmp_path / "kept"}',)
  result = run(*argv, f'--input={table}')
  assert fails_clearly(result, 'log P(yes)', '-log density')
  rare = write_scores(
    tmp_path / 'rare', np.arange(10.0) / 10, unit='-log density'
  )
  assert run(*argv, f'--input={rare}').code == 0
  selection = tables.read_selection(tmp_path / 'kept')
  assert (selection.expected_count < 1).all()


def test_threshold_of_lamdas_is_the_papers_ratio(run, tmp_path, fails_clearly):
  ratios = [0.8, 0.95, 1.05, 1.3]
  table = write_scores(
    tmp_path / 'scores', np.log(ratios), 'lamdas', unit=log_ratio.UNIT
  )
  argv = ('sample', '--method=threshold', f'--input={table}')
  for flags, ratio, kept in [((), 1.0, 2), (('--threshold=0.9',), 0.9, 3)]:
    output = tmp_path / f'kept{kept}'
    result = run(*argv, *flags, f'--output={output}')
    assert result.code == 0, result.err
    assert len(tables.read_selection(output).id) == kept
    line = manifests.read_manifest(output)['diagnostics']['threshold']
    assert line['score'] == pytest.approx(np.log(ratio), abs=1e-6)
    assert line['ratio'] == pytest.approx(ratio)
    assert line['unit'] == log_ratio.UNIT
  kept = ('--gin.threshold.sample.quantile=0.75', f'--output={tmp_path / "q"}')
  assert run(*argv, *kept).code == 0
  assert tables.read_selection(tmp_path / 'q').id.tolist() == ['doc3']
  argv = ('sample', '--method=top_k', f'--input={table}')
  argv += (f'--output={tmp_path / "top"}',)
  assert fails_clearly(run(*argv), 'top_k needs a --budget')
  result = run(*argv, '--budget=1', '--threshold=1')
  assert fails_clearly(result, '--threshold is for --method=threshold')


def test_every_score_missing(run, tmp_path, fails_clearly):
  table = write_scores(tmp_path / 'scores', [np.nan, np.nan])
  result = run(
    'sample', '--method=top_k', f'--input={table}', '--budget=1',
    f'--output={tmp_path / "kept"}',
  )  # fmt: skip
  assert fails_clearly(result, "no document has a score in 'quality'")


def test_candidates_of_no_column_all_score_zero():
  table = ScoreTable(
    id=np.array(['a', 'b'], object),
    domain=np.array([None, 'd'], object),
    num_tokens=np.array([1, 2], np.int32),
    scores={},
    units={},
  )
  candidates, missing = sample_candidates.of_table(table, [])
  assert candidates.score.tolist() == [0.0, 0.0]
  assert missing == 0
