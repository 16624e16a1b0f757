"""`jaxcurate evaluate`: loss per document and perplexity per domain."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from jaxcurate.cli import main as cli
from jaxcurate.io import manifest as manifests

CHEAP = (
  '--gin.evaluate.run.rows_per_batch=8',
  '--gin.evaluate.run.encoder_length=64',
  '--gin.evaluate.run.max_segments=2',
)


@pytest.fixture(scope='module')
def argv(tiny_model, corpus):
  return ('evaluate', *CHEAP, f'--model={tiny_model}', f'--input={corpus}')


@pytest.fixture(scope='module')
def evaluated(argv, tmp_path_factory):
  output = tmp_path_factory.mktemp('evaluated') / 'out'
  assert cli.main([*argv, f'--output={output}']) == 0
  return output


def test_every_document_has_a_loss(evaluated, documents):
  table = pq.read_table(evaluated / 'eval.parquet').to_pydict()
  assert sorted(table['id']) == sorted(row['id'] for row in documents)
  assert all(np.isfinite(table['loss']))
  manifest = manifests.read_manifest(evaluated, 'evaluation')
  weights = np.array(table['tokens'])
  mean = np.average(table['loss'], weights=weights)
  assert manifest['diagnostics']['eval/loss'] == pytest.approx(mean, rel=1e-5)


def test_result_does_not_depend_on_the_batch(run, argv, evaluated, tmp_path):
  output = tmp_path / 'out'
  result = run(
    *argv, '--gin.evaluate.run.rows_per_batch=16', f'--output={output}'
  )
  assert result.code == 0, result.err
  one, two = (
    pq.read_table(folder / 'eval.parquet').sort_by('id').to_pydict()
    for folder in (evaluated, output)
  )
  assert one['id'] == two['id']
  np.testing.assert_allclose(one['loss'], two['loss'], rtol=1e-5)


def test_domains_are_printed_and_again_does_nothing(
  run, argv, evaluated, tmp_path
):
  result = run(*argv, f'--output={evaluated}')
  assert 'already evaluated' in result.out
  result = run(*argv, f'--output={tmp_path / "out"}', '--mesh=data=4,model=2')
  names = [line.split()[0] for line in result.out.splitlines()]
  assert names[0] == 'domain'
  assert {'a', 'b'} <= set(names)


@pytest.mark.parametrize(
  'more, words',
  [
    (['--model='], ['no checkpoint']),
    (['--model=models/tiny.gin'], ['no weights']),
    (['--input=none.jsonl'], ['none.jsonl']),
    (['--task=x'], ['either --input or --task']),
  ],
)
def test_mistakes_are_one_clear_line(
  run, argv, tmp_path, fails_clearly, more, words
):
  result = run(*argv, *more, f'--output={tmp_path / "out"}')
  assert fails_clearly(result, *words)


def test_model_is_asked_for(run, corpus, tmp_path, fails_clearly):
  result = run('evaluate', f'--input={corpus}', f'--output={tmp_path}/out')
  assert fails_clearly(result, 'give --model')
