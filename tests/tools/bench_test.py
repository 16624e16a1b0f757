"""The benchmarks and the counter run, on a network of a few parameters."""

import argparse
import json
import pathlib
import sys

import jax
import numpy as np
import pytest

TOOLS = pathlib.Path(__file__).parent.parent.parent / 'tools'
OURS = {p.stem for p in TOOLS.glob('*.py')}


MINI = """
from __gin__ import dynamic_registration
from jaxcurate.models import t5
include 'models/tiny.gin'
t5.T5Config.vocab_size = 32128
t5.T5Config.embed_dim = 16
t5.T5Config.num_heads = 2
t5.T5Config.head_dim = 8
t5.T5Config.mlp_dim = 32
t5.T5Config.num_encoder_layers = 1
t5.T5Config.num_decoder_layers = 1
"""


@pytest.fixture
def mini(tmp_path):
  """--model=FILE of a network that compiles in a moment."""
  path = tmp_path / 'mini.gin'
  path.write_text(MINI)
  return f'--model={path}'


@pytest.fixture(autouse=True)
def tools(monkeypatch):
  """Importable tools, and a matrix product that takes no time."""
  monkeypatch.syspath_prepend(str(TOOLS))
  import benchmarking
  import workloads

  monkeypatch.setattr(benchmarking, 'DOT_SHAPE', (64, 8, 16))
  monkeypatch.setattr(benchmarking, 'PAUSE_SECONDS', 0.0)
  yield workloads
  for name in OURS & set(sys.modules):
    sys.modules.pop(name)


def test_count_flops_prints_what_adapt_costs(capsys, mini):
  import count_flops

  flags = '--rows=2 --encoder_length=128 --decoder_length=16'
  count_flops.main([mini, *flags.split()])
  text = capsys.readouterr().out
  assert 'mini.gin: 1.0 M parameters' in text
  [line] = [x for x in text.splitlines() if 'ADAPT over uniform' in x]
  assert 0 < float(line.split('+')[1].rstrip('%')) < 0.1


def test_a_training_step_counts_what_arithmetic_says(tools):
  import count_flops

  from jaxcurate.models.t5 import make_network
  from jaxcurate.weightings import uniform

  rows, L, T = 2, 64, 32
  batch = tools.full_batch(rows, L, T)
  config = tools.read_config(
    tools.SMALL, num_encoder_layers=2, num_decoder_layers=2
  )
  network = make_network(config)
  _, matmul = count_flops.train_step_flops(
    network, uniform.make(), batch, segments=1
  )
  D, H, F, layers, V = 512, 384, 1024, 2, 32128
  attention, feed_forward = 4 * D * H, 3 * D * F
  encoder = layers * rows * (L * (attention + feed_forward) + 2 * L * L * H)
  decoder = layers * rows * (
    T * (attention + feed_forward)  # self-attention and feed-forward
    + 2 * T * T * H
    + 2 * T * D * H + 2 * L * D * H  # cross-attention: query, out; key, value
    + 2 * T * L * H
  )  # fmt: skip
  forward = 2 * (encoder + decoder + rows * T * D * V)
  # Backward: twice the forward. Cross-attention may be folded, for less.
  assert matmul == pytest.approx(3 * forward, rel=0.03)


def test_remat_costs_about_one_more_forward(tools):
  import count_flops

  from jaxcurate.models.t5 import make_network
  from jaxcurate.weightings import uniform

  batch = tools.full_batch(2, 64, 16)

  def count(**changes):
    config = tools.read_config('models/tiny.gin', vocab_size=64, **changes)
    network = make_network(config)
    return count_flops.train_step_flops(
      network, uniform.make(), batch, segments=1
    )[1]

  assert 1.15 < count(remat=True) / count() < 1.34


def test_scanned_and_unrolled_layers_count_the_same(tools):
  import count_flops

  from jaxcurate.models.t5 import make_network

  def count(scan):
    config = tools.read_config(
      'models/tiny.gin',
      scan_layers=scan,
      num_encoder_layers=3,
      num_decoder_layers=2,
    )
    return count_flops.scoring_flops(make_network(config), 1, 128, 2)[1]

  assert count(True) == count(False)


