"""`jaxcurate train` from a corpus and a Selection to a model that loads."""

import json
import os
import re
import signal
import threading
import time

import numpy as np
import pytest

from jaxcurate.cli import main as cli
from jaxcurate.io import manifest as manifests
from jaxcurate.io import tables
from jaxcurate.models import load
from jaxcurate.types import Selection

STEPS = 4
CHEAP = (
  '--mesh=data=8',
  '--gin.train.run.rows_per_batch=8',
  '--gin.train.run.encoder_length=32',
  '--gin.train.run.max_segments=2',
  '--gin.train.run.log_every=2',
  '--gin.train.run.holdout_share=0.1',
)
NETWORK = """
from __gin__ import dynamic_registration
from jaxcurate.models import t5
include 'models/t5.gin'
t5.T5Config.vocab_size = 800
t5.T5Config.embed_dim = 16
t5.T5Config.num_heads = 2
t5.T5Config.head_dim = 8
t5.T5Config.mlp_dim = 32
t5.T5Config.num_encoder_layers = 1
t5.T5Config.num_decoder_layers = 1
"""


@pytest.fixture(scope='session')
def selection(documents, tmp_path_factory):
  """Twenty of the documents, the first three of them twice."""
  ids = [row['id'] for row in documents[:20]]
  folder = tmp_path_factory.mktemp('selection') / 'kept'
  chosen = Selection(
    id=np.array(ids, object),
    count=np.array([2] * 3 + [1] * 17, np.int32),
    expected_count=np.ones(20),
  )
  tables.write_selection(folder, chosen, {})
  return folder


@pytest.fixture(scope='session')
def scratch(corpus, small_vocabulary, tmp_path_factory):
  """Arguments of a run from scratch, without weighting, steps and output."""
  network = tmp_path_factory.mktemp('network') / 'net.gin'
  network.write_text(NETWORK)
  return (
    'train', *CHEAP, f'--model={network}', f'--vocabulary={small_vocabulary}',
    f'--input={corpus}',
  )  # fmt: skip


@pytest.fixture(scope='session')
def trained(scratch, selection, tmp_path_factory):
  """A finished run over the selection, and its arguments."""
  output = tmp_path_factory.mktemp('trained') / 'model'
  argv = (*scratch, '--weighting=uniform', f'--selection={selection}')
  argv += (f'--output={output}',)
  assert cli.main([*argv, f'--steps={STEPS}']) == 0
  return output, argv


def metrics(output):
  lines = (output / 'metrics.jsonl').read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  timed = ('seconds', 'examples_per_second', 'tokens_per_second')
  return [{k: v for k, v in r.items() if k not in timed} for r in rows]


def test_run_leaves_metrics_manifest_config_and_a_model(trained, documents):
  output, _ = trained
  rows = metrics(output)
  assert [row['step'] for row in rows if 'loss' in row] == [1, 2, STEPS]
  assert all(np.isfinite(row['loss']) for row in rows if 'loss' in row)
  assert rows[-1]['eval/loss'] > 0
  manifest = manifests.read_manifest(output, 'training')
  assert manifest['steps'] == STEPS
  assert manifest['cost']['flops'] > 0
  kept = manifest['num_rows'] + manifest['skipped'].get('held out', 0)
  assert kept <= 20 < len(documents)
  assert 'train.run.encoder_length = 32' in (output / 'config.gin').read_text()
  model = load.load(str(output / 'model'))
  assert model.network.width == 16
  assert (output / 'eval.parquet').exists()


def test_more_steps_continue_bit_for_bit(trained, scratch, selection, tmp_path):
  output, argv = trained
  assert cli.main([*argv, f'--steps={STEPS + 3}']) == 0
  whole = tmp_path / 'whole'
  argv = (*scratch, '--weighting=uniform', f'--selection={selection}')
  argv += (f'--output={whole}', f'--steps={STEPS + 3}')
  assert cli.main(argv) == 0
  one, two = (
    load.load(str(folder / 'model')).params for folder in (output, whole)
  )
  for a, b in zip(_leaves(one), _leaves(two), strict=True):
    np.testing.assert_array_equal(a, b)
  assert metrics(output)[-1] == metrics(whole)[-1]
  assert manifests.read_manifest(output)['steps'] == STEPS + 3


def _leaves(params):
  if isinstance(params, dict):
    return [leaf for key in sorted(params) for leaf in _leaves(params[key])]
  return [params]


def test_finished_run_is_left_alone(run, trained):
  output, argv = trained
  steps = manifests.read_manifest(output)['steps']
  before = (output / 'manifest.json').stat().st_mtime_ns
  result = run(*argv, f'--steps={steps}')
  assert result.code == 0
  assert f'already trained to step {steps}' in result.out
  assert (output / 'manifest.json').stat().st_mtime_ns == before


