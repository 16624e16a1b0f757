"""`python -m t5x.train` with this project's run files, on local files."""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from jaxcurate.io import tables
from jaxcurate.types import Selection

ROOT = pathlib.Path(__file__).parent.parent.parent
STEPS = 6
TINY = """
from __gin__ import dynamic_registration
import __main__ as train_script
import seqio
import t5.data.mixtures
from jaxcurate.t5x import tasks
from t5x import partitioning
from t5x import utils
from t5x.examples.t5 import network

network.T5Config:
  vocab_size = 800
  dtype = 'float32'
  emb_dim = 16
  num_heads = 2
  num_encoder_layers = 1
  num_decoder_layers = 1
  head_dim = 8
  mlp_dim = 32
seqio.SentencePieceVocabulary:
  sentencepiece_model_file = '{vocabulary}'
  extra_ids = 100
tasks.from_files:
  like = 'c4_v220_span_corruption'
  vocabulary = '{vocabulary}'
corpus/tasks.from_files:
  files = {{'train': '{corpus}', 'validation': '{corpus}'}}
  name = 'corpus'
trusted/tasks.from_files:
  files = {{'train': '{trusted}'}}
  name = 'trusted'
TASK = @corpus/tasks.from_files()
ANCHORS = @trusted/tasks.from_files()
TASK_FEATURE_LENGTHS = {{'inputs': 64, 'targets': 24}}
BATCH_SIZE = 8
RANDOM_SEED = 0
train_script.train:
  eval_period = 3
  eval_steps = 1
  stats_period = 1
utils.SaveCheckpointConfig.period = 3
partitioning.PjitPartitioner:
  num_partitions = None
  model_parallel_submesh = (1, 1, 1, 2)
"""


@pytest.fixture
def corpus(small_vocabulary, tmp_path):
  """Two files of text, a Selection of the first, a gin file of a tiny run."""
  if not all(importlib.util.find_spec(name) for name in ('t5x', 't5')):
    pytest.skip('T5X or t5 is not installed; docs/t5x.md says how')
  from pydoc_data import topics

  texts = sorted(topics.topics.values())
  for name, part in {'corpus': texts[::2], 'trusted': texts[1:20:2]}.items():
    rows = [
      {'id': f'{name}-{i}', 'text': text, 'domain': 'ab'[i % 2]}
      for i, text in enumerate(part)
    ]
    lines = '\n'.join(map(json.dumps, rows))
    (tmp_path / f'{name}.jsonl').write_text(lines + '\n')
  ids = np.array([f'corpus-{i}' for i in range(0, 20)], object)
  ones = np.ones(len(ids))
  tables.write_selection(
    tmp_path / 'kept', Selection(ids, ones.astype(np.int32), ones), {}
  )
  settings = TINY.format(
    vocabulary=small_vocabulary,
    corpus=tmp_path / 'corpus.jsonl',
    trusted=tmp_path / 'trusted.jsonl',
  )
  (tmp_path / 'tiny.gin').write_text(settings)
  shares = {'a': {'share': 0.3}, 'b': {'share': 0.7}}
  (tmp_path / 'mixture.json').write_text(json.dumps({'domains': shares}))
  return tmp_path


def python(folder, *arguments):
  """What a fresh Python wrote to (stdout, stderr)."""
  paths = os.pathsep.join([str(ROOT), *sys.path])
  done = subprocess.run(
    [sys.executable, *arguments],
    cwd=folder,
    capture_output=True,
    text=True,
    check=False,
    env={**os.environ, 'PYTHONPATH': paths, 'HOME': str(folder)},
  )
  assert done.returncode == 0, done.stderr[-3000:]
  return done.stdout, done.stderr


def train(folder, *more):
  paths = f'--gin_search_paths={ROOT / "gin_configs"}'
  return python(folder, '-m', 't5x.train', paths, *more)[1]


def scalars(folder, kind='train'):
  """Name -> values by step, from TensorBoard's files."""
  from tensorboard.backend.event_processing import event_accumulator
  from tensorboard.util import tensor_util

  events = event_accumulator.EventAccumulator(str(folder / kind))
  events.Reload()
  return {
    name: [
      float(tensor_util.make_ndarray(event.tensor_proto))
      for event in events.Tensors(name)
    ]
    for name in events.Tags()['tensors']
    if name.startswith(('loss', 'weight', 'cross_ent', 'interval'))
  }