def test_batches_are_full_and_shifted(tools):
  batch = tools.full_batch(2, 8, 6, segments=2)
  assert batch['decoder_segment_ids'].tolist()[0] == [1, 1, 1, 2, 2, 2]
  inputs, targets = (
    batch[f'decoder_{name}_tokens'][0] for name in ('input', 'target')
  )
  assert inputs[0] == inputs[3] == 0
  np.testing.assert_array_equal(inputs[1:3], targets[:2])
  np.testing.assert_array_equal(inputs[4:], targets[3:5])


def test_lengths_are_repeatable_and_cut(tools):
  lengths = tools.lognormal_lengths(1000, longest=400, seed=1)
  assert lengths == tools.lognormal_lengths(1000, longest=400, seed=1)
  assert max(lengths) == 400
  assert 150 < np.median(lengths) < 210
  with pytest.raises(ValueError, match='shipped files are'):
    tools.read_config('models/huge.gin')


@pytest.mark.slow
def test_scoring_benchmark_runs(capsys, tmp_path, mini):
  import bench_scoring

  output = tmp_path / 'figures.json'
  flags = '--rounds=2 --full=8 --documents=12 --rows=8 --max_length=128'
  bench_scoring.main([mini, *flags.split(), f'--output={output}'])
  text = capsys.readouterr().out
  assert 'Full rows of 128 tokens' in text
  assert 'rate of multiply-adds over jnp.dot' in text
  found = json.loads(output.read_text())
  assert len(found['real']['over_dot']) == 2
  assert 0 <= found['full']['padding'] < 0.01
  if 'transformers' in sys.modules:
    assert 'largest difference of log P(yes)' in text


def test_scoring_benchmark_reads_a_corpus(tools, tmp_path):
  import bench_scoring

  corpus = tmp_path / 'docs.jsonl'
  rows = [{'text': 'some words ' * n} for n in (3, 9, 20)]
  corpus.write_text('\n'.join(map(json.dumps, rows)))
  flags = argparse.Namespace(input=[str(corpus)], documents=3, seed=0)
  found = bench_scoring.real_documents(flags, tools.WordVocabulary(), 30)
  assert sorted(map(len, found)) == [6, 18, 30]
  with pytest.raises(SystemExit):
    bench_scoring.main([f'--input={corpus}'])


@pytest.mark.slow
def test_training_benchmark_runs(capsys, tmp_path, mini):
  import bench_training

  output = tmp_path / 'figures.json'
  flags = '--rounds=2 --rows=2 --encoder_length=32 --decoder_length=16'
  bench_training.main([mini, *flags.split(), f'--output={output}'])
  text = capsys.readouterr().out
  assert 'ADAPT over uniform, CPU seconds per round' in text
  costs = json.loads(output.read_text())['costs']
  uniform, adapt = (costs[name] for name in ('uniform', 'adapt'))
  assert uniform['flops'] < adapt['flops'] < 1.001 * uniform['flops']
  # At most a few vectors of the width more; nothing the size of the states.
  more = adapt['memory']['temporaries'] - uniform['memory']['temporaries']
  assert more < 4 * 2 * 16 * 16


def test_why_the_peer_is_left_out(monkeypatch):
  import peers

  monkeypatch.setattr(peers, 'torch', None)
  assert 'pip install torch transformers' in peers.why_not('cpu')
  assert jax.default_backend() == 'cpu'


@pytest.mark.slow
def test_weighting_benchmark_runs(capsys, tmp_path):
  import bench_weighting

  flags = '--rows=4 --length=8 --width=16 --layers=1 --vocab=32 --rounds=1'
  output = tmp_path / 'seconds.json'
  bench_weighting.main(
    [*flags.split(), f'--output={output}', '--weightings', 'uniform', 'ADAPT']
  )
  text = capsys.readouterr().out
  [line] = [x for x in text.splitlines() if x.startswith('  ADAPT:')]
  assert 'of the wall time of uniform (aim 1.03)' in line
  assert 'In 4 microbatches, by counted operations' in text
  assert 'refresh of 8 anchors every' in text
  found = json.loads(output.read_text())
  costs = found['costs']
  assert costs['ADAPT']['flops'] > costs['uniform']['flops']
  assert {'vmap(grad), Gram', 'in turn'} <= found.keys()
