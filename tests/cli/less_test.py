"""LESS through the command line: conversations, subtasks, a second start."""

import json
import os
import signal
import threading
import time

import jax
import numpy as np
import pytest
from safetensors import numpy as safetensors

from jaxcurate.io import manifest as manifests
from jaxcurate.io import tables
from jaxcurate.models import decoder, load

NUM_TEXTS = 60
SMALL = [
  f'--gin.less.make.{setting}'
  for setting in (
    'rank=2', 'width=64', 'epochs=2', 'batch_size=4', 'max_length=32',
    'learning_rate=1e-2', 'targets=("value",)',
  )
]  # fmt: skip


@pytest.fixture(scope='module')
def model(tmp_path_factory, draw_params):
  """A decoder of random weights that reads bytes."""
  folder = tmp_path_factory.mktemp('model')
  config = decoder.DecoderConfig(
    vocab_size=384,
    embed_dim=16,
    num_heads=2,
    num_kv_heads=1,
    head_dim=8,
    mlp_dim=32,
    num_layers=1,
  )
  params = draw_params(decoder.make_network(config))
  load.export_huggingface(folder, params, config, 'bytes')
  return folder


def conversations(prefix, count, domain=None, answer='one {} more'):
  rows = [
    {
      'id': f'{prefix}{i}',
      'instruction': f'say {i}',
      'output': answer.format(i),
    }
    for i in range(count)
  ]
  return [row | ({'domain': domain} if domain else {}) for row in rows]


def write(path, rows):
  path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
  return path


@pytest.fixture
def anchors(tmp_path):
  """Two domains of two answers each."""
  rows = [
    *conversations('a', 2, 'maths', '{} and 1 is two'),
    *conversations('b', 2, 'words', 'a poem, number {}'),
  ]
  return write(tmp_path / 'anchors.jsonl', rows)


@pytest.fixture
def less(run, model, anchors, tmp_path):
  """less(flags...) -> (result, output folder)."""

  def call(*flags, name='out', of=model):
    output = tmp_path / name
    result = run(
      'score', '--method=less', '--turns', f'--model={of}',
      f'--input={tmp_path}/pool/*.jsonl', f'--anchors={anchors}',
      f'--output={output}', '--gin.score.run.block_rows=4',
      '--gin.score.run.rows_per_batch=8', *SMALL, *flags,
    )  # fmt: skip
    return result, output

  (tmp_path / 'pool').mkdir()
  write(tmp_path / 'pool' / '0.jsonl', conversations('c', NUM_TEXTS))
  silent = {'id': 'z', 'messages': [{'role': 'user', 'content': 'hello?'}]}
  write(tmp_path / 'pool' / '1.jsonl', [silent])
  return call


def columns(output):
  table, _ = tables.read_score_table([str(output)])
  order = np.argsort(table.id)
  return {name: column[order] for name, column in table.scores.items()}


def check(result, output):
  """What the terminal, the columns and the manifest of a whole run say."""
  assert result.code == 0, result.err
  # Two checkpoints of 64 numbers of 2 bytes.
  assert 'less: 0.2 KiB per document on disk until scored' in result.out
  assert 'of each device while the corpus is read' in result.out
  assert '1 without less' in result.out
  found = columns(output)
  assert set(found) == {'less', 'less/maths', 'less/words'}
  best = np.maximum(found['less/maths'], found['less/words'])
  np.testing.assert_array_equal(found['less'], best)
  assert np.isfinite(best[:-1]).all() and np.isnan(best[-1])
  assert len(np.unique(best[:-1])) == NUM_TEXTS
  content = manifests.read_manifest(output, 'scores')
  weights = content['diagnostics']['less']['checkpoint_weights']
  assert len(weights) == 2 and np.isclose(sum(weights), 1.0)


@pytest.mark.slow
def test_interrupted_it_goes_on_and_ends_in_the_same_scores(less, tmp_path):
  often = '--gin.score.run.chunk_seconds=0.0'
  result, whole = less(often, name='whole')
  check(result, whole)
  output, done = tmp_path / 'out', threading.Event()

  def interrupt():
    while not done.is_set():
      if len(list(output.glob('.scratch/part-*'))) > 1:
        os.kill(os.getpid(), signal.SIGTERM)
        return
      time.sleep(0.001)

  before = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # should it be late
  watcher = threading.Thread(target=interrupt)
  watcher.start()
  try:
    result, _ = less(often)
  finally:
    done.set()
    watcher.join()
    signal.signal(signal.SIGTERM, before)
  assert result.code == 75, result.err
  fit = output / 'fitted' / 'less.safetensors'
  assert fit.exists()
  assert 1 < len(list(output.glob('.scratch/part-*'))) < NUM_TEXTS // 4 + 2
  result, _ = less(often)
  assert result.code == 0, result.err
  first = safetensors.load_file(whole / 'fitted' / 'less.safetensors')
  again = safetensors.load_file(fit)
  jax.tree.map(np.testing.assert_array_equal, first, again)
  jax.tree.map(np.testing.assert_array_equal, columns(output), columns(whole))


def test_damaged_weights_are_one_clear_line(
  less, model, tmp_path, fails_clearly
):
  params = load.load(str(model))
  broken = jax.tree.map(lambda leaf: leaf * np.nan, params.params)
  folder = tmp_path / 'broken'
  load.export_huggingface(folder, broken, params.config, 'bytes')
  result, _ = less(of=folder)
  assert fails_clearly(result, 'the loss is nan', '--dtype=float32')


def test_anchors_without_an_answer_are_one_clear_line(
  less, anchors, fails_clearly
):
  silent = {'messages': [{'role': 'user', 'content': 'hello?'}]}
  write(anchors, [{'id': f's{i}', **silent} for i in range(3)])
  result, _ = less()
  assert fails_clearly(result, 'less', '3 document(s), 0', 'at least 2')
