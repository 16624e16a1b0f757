"""`jaxcurate score` from files to a table, through the command line."""

import json

import numpy as np
import pytest

from jaxcurate.cli import main as cli
from jaxcurate.io import tables

SHORT = '--gin.ask_llm.make.max_length=200'


def test_table_manifest_config_and_next_command(scores, documents):
  table, _ = tables.read_score_table([str(scores)])
  assert table.id.tolist() == [row['id'] for row in documents]
  assert table.domain.tolist() == [row['domain'] for row in documents]
  assert (table.scores['ask_llm'] < 0).all()
  assert table.units == {'ask_llm': 'log P(yes)'}
  manifest = json.loads((scores / 'manifest.json').read_text())
  assert manifest['command'][:2] == ['jaxcurate', 'score']
  assert manifest['num_rows'] == len(documents)
  assert manifest['settings']['ask_llm.make.max_length'] == '200'
  assert manifest['cost']['flops'] and manifest['cost']['seconds'] > 0
  config = (scores / 'config.gin').read_text()
  assert 'ask_llm.make.max_length = 200' in config
  assert not (scores / 'settings.json').exists()


def test_again_does_nothing_and_other_settings_are_refused(
  run, ask_llm, corpus, scores, fails_clearly
):
  before = {p: p.stat().st_mtime_ns for p in scores.glob('*.parquet')}
  again = run(*ask_llm, f'--input={corpus}', f'--output={scores}')
  assert again.code == 0
  assert 'jaxcurate sample --method=top_k --by=ask_llm' in again.out
  other = [a for a in ask_llm if a != SHORT]
  result = run(*other, f'--input={corpus}', f'--output={scores}')
  assert fails_clearly(
    result, scores, "ask_llm.make.max_length: '200' there, '512' now"
  )
  assert before == {p: p.stat().st_mtime_ns for p in scores.glob('*.parquet')}


def test_what_will_be_done_is_said_before_it_is(run, ask_llm, corpus, tmp_path):
  result = run(*ask_llm, f'--input={corpus}', f'--output={tmp_path / "out"}')
  first = result.out.splitlines()[0]
  assert 'scoring ask_llm with' in first
  assert 'over 1 file(s)' in first
  assert 'floating-point operations per token' in first
  assert 'doc' in result.err and 'tokens/s' in result.err  # the progress bar


def test_several_methods_and_a_table_to_sample_from(
  run, tiny_model, corpus, tmp_path, documents
):
  result = run(
    'score',
    '--method=perplexity',
    '--method=density_references',
    f'--model={tiny_model}',
    f'--input={corpus}',
    f'--output={tmp_path / "out"}',
    '--gin.perplexity.make.max_length=64',
    '--gin.density_references.make.max_length=64',
    '--gin.density_references.make.num_references=8',
  )
  assert result.code == 0, result.err
  table, _ = tables.read_score_table([str(tmp_path / 'out')])
  assert set(table.scores) == {'perplexity', 'density_references'}
  assert all(np.isfinite(c).all() for c in table.scores.values())
  assert table.units['density_references'] == '-log density'
  manifest = json.loads((tmp_path / 'out' / 'manifest.json').read_text())
  found = manifest['diagnostics']['density_references']
  assert 0 < found['resolvable_share'] <= 1
  assert manifest['num_rows'] == len(documents)


def test_criteria_from_files_in_one_pass(run, ask_llm, corpus, tmp_path):
  for name in ('clean', 'rare'):
    (tmp_path / f'{name}.txt').write_text('### {text} ###\nIs it ' + name)
  result = run(
    *ask_llm,
    f'--template=clean={tmp_path}/clean.txt',
    f'--template=rare={tmp_path}/rare.txt',
    f'--input={corpus}',
    f'--output={tmp_path / "out"}',
  )
  assert result.code == 0, result.err
  table, _ = tables.read_score_table([str(tmp_path / 'out')])
  assert set(table.scores) == {'ask_llm/clean', 'ask_llm/rare'}


def test_numbers_do_not_depend_on_the_mesh(run, ask_llm, corpus, tmp_path):
  for mesh in ('data=8', 'data=4,model=2'):
    result = run(
      *ask_llm, f'--mesh={mesh}', f'--input={corpus}',
      f'--output={tmp_path / mesh}',
    )  # fmt: skip
    assert result.code == 0, result.err
  one, two = (
    tables.read_score_table([str(tmp_path / mesh)])[0].scores['ask_llm']
    for mesh in ('data=8', 'data=4,model=2')
  )
  bound = 1e-5 * one.std() + 1e-5 * np.abs(one)
  assert (np.abs(one - two) <= bound).all()


@pytest.mark.parametrize(
  'argv, words',
  [
    (['--method=ask_lm'], ["unknown method 'ask_lm'", 'perplexity']),
    ([], ['no method', '--method=NAME']),
    (['--method=ask_llm', '--model=models/tiny.gin'], ['no weights', 'judge']),
    (['--method=ask_llm', '--model=none'], ['no checkpoint at none', 'hf:']),
    (['--method=ask_llm', '--mesh=data=3'], ['data=3', '8']),
    (['--method=ask_llm', '--mesh=x'], ["mesh 'x'", 'data=4,model=2']),
    (['--method=ask_llm', '--method=ask_llm'], ['ask_llm', 'drop one']),
    (['--method=ask_llm', '--dtype=int8'], ['int8', 'bfloat16']),
    (['--method=ask_llm', '--template=none.txt'], ['none.txt', 'cannot be']),
    (['--method=ask_llm', '--gin.ask_llm.make.max_length=9'], ['max_length']),
    (
      ['--method=ask_llm', "--gin.ask_llm.make.yes_words=('aye aye',)"],
      ['aye aye'],
    ),
    (['--method=ask_llm', '--gin.ask_llm.make.max_len=9'], ['max_len']),
    (['--method=perplexity', '--template=x'], ['--template', 'ask_llm']),
    (['--method=ask_llm', '--task=x'], ['either --input or --task']),
    (['--method=ask_llm', '--format=xml'], ['xml', 'jsonl']),
  ],
)
def test_mistakes_are_one_clear_line(
  run, tiny_model, corpus, tmp_path, fails_clearly, argv, words
):
  if not any(argument.startswith('--model') for argument in argv):
    argv = [*argv, f'--model={tiny_model}']
  output = tmp_path / 'out'
  result = run('score', *argv, f'--input={corpus}', f'--output={output}')
  assert fails_clearly(result, *words)
  assert not output.exists()


def test_output_that_holds_something_else(
  run, ask_llm, corpus, tmp_path, fails_clearly
):
  result = run(*ask_llm, f'--input={corpus}', f'--output={corpus}')
  assert fails_clearly(result, corpus, '--output')
  (tmp_path / 'x.parquet').write_bytes(b'')
  result = run(*ask_llm, f'--input={corpus}', f'--output={tmp_path}')
  assert fails_clearly(result, tmp_path, 'something else')


def test_resolved_gin_scores_the_same(
  ask_llm, corpus, scores, tmp_path, tiny_model
):
  output = tmp_path / 'again'
  argv = [f'--gin_file={scores / "config.gin"}', f'--output={output}']
  assert cli.main(['score', *argv]) == 0
  tables_ = [tables.read_score_table([str(p)])[0] for p in (scores, output)]
  np.testing.assert_array_equal(*(t.scores['ask_llm'] for t in tables_))
