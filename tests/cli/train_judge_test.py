"""`jaxcurate train --targets` and `--pairs`: from judgements to scores."""

import json
import os
import re
import signal
import threading

import jax
import numpy as np
import pytest

from jaxcurate.cli import main as cli
from jaxcurate.io import manifest as manifests
from jaxcurate.io import tables
from jaxcurate.models import heads, load

CHEAP = (
  '--gin.train_judge.run.max_length=32',
  '--gin.train_judge.run.holdout_share=0.3',
  '--gin.train_judge.run.penalties=(0.1,)',
)
STEPS = (
  '--gin.train_judge.run.judgements_per_batch=4',
  '--gin.train_judge.run.ngrams=0',
  '--gin.train_judge.run.max_windows=1',
  '--gin.train_judge.run.log_every=1',
  '--gin.optimizers.make_optimizer.schedule="constant"',
)


def write_rows(path, rows):
  path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
  return path


NUM_TEXTS = 60
SPAM = np.arange(NUM_TEXTS) * 7 % 5  # how much of it each text has


@pytest.fixture(scope='session')
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp('judged')


@pytest.fixture(scope='session')
def texts(folder):
  """Texts with more or less spam."""
  from pydoc_data import topics

  words = ' '.join(topics.topics.values()).split()
  rows = [
    {
      'id': f'doc{i}',
      'text': ' '.join(words[12 * i : 12 * i + 12]) + ' BUY NOW!!!' * SPAM[i],
    }
    for i in range(NUM_TEXTS)
  ]
  return write_rows(folder / 'texts.jsonl', rows)


@pytest.fixture(scope='session')
def labels(folder):
  """Texts with little spam are good; how little beside it."""
  rows = [
    {'id': f'doc{i}', 'label': int(spam < 2), 'purity': 10.0 - spam}
    for i, spam in enumerate(SPAM.tolist())
  ]
  return write_rows(folder / 'labels.jsonl', rows)


@pytest.fixture(scope='session')
def pairs(folder):
  """The text with less spam is better."""
  drawn = np.random.default_rng(0).choice(NUM_TEXTS, (200, 2))
  rows = [
    {
      'id_a': f'doc{a}',
      'id_b': f'doc{b}',
      'probability': float(SPAM[a] < SPAM[b]),
    }
    for a, b in drawn[SPAM[drawn[:, 0]] != SPAM[drawn[:, 1]]].tolist()
  ]
  return write_rows(folder / 'pairs.jsonl', rows)


@pytest.fixture(scope='session')
def start(tiny_model, texts):
  """Arguments of a cheap run, without judgements and output."""
  return ('train', f'--model={tiny_model}', f'--input={texts}', *CHEAP)


@pytest.fixture(scope='session')
def fitted(start, labels, tmp_path_factory):
  """A judge with a fitted head."""
  output = tmp_path_factory.mktemp('fitted') / 'out'
  assert not cli.main([*start, f'--targets={labels}', '--by=label',
                       f'--output={output}'])  # fmt: skip
  return output


def rate(run, model, texts, output, method='rater'):
  result = run(
    'score', f'--method={method}', f'--model={model}', f'--input={texts}',
    f'--output={output}',
  )  # fmt: skip
  assert result.code == 0, result.err
  table, _ = tables.read_score_table([str(output)])
  order = np.argsort([int(name.removeprefix('doc')) for name in table.id])
  return {k: v[order] for k, v in table.scores.items()}, table.units


def good_over_bad(score):
  """How often a good text is above a bad one."""
  return (score[SPAM < 2, None] > score[None, SPAM >= 2]).mean()


def held_out(output):
  return manifests.read_manifest(output)['diagnostics']['held_out']


def test_labels_to_a_head_to_scores(run, fitted, texts, tmp_path):
  [figures] = held_out(fitted).values()
  assert figures['auc'] > 0.9 and figures['judgements'] >= 3
  assert figures['auc_low'] <= figures['auc'] <= figures['auc_high']
  content = manifests.read_manifest(fitted)
  assert content['kind'] == 'judge' and content['steps'] is None
  assert content['cost']['flops'] > 0
  assert content['diagnostics']['penalty'].keys() == {'label'}
  scores, units = rate(run, fitted / 'model', texts, tmp_path / 'scores')
  assert units == {'rater': 'log P(yes)'}
  assert scores['rater'].max() <= 0
  assert good_over_bad(scores['rater']) > 0.95
  # The network is untouched, and other programs read it.
  assert load.load(str(fitted / 'model')).config.embed_dim == 16


