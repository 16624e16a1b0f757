"""A cascade of two judges through the command line."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from jaxcurate.cli import main as cli
from jaxcurate.io import manifest as manifests
from jaxcurate.io import tables
from jaxcurate.models import huggingface, t5

SHORT = '--gin.ask_llm.make.max_length=200'
FEW = '--gin.score.run.audit=10'


@pytest.fixture(scope='module')
def small(corpus, tmp_path_factory):
  """The shipped judge's table."""
  output = tmp_path_factory.mktemp('small') / 'small'
  argv = ('score', '--method=ask_llm', SHORT, f'--input={corpus}')
  assert cli.main([*argv, f'--output={output}']) == 0
  return output


@pytest.fixture(scope='module')
def large_model(small_vocabulary, tmp_path_factory, draw_params):
  """A random T5 of two layers with another vocabulary than the judge's."""
  config = t5.T5Config(
    vocab_size=800,
    embed_dim=32,
    num_heads=2,
    head_dim=16,
    mlp_dim=64,
    num_encoder_layers=2,
    num_decoder_layers=2,
    activations=('gelu', 'linear'),
  )
  folder = tmp_path_factory.mktemp('large') / 'model'
  params = draw_params(t5.make_network(config), 3)
  huggingface.export_huggingface(folder, params, config, str(small_vocabulary))
  return folder


@pytest.fixture
def cascade(run, corpus, large_model, small, tmp_path):
  """cascade(flags...) -> (result, output folder)."""

  def call(*flags, name='out', table=small, audit=FEW, path=corpus):
    output = tmp_path / name
    result = run(
      'score', '--method=ask_llm', f'--model={large_model}', SHORT, audit,
      f'--input={path}', f'--output={output}', f'--cascade={table}', *flags,
    )  # fmt: skip
    return result, output

  return call


def test_the_large_judge_reads_the_band_and_the_rest_is_filled_in(
  run, cascade, small, corpus, large_model, tmp_path, documents
):
  result, output = cascade('--band=0.6,0.9')
  assert result.code == 0, result.err
  assert '9 in the band of ask_llm, 10 drawn from all' in result.out
  assert 'ranks on 10 audited documents against the large judge' in result.out
  alone = run(
    'score', '--method=ask_llm', f'--model={large_model}', SHORT,
    f'--input={corpus}', f'--output={tmp_path / "alone"}',
  )  # fmt: skip
  assert alone.code == 0, alone.err
  one, two = (
    tables.read_score_table([str(folder)])[0]
    for folder in (tmp_path / 'alone', output)
  )
  assert two.id.tolist() == [row['id'] for row in documents]
  assert np.isfinite(two.scores['ask_llm']).all()
  who = np.array(
    [
      judge
      for path in sorted(output.glob('*.parquet'))
      for judge in pq.read_table(path)['scored_by'].to_pylist()
    ]
  )
  np.testing.assert_allclose(
    two.scores['ask_llm'][who == 'large'],
    one.scores['ask_llm'][who == 'large'],
    rtol=1e-4,
  )
  # The nine of the band and the ten of the sample, by the small judge's ranks.
  cheap = tables.read_score_table([str(small)])[0].scores['ask_llm']
  band = np.argsort(cheap)[18:27]
  assert (who[band] == 'large').all()
  assert 10 <= (who == 'large').sum() <= 19
  manifest = manifests.read_manifest(output)
  found = manifest['diagnostics']['cascade']
  costs = [
    manifests.read_manifest(f)['cost'] for f in (small, tmp_path / 'alone')
  ]
  assert found['flops']['small'] == costs[0]['columns']['ask_llm']
  assert found['flops']['large_on_all'] == costs[1]['flops']
  assert 'operations, it alone' in result.out


def test_again_does_nothing_and_another_band_is_refused(cascade, fails_clearly):
  assert cascade('--band=0.6,0.9')[0].code == 0
  again, _ = cascade('--band=0.6,0.9')
  assert again.code == 0 and 'ranks on 10 audited' in again.out
  other, output = cascade('--band=0.5,0.9')
  assert fails_clearly(other, output, 'cascade', '[0.6, 0.9]', '[0.5, 0.9]')


def test_the_column_of_another_method_by_name(
  run, cascade, tiny_model, corpus, tmp_path, fails_clearly
):
  table = tmp_path / 'two'
  result = run(
    'score', '--method=perplexity', '--method=density_references',
    '--gin.perplexity.make.max_length=64',
    '--gin.density_references.make.max_length=64',
    f'--model={tiny_model}', f'--input={corpus}', f'--output={table}',
  )  # fmt: skip
  assert result.code == 0, result.err
  unclear, _ = cascade('--band=0.6,0.9', table=table)
  assert fails_clearly(
    unclear, 'give --by=COLUMN, one of perplexity, density_references'
  )
  result, output = cascade('--band=0.6,0.9', '--by=perplexity', table=table)
  assert result.code == 0, result.err
  assert 'in the band of perplexity' in result.out
  assert set(tables.read_score_table([str(output)])[0].scores) == {'ask_llm'}


def test_sampling_and_reporting_take_the_table(run, cascade, tmp_path):
  _, output = cascade('--band=0.6,0.9')
  kept = run(
    'sample', '--method=top_k', f'--input={output}', '--budget=0.2',
    f'--output={tmp_path / "kept"}',
  )  # fmt: skip
  assert kept.code == 0, kept.err
  page = run(
    'report', f'--input={output}', f'--input={tmp_path / "kept"}',
    f'--output={tmp_path / "report"}',
  )  # fmt: skip
  assert page.code == 0, page.err


@pytest.mark.parametrize(
  'flags, words',
  [
    ([], ['needs --band=LOW,HIGH']),
    (['--band=0.5'], ['--band=0.5 is not understood', '0.7,0.9']),
    (['--band=a,b'], ['not understood']),
    (['--band=0.9,0.2'], ['expected 0 <= LOW <= HIGH <= 1']),
    (['--band=nan,nan'], ['expected 0 <= LOW']),
    (['--band=0.5,0.6', '--by=quality'], ["'quality'", 'they have ask_llm']),
    (['--band=0.5,0.6', '--gin.score.run.audit=3'], ['audit is 3']),
    (['--band=0.5,0.6', '--method=perplexity'], ['one column, not 2']),
  ],
)
def test_mistakes_are_one_clear_line(cascade, fails_clearly, flags, words):
  result, output = cascade(*flags)
  assert fails_clearly(result, *words)
  assert not output.exists()


def test_no_table_there(cascade, tmp_path, fails_clearly):
  result, _ = cascade('--band=0.5,0.6', table=tmp_path / 'none')
  assert fails_clearly(result, 'none', 'no manifest.json', 'jaxcurate score')


def test_a_band_without_a_cascade(
  run, ask_llm, corpus, tmp_path, fails_clearly
):
  for flag in ('--band=0.5,0.6', '--by=ask_llm'):
    result = run(
      *ask_llm, flag, f'--input={corpus}', f'--output={tmp_path / "out"}'
    )
    assert fails_clearly(result, flag.split('=')[0], 'is for --cascade')


def test_a_document_that_the_small_judge_did_not_see(
  cascade, documents, tmp_path, fails_clearly
):
  path = tmp_path / 'more.jsonl'
  rows = [*documents, {'id': 'new', 'text': 'One more document.'}]
  path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
  result, _ = cascade('--band=0.5,0.6', path=path)
  assert fails_clearly(result, "'new' is not in", 'small judge first')
