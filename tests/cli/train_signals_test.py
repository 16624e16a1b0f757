"""What weightings read besides the batch, from flags to weights in the log.

A second model and domains: lora_test.py. Anchors: instructions_test.py.
"""

import json

import numpy as np
import pytest

from jaxcurate.io import manifest as manifests
from jaxcurate.io import tables


@pytest.fixture(scope='module')
def base(tiny_decoder, corpus):
  """Arguments of a cheap run, without weighting and output."""
  return (
    'train', f'--model={tiny_decoder}', f'--input={corpus}', '--steps=2',
    '--mesh=data=8', '--gin.train.run.rows_per_batch=8',
    '--gin.train.run.encoder_length=64', '--gin.train.run.max_segments=2',
    '--gin.train.run.log_every=1', '--gin.train.run.holdout_share=0.2',
  )  # fmt: skip


def logged(output):
  lines = (output / 'metrics.jsonl').read_text().splitlines()
  return [row for row in map(json.loads, lines) if 'loss' in row]


@pytest.fixture(scope='module')
def scores(documents, tmp_path_factory):
  """A score folder of the corpus: 0, 1, 2, ..."""
  folder = tmp_path_factory.mktemp('scores') / 'scores'
  columns = {
    'id': np.array([row['id'] for row in documents], object),
    'domain': np.array([row['domain'] for row in documents], object),
    'num_tokens': np.ones(len(documents), np.int32),
    'good': np.arange(len(documents), dtype=np.float32),
  }
  tables.write_table(folder / 'part-0.parquet', columns)
  manifests.write_manifest(folder, {'kind': 'scores', 'columns': {'good': '1'}})
  return folder


def test_a_score_column_weighs(run, base, scores, documents, tmp_path):
  output = tmp_path / 'out'
  result = run(
    *base, '--weighting=column', f'--scores={scores}', '--by=good',
    '--gin.column.make.scale="raw"', '--gin.column.make.gate="none"',
    f'--output={output}',
  )  # fmt: skip
  assert result.code == 0, result.err
  lowest = [row['weights/min'] for row in logged(output)]
  highest = [row['weights/max'] for row in logged(output)]
  for value in (*lowest, *highest):
    assert value in range(len(documents))
  assert lowest[0] < highest[0]


@pytest.mark.parametrize(
  'more, words',
  [
    (['--weighting=rho_loss'], ['rho_loss compares', '--reference=MODEL']),
    (['--weighting=rho_loss', '--reference=none'], ['none']),
    (['--weighting=column'], ['column reads a score', '--by=COLUMN']),
    (['--weighting=column', '--scores=none'], ['none: no manifest.json']),
    (['--weighting=doge', '--domain_field=none'], ['--domain_field']),
    (['--weighting=greats'], ['greats needs --anchors']),
  ],
)
def test_what_is_missing_is_one_clear_line(
  run, base, tmp_path, fails_clearly, more, words
):
  result = run(*base, *more, f'--output={tmp_path / "out"}')
  assert fails_clearly(result, *words)


def test_a_score_of_another_corpus_is_refused(
  run, base, scores, tmp_path, fails_clearly
):
  other = tmp_path / 'other.jsonl'
  other.write_text('{"text": "a text", "id": "stranger"}\n')
  result = run(
    *base, f'--input={other}', '--weighting=column', f'--scores={scores}',
    f'--output={tmp_path / "out"}', '--gin.train.run.holdout_share=0.05',
  )  # fmt: skip
  assert fails_clearly(result, "'stranger'", 'score the same corpus')
