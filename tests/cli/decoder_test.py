"""A decoder-only network through the commands: train, evaluate, score."""

import json

import numpy as np
import pytest

from jaxcurate.cli import main as cli
from jaxcurate.io import manifest as manifests
from jaxcurate.io import tables

NETWORK = """
from __gin__ import dynamic_registration
from jaxcurate.models import decoder
include 'models/tiny_decoder.gin'
decoder.DecoderConfig.vocab_size = 800
decoder.DecoderConfig.embed_dim = 16
decoder.DecoderConfig.num_heads = 2
decoder.DecoderConfig.num_kv_heads = 1
decoder.DecoderConfig.head_dim = 8
decoder.DecoderConfig.mlp_dim = 32
decoder.DecoderConfig.num_layers = 1
"""


@pytest.fixture(scope='module')
def trained(corpus, small_vocabulary, tmp_path_factory):
  """The output of a short run under ADAPT."""
  folder = tmp_path_factory.mktemp('decoder')
  (folder / 'net.gin').write_text(NETWORK)
  assert not cli.main(
    [
      'train', f'--model={folder / "net.gin"}', '--weighting=adapt',
      f'--vocabulary={small_vocabulary.parent}', f'--input={corpus}',
      f'--anchors={corpus}', f'--output={folder / "out"}', '--steps=12',
      '--mesh=data=8', '--gin.train.run.rows_per_batch=8',
      '--gin.train.run.encoder_length=32', '--gin.train.run.max_segments=2',
      '--gin.train.run.log_every=4',
      '--gin.optimizers.make_optimizer.name="adamw"',
      '--gin.optimizers.make_optimizer.warmup_steps=1',
      '--gin.optimizers.make_optimizer.learning_rate=0.02',
      '--gin.optimizers.make_optimizer.schedule="constant"',
      '--gin.train.run.holdout_share=0.2',
    ]
  )  # fmt: skip
  return folder / 'out'


def test_it_learns_and_says_so(trained, small_vocabulary):
  exported = trained / 'model' / small_vocabulary.name  # given as a folder
  assert exported.read_bytes() == small_vocabulary.read_bytes()
  lines = [json.loads(line) for line in open(trained / 'metrics.jsonl')]
  losses = [line['loss'] for line in lines if 'loss' in line]
  assert losses[-1] < losses[0] < 1.2 * np.log(800)
  means = [line['weights/mean'] for line in lines if 'weights/mean' in line]
  assert all(0.26 < mean < 0.74 for mean in means) and means
  assert manifests.read_manifest(trained)['diagnostics']['eval/loss'] > 0


def test_its_export_is_evaluated_and_scores(trained, run, corpus, tmp_path):
  result = run(
    'evaluate', f'--model={trained / "model"}', f'--input={corpus}',
    f'--output={tmp_path / "evaluated"}', '--mesh=data=8',
    '--gin.evaluate.run.rows_per_batch=8',
    '--gin.evaluate.run.encoder_length=32',
  )  # fmt: skip
  assert result.code == 0, result.err
  result = run(
    'score', '--method=perplexity', f'--model={trained / "model"}',
    f'--input={corpus}', f'--output={tmp_path / "scores"}',
    '--gin.perplexity.make.max_length=32',
  )  # fmt: skip
  assert result.code == 0, result.err
  table, _ = tables.read_score_table([str(tmp_path / 'scores')])
  found = -table.scores['perplexity']
  expected = manifests.read_manifest(tmp_path / 'evaluated')['diagnostics']
  # The same likelihood but for windows' first tokens and the end of a text.
  weights = table.num_tokens - 1
  mean = np.average(found, weights=weights)
  assert abs(mean - expected['eval/loss']) < 0.05 * mean