@pytest.mark.parametrize(
  'more, words',
  [
    (['--steps=9', '--seed=5'], ['seed: 0 there, 5 now']),
    (['--steps=9', '--gin.optimizers.make_optimizer.learning_rate=2.0'],
     ['learning_rate', "'2.0' now"]),
    (['--steps=9', '--gin.train.run.rows_per_batch=16'], ['rows:', '16']),
    (['--steps=9', '--weighting=adapt'], ["weighting: 'uniform' there"]),
    (['--steps=9', '--selection='], ['selection']),
    (['--steps=1'], ['already at step', '--steps is 1']),
  ],
)  # fmt: skip
def test_anything_but_more_steps_is_refused(
  run, trained, fails_clearly, more, words
):
  output, argv = trained
  result = run(*argv, *more)
  assert fails_clearly(result, output, *words)


def test_sigterm_saves_the_step_and_ends_with_75(run, scratch, tmp_path):
  output = tmp_path / 'model'
  argv = (*scratch, '--weighting=uniform', f'--output={output}')
  before = signal.getsignal(signal.SIGTERM)

  def terminate():
    while not (output / 'metrics.jsonl').exists():
      time.sleep(0.01)
    # Before the loop has its own handler the command's would answer.
    while signal.getsignal(signal.SIGTERM) in (before, cli._terminate):
      time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGTERM)

  thread = threading.Thread(target=terminate)
  thread.start()
  result = run(*argv, '--steps=100000')
  thread.join()
  assert result.code == 75
  stopped = re.match(r'jaxcurate: stopped at step (\d+) of 100000', result.last)
  assert 'run the same command to continue' in result.last
  step = int(stopped[1])
  assert run(*argv, f'--steps={step + 1}').code == 0
  assert metrics(output)[-1]['step'] == step + 1


def test_adapt_weighs_by_anchors_from_a_checkpoint(
  run, tiny_model, corpus, documents, tmp_path
):
  anchors = tmp_path / 'anchors.jsonl'
  anchors.write_text(''.join(json.dumps(d) + '\n' for d in documents[:6]))
  output = tmp_path / 'model'
  result = run(
    'train', *CHEAP, '--weighting=adapt', f'--model={tiny_model}',
    f'--input={corpus}', f'--anchors={anchors}', '--steps=2',
    '--gin.adapt.make.refresh_interval=1', f'--output={output}',
  )  # fmt: skip
  assert result.code == 0, result.err
  assert re.search(r'[1-6] of \d+ documents .* also in --anchors', result.err)
  [first, *_] = metrics(output)
  assert 0.26 < first['weights/min'] <= first['weights/max'] < 0.74
  assert 'weighting adapt' in result.out.splitlines()[0]
  assert f'weights in {output}/model' in result.out
  assert 'next: jaxcurate report' in result.out


@pytest.mark.parametrize(
  'more, words',
  [
    (['--weighting=adapt'], ['adapt needs --anchors']),
    (['--weighting=uniform', '--anchors=x'], ['uniform has no anchors']),
    (['--weighting=adpat'], ["'adpat'", 'adapt, ', 'uniform']),
    ([], ['give one --weighting=NAME', 'adapt, ', 'uniform']),
    (['--weighting=uniform', '--by=x'], ['--by names a column of --scores']),
    (['--weighting=uniform', '--scores=x'], ['reads no score; drop']),
    (['--weighting=uniform', '--reference=judge'], ['drop --reference']),
    (['--weighting=uniform', '--gin.train.run.reduction="mean"'],
     ["reduction is 'mean'", "'tokens' or 'examples'"]),
    (['--weighting=uniform', '--gin.train.run.refresh_epochs=1'],
     ['nothing to refresh']),
    (['--weighting=uniform', '--selection=none'], ['none', 'manifest.json']),
    (['--weighting=uniform', '--eval_input=none.jsonl'], ['none.jsonl']),
    (['--weighting=uniform', '--vocabulary=none'], ['none']),
    (['--weighting=uniform', '--gin.train.run.encoder_length=x'], ['gin']),
    (['--weighting=adapt', '--gin.adapt.make.states="x"'], ['adapt', "'x'"]),
    (['--weighting=uniform', '--gin.t5.T5Config.vocab_size=99'],
     ['does not match', 'largest id is 799', 'up to 98', 'vocab_size']),
  ],
)  # fmt: skip
def test_mistakes_are_one_clear_line(
  run, scratch, tmp_path, fails_clearly, more, words
):
  result = run(*scratch, *more, '--steps=1', f'--output={tmp_path / "model"}')
  assert fails_clearly(result, *words)


def test_nothing_to_start_from(run, corpus, tmp_path, fails_clearly):
  result = run(
    'train', '--weighting=uniform', f'--input={corpus}', '--steps=1',
    f'--output={tmp_path / "model"}',
  )  # fmt: skip
  assert fails_clearly(result, '--model', 'models/tiny.gin')
