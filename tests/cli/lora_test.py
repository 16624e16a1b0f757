"""LoRA tuning on instructions: trained, written, loaded, refused."""

import json
import re

import jax
import numpy as np
import pytest

from jaxcurate.cli import main as cli
from jaxcurate.data import vocabulary as vocabularies
from jaxcurate.models import decoder, load, lora

CHEAP = (
  '--gin_file=runs/lora.gin', '--steps=2', '--schedule_steps=4',
  '--mesh=data=2,model=4', '--seed=3',
  '--gin.train.run.rows_per_batch=4', '--gin.train.run.encoder_length=64',
  '--gin.train.run.max_segments=2', '--gin.train.run.log_every=1',
  '--gin.train.run.holdout_share=0.2', '--gin.adapters.LoraSettings.rank=2',
  '--gin.optimizers.make_optimizer.learning_rate=0.05',
)  # fmt: skip


@pytest.fixture(scope='session')
def checkpoint(small_vocabulary, tmp_path_factory):
  """A Hugging Face folder of a random decoder that compiles in a moment."""
  config = decoder.DecoderConfig(
    vocab_size=800, embed_dim=16, num_heads=2, num_kv_heads=1, head_dim=8,
    mlp_dim=32, num_layers=1, max_length=128, tied_head=True,
  )  # fmt: skip
  folder = tmp_path_factory.mktemp('decoder') / 'base'
  params = decoder.make_network(config).init(jax.random.key(0))
  load.export_huggingface(folder, params, config, str(small_vocabulary))
  return folder


@pytest.fixture(scope='session')
def tuned(checkpoint, instructions, tmp_path_factory):
  """A finished run under ADAPT, and its arguments."""
  output = tmp_path_factory.mktemp('lora') / 'out'
  argv = (
    'train', '--weighting=adapt', '--turns', f'--model={checkpoint}',
    f'--input={instructions}', f'--anchors={instructions}',
    f'--output={output}', *CHEAP,
  )  # fmt: skip
  assert cli.main(argv) == 0
  return output, argv


def test_adapters_and_the_merged_model_are_written(tuned, checkpoint):
  output, _ = tuned
  base, merged, attached = (
    load.load(str(folder))
    for folder in (checkpoint, output / 'model', output / 'adapters')
  )
  for name in ('query', 'out'):
    kernels = [
      model.params['decoder']['layers_0']['self_attention'][name]['kernel']
      for model in (base, merged, attached)
    ]
    assert np.abs(kernels[1] - kernels[0]).max() > 1e-3
    np.testing.assert_allclose(kernels[1], kernels[2], atol=1e-6)
  kernels = [
    model.params['decoder']['layers_0']['mlp']['wo']['kernel']
    for model in (base, merged)
  ]
  np.testing.assert_array_equal(*kernels)
  assert lora.read_config(output / 'adapters') == (str(checkpoint), 512.0)
  words = [vocabularies.load_vocabulary(m.vocabulary) for m in (base, merged)]
  assert words[0].name == words[1].name  # pyright: ignore


def test_more_steps_go_on_from_the_adapters(run, tuned):
  output, argv = tuned
  result = run(*argv, '--steps=3')
  assert result.code == 0, result.err
  assert 'parameters of LoRA on 0.0 M parameters' in result.out
  assert re.search(r'\([\d,]+ tokens, [\d,]+ of answers\)', result.out)
  assert f'adapters alone in {output}/adapters' in result.out
  lines = (output / 'metrics.jsonl').read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  assert [row['step'] for row in rows if 'loss' in row] == [1, 2, 3]
  assert all(0.26 < row['weights/min'] < 0.74 for row in rows if 'loss' in row)
  rates = [row['learning_rate'] for row in rows if 'loss' in row]
  np.testing.assert_allclose(rates, [0.05, 0.0375, 0.025], rtol=1e-6)


@pytest.mark.parametrize(
  'more, words',
  [
    (['--gin.adapters.LoraSettings.rank=0'], ['lora: rank is 0']),
    (['--gin.adapters.LoraSettings.targets=("up",)'], ["['up']", 'query']),
    (['--gin.train.run.dropout_seed=None'], ['dropout_rate 0.1', 'seed=0']),
    (['--model=models/tiny_decoder.gin'], ['give --model=CHECKPOINT']),
    (['--steps=9', '--gin.adapters.LoraSettings.alpha=8.0'], ['lora:']),
  ],
)
def test_mistakes_are_one_clear_line(run, tuned, fails_clearly, more, words):
  _, argv = tuned
  assert fails_clearly(run(*argv, *more), *words)
