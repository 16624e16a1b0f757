"""Tuning all parameters on instructions: an encoder-decoder answers."""

import json

import numpy as np
import pytest

from jaxcurate.cli import main as cli
from jaxcurate.data import token_cache
from jaxcurate.data.vocabulary import SentencePieceVocabulary
from jaxcurate.io import manifest as manifests
from jaxcurate.io import tables


@pytest.fixture(scope='module')
def base(tiny_model, instructions):
  """Arguments of a cheap run, without output."""
  return (
    'train', '--weighting=adapt', '--turns', '--gin_file=runs/tune.gin',
    f'--model={tiny_model}', f'--input={instructions}', '--steps=2',
    f'--anchors={instructions}', '--gin.train.run.refresh_epochs=0.5',
    '--schedule_steps=2', '--mesh=data=8',
    '--gin.train.run.rows_per_batch=8', '--gin.train.run.encoder_length=32',
    '--gin.train.run.max_segments=2', '--gin.train.run.log_every=1',
    '--gin.train.run.holdout_share=0.2',
    '--gin.train.run.reduction="examples"',
  )  # fmt: skip


@pytest.fixture(scope='module')
def tuned(base, corpus, tmp_path_factory):
  """A finished run, plain documents beside the instructions."""
  output = tmp_path_factory.mktemp('tuned') / 'out'
  argv = (*base, f'--input={corpus}', f'--output={output}')
  argv += ('--gin.train.run.decoder_length=12',)
  assert cli.main(argv) == 0
  return output


def test_answers_are_learnt_and_held_out(tuned, instructions, small_vocabulary):
  rows = {row['id']: row for row in json.loads(instructions.read_text())}
  words = SentencePieceVocabulary(small_vocabulary)
  table = tables.read_parquet(tuned / 'eval.parquet').to_pydict()
  cache = token_cache.open_cache(tuned / 'cache' / 'text')
  assert len(table['id']) == len(cache.eval.id_hash) > 1
  for name, tokens in zip(table['id'], table['tokens'], strict=True):
    [answer] = words.encode_batch([rows[name]['output']])
    assert tokens == min(len(answer) + 1, 12)
  lines = (tuned / 'metrics.jsonl').read_text().splitlines()
  logged = [row for row in map(json.loads, lines) if 'loss' in row]
  assert len(logged) == 2 and all(np.isfinite(row['loss']) for row in logged)
  assert all(0.26 < row['weights/min'] < 0.74 for row in logged)
  manifest = manifests.read_manifest(tuned)
  assert manifest['settings']['step'][1] == 'examples'
  assert manifest['skipped']['no answer'] == 30
  assert manifest['num_rows'] + len(table['id']) == len(rows)


def test_an_export_is_evaluated_on_answers(run, tuned, instructions, tmp_path):
  result = run(
    'evaluate', '--turns', f'--model={tuned / "model"}', '--mesh=data=8',
    f'--input={instructions}', f'--output={tmp_path / "out"}',
    '--gin.evaluate.run.rows_per_batch=8',
    '--gin.evaluate.run.encoder_length=32',
    '--gin.evaluate.run.max_segments=2',
  )  # fmt: skip
  assert result.code == 0, result.err
  found = tables.read_parquet(tmp_path / 'out' / 'eval.parquet').to_pydict()
  loss = dict(zip(found['id'], found['loss'], strict=True))
  assert len(loss) == 30
  table = tables.read_parquet(tuned / 'eval.parquet').to_pydict()
  tokens = dict(zip(found['id'], found['tokens'], strict=True))
  for name, own, size in zip(
    table['id'], table['loss'], table['tokens'], strict=True
  ):
    if tokens[name] == size:  # not cut by the run's shorter decoder_length
      np.testing.assert_allclose(loss[name], own, rtol=1e-4)


@pytest.mark.parametrize(
  'more, words',
  [
    (['--gin.train.run.windowing="concat"'], ['windowing="document"']),
    (['--model=models/tiny_decoder.gin',
      '--gin.train.run.decoder_length=12'], ['decoder_length is 12']),
    (['--gin.train.run.encoder_length=1'], ['1 and 1 tokens']),
  ],
)  # fmt: skip
def test_mistakes_are_one_clear_line(
  run, base, tmp_path, fails_clearly, more, words
):
  result = run(*base, f'--output={tmp_path / "out"}', *more)
  assert fails_clearly(result, *words)


def test_plain_text_has_no_answer(run, base, corpus, tmp_path, fails_clearly):
  alone = [flag for flag in base if not flag.startswith('--input')]
  result = run(*alone, f'--input={corpus}', f'--output={tmp_path / "none"}')
  assert fails_clearly(result, '30 no answer')


def test_without_turns_instructions_are_pointed_out(
  run, base, tmp_path, fails_clearly
):
  plain = [flag for flag in base if flag != '--turns']
  result = run(*plain, f'--output={tmp_path / "out"}')
  assert fails_clearly(result, '--turns reads it')