def test_pretraining_on_a_selection_and_tuning_from_it(corpus):
  model, tuned = corpus / 'model', corpus / 'tuned'
  log = train(
    corpus,
    '--gin_file=t5x/pretrain_small.gin',
    f'--gin_file={corpus / "tiny.gin"}',
    '--gin_file=methods/adapt.gin',
    '--gin.WEIGHTING=@adapt.make()',
    f"--gin.SELECTION='{corpus / 'kept'}'",
    f"--gin.MODEL_DIR='{model}'",
    f'--gin.TRAIN_STEPS={STEPS}',
  )
  assert 'corpus_selected' in log
  found = scalars(model)
  assert len(found['loss']) == STEPS
  assert np.all(np.isfinite(found['loss']))
  for weights in (
    found['weights/mean'],
    np.array(found['weighted/loss']) / found['loss'],
  ):
    assert np.all((0.26 < np.array(weights)) & (np.array(weights) < 0.74))
  assert np.all(np.array(found['weights/max']) > found['weights/min'])
  # Of every interval, here of one step.
  np.testing.assert_allclose(
    found['interval/effective_proportion'], found['weights/mean'], rtol=1e-5
  )
  bins = [found[f'interval/similarity_hist/{i:02d}'] for i in range(20)]
  assert np.all(np.sum(bins, axis=0) >= 8)
  evaluated = scalars(model, 'training_eval/corpus_selected')
  assert 'loss' in evaluated and 'weighted/loss' not in evaluated

  # Another weighting goes on from there, on domains in other shares, in parts:
  # it needs the whole batch, and compares with the model as it was. Only over
  # data: emulated devices wait for each other where two networks' collectives
  # over two axes meet.
  log = train(
    corpus,
    '--gin_file=t5x/finetune_small.gin',
    f'--gin_file={corpus / "tiny.gin"}',
    '--gin_file=methods/rho_loss.gin',
    '--gin.WEIGHTING=@rho_loss.make()',
    '--gin.ANCHORS=None',
    f"--gin.MIXTURE='{corpus / 'mixture.json'}'",
    f"--gin.REFERENCE='{model / f'checkpoint_{STEPS}'}'",
    f"--gin.INITIAL_CHECKPOINT_PATH='{model / f'checkpoint_{STEPS}'}'",
    f"--gin.MODEL_DIR='{tuned}'",
    f'--gin.TRAIN_STEPS={STEPS + 3}',
    '--gin.trainer.WeightedTrainer.num_microbatches=2',
    '--gin.partitioning.PjitPartitioner.model_parallel_submesh=(1, 1, 1, 1)',
  )
  assert 'corpus_mixed' in log
  found = scalars(tuned)
  assert len(found['loss']) == 3
  assert np.all(np.isfinite(found['weighted/loss']))
  assert np.all(np.array(found['weights/min']) == 0)
  assert np.all(np.array(found['weights/std']) > 0)


PARSE = """
import pathlib, sys
import gin
from t5x import train as train_module
from t5x.train import train

configurable = gin.configurable(train)
for path in (sys.argv[1], pathlib.Path(train_module.__file__).parents[1]):
  gin.add_config_file_search_path(str(path))
required = ["MODEL_DIR = ''", "TASK = ''", 'TASK_FEATURE_LENGTHS = {}',
            'TRAIN_STEPS = 1', "INITIAL_CHECKPOINT_PATH = ''"]
for file in sorted(pathlib.Path(sys.argv[1], 't5x').glob('*_*.gin')):
  gin.clear_config()
  gin.parse_config_files_and_bindings([f't5x/{file.name}'], required)
  width = gin.query_parameter('network.T5Config.emb_dim')
  trainer = gin.query_parameter('train.trainer_cls')
  model = gin.query_parameter('%MODEL')
  print(file.stem, width, trainer.selector, model.selector)
"""
WIDTHS = {'small': 512, 'base': 768, 'large': 1024, 'xl': 2048, 'xxl': 4096}


def test_every_run_file_is_a_weighted_t5_of_its_size(corpus):
  out, _ = python(corpus, '-c', PARSE, str(ROOT / 'gin_configs'))
  assert sorted(out.splitlines()) == sorted(
    f'{run}_{size} {width} trainer.WeightedTrainer'
    ' models.WeightedEncoderDecoderModel'
    for run in ('pretrain', 'finetune')
    for size, width in WIDTHS.items()
  )