def test_a_finished_judge_is_left_alone(run, fitted, start, labels, tmp_path):
  argv = (*start, '--by=label', f'--output={fitted}')
  assert 'already trained' in run(*argv, f'--targets={labels}').out
  lines = labels.read_text().splitlines()
  more = tmp_path / 'labels.jsonl'
  more.write_text('\n'.join(lines[:-1]))
  result = run(*argv, f'--targets={more}')
  assert result.code == 1 and 'judgements: ' in result.last
  result = run(*argv, f'--targets={labels}', '--steps=3')
  assert result.code == 1 and 'penalties' in result.last


def test_numbers_of_several_columns(run, start, labels, texts, tmp_path):
  argv = (*start, f'--targets={labels}', '--by=purity,label')
  result = run(*argv, f'--output={tmp_path / "out"}')
  assert result.code == 0, result.err
  assert held_out(tmp_path / 'out')['purity']['spearman'] > 0.8
  scores, units = rate(run, tmp_path / 'out/model', texts, tmp_path / 'scores')
  assert set(scores) == {'rater/purity', 'rater/label'}
  assert set(units.values()) == {'as labelled'}
  assert abs(scores['rater/purity'].mean() - 8) < 0.5


def test_a_judge_of_another_judges_scores(run, fitted, start, texts, tmp_path):
  scores, _ = rate(run, fitted / 'model', texts, tmp_path / 'scores')
  output = tmp_path / 'out'
  result = run(*start, f'--targets={tmp_path / "scores"}', f'--output={output}')
  assert result.code == 0, result.err
  assert '(binary)' in result.out  # log P(yes) is learnt as a probability
  assert held_out(output)['rater']['spearman'] > 0.9
  own, units = rate(run, output / 'model', texts, tmp_path / 'own')
  assert units == {'rater': 'log P(yes)'}
  assert np.corrcoef(own['rater'], scores['rater'])[0, 1] > 0.9


def test_pairs_to_a_head(run, start, pairs, texts, tmp_path):
  output = tmp_path / 'out'
  result = run(*start, f'--pairs={pairs}', f'--output={output}')
  assert result.code == 0, result.err
  assert held_out(output)['probability']['right'] > 0.9
  left = int(re.search(r'(\d+) judgements are left out', result.out)[1])
  assert left > 0  # one text held out, the other not
  scores, units = rate(run, output / 'model', texts, tmp_path / 'scores')
  assert units == {'rater': 'Bradley-Terry log-odds'}
  assert good_over_bad(scores['rater']) > 0.95


def tensors(folder):
  head = heads.read(str(folder / 'model')).params
  return load.load(str(folder / 'model')).params, dict(head)


@pytest.mark.slow
def test_interrupted_steps_continue_bit_for_bit(run, start, pairs, tmp_path):
  argv = (*start, *STEPS, f'--pairs={pairs}', '--schedule_steps=9000')
  output = tmp_path / 'out'
  before = signal.getsignal(signal.SIGTERM)
  ended = threading.Event()

  def terminate():
    # Before the loop has its own handler the command's would answer.
    while not (output / 'metrics.jsonl').exists() or signal.getsignal(
      signal.SIGTERM
    ) in (before, cli._terminate):
      if ended.wait(0.01):
        return
    os.kill(os.getpid(), signal.SIGTERM)

  thread = threading.Thread(target=terminate)
  thread.start()
  result = run(*argv, f'--output={output}', '--steps=9000')
  ended.set()
  thread.join()
  assert result.code == 75, result.err
  steps = int(re.search(r'stopped at step (\d+)', result.last)[1]) + 2
  whole = tmp_path / 'whole'
  for folder in (output, whole):
    assert run(*argv, f'--output={folder}', f'--steps={steps}').code == 0
  jax.tree.map(np.testing.assert_array_equal, tensors(output), tensors(whole))
  assert manifests.read_manifest(whole)['cost']['flops'] > 0
  lines = [json.loads(line) for line in open(whole / 'metrics.jsonl')]
  losses = [line['loss'] for line in lines if 'loss' in line]
  assert abs(losses[0] - np.log(2)) < 1e-5  # it begins with no opinion


def test_the_network_answers_itself(run, start, labels, texts, tmp_path):
  output = tmp_path / 'out'
  argv = (*start, *STEPS, f'--targets={labels}', '--by=label')
  argv += ('--gin_file=methods/ask_llm.gin', '--steps=2')
  argv += ('--gin.train_judge.run.answer=@ask_llm.make',)
  argv += ('--gin.ask_llm.make.max_length=240', f'--output={output}')
  result = run(*argv)
  assert result.code == 0, result.err
  assert '--method=ask_llm' in result.out
  assert not (output / 'model' / heads.NAME).exists()
  scores, _ = rate(run, output / 'model', texts, tmp_path / 's', 'ask_llm')
  assert np.isfinite(scores['ask_llm']).all()
  windows = '--gin.ask_llm.make.long_texts="windows"'
  result = run(*argv, windows, f'--output={tmp_path / "other"}')
  assert result.code == 1 and "long_texts='head'" in result.last
