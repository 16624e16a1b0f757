"""LoRA tuning on instructions: trained, written, loaded, refused."""

import json
import re

import numpy as np
import pytest

from jaxcurate.cli import main as cli
from jaxcurate.data import vocabulary as vocabularies
from jaxcurate.io import manifest as manifests
from jaxcurate.models import load, lora

CHEAP = (
  '--gin_file=runs/lora.gin', '--steps=2', '--schedule_steps=4',
  '--mesh=data=2,model=4', '--seed=3',
  '--gin.train.run.rows_per_batch=4', '--gin.train.run.encoder_length=64',
  '--gin.train.run.max_segments=2', '--gin.train.run.log_every=1',
  '--gin.train.run.holdout_share=0.2', '--gin.adapters.LoraSettings.rank=2',
  '--gin.optimizers.make_optimizer.learning_rate=0.05',
)  # fmt: skip


@pytest.fixture(scope='session')
def tuned(tiny_decoder, instructions, tmp_path_factory):
  """A finished run, weighing domains against the model itself."""
  output = tmp_path_factory.mktemp('lora') / 'out'
  argv = (
    'train', '--weighting=doremi', '--turns', f'--model={tiny_decoder}',
    f'--input={instructions}', f'--reference={tiny_decoder}',
    f'--output={output}', *CHEAP,
  )  # fmt: skip
  assert cli.main(argv) == 0
  return output, argv


def test_adapters_and_the_merged_model_are_written(tuned, tiny_decoder):
  output, _ = tuned
  base, merged, attached = (
    load.load(str(folder))
    for folder in (tiny_decoder, output / 'model', output / 'adapters')
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
  assert lora.read_config(output / 'adapters') == (str(tiny_decoder), 512.0)
  words = [vocabularies.load_vocabulary(m.vocabulary) for m in (base, merged)]
  assert words[0].name == words[1].name  # pyright: ignore


def test_more_steps_go_on_from_the_adapters(run, tuned, tiny_decoder):
  output, argv = tuned
  result = run(*argv, '--steps=3')
  assert result.code == 0, result.err
  assert 'parameters of LoRA on 0.0 M parameters' in result.out
  assert re.search(r'\([\d,]+ tokens, [\d,]+ of answers\)', result.out)
  assert f'adapters alone in {output}/adapters' in result.out
  lines = (output / 'metrics.jsonl').read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  rows = [row for row in rows if 'loss' in row]
  assert [row['step'] for row in rows] == [1, 2, 3]
  # The model begins as its own reference: no domain exceeds it.
  np.testing.assert_allclose(rows[0]['weights/mean'], 1.0, rtol=0.02)
  assert rows[2]['weights/std'] > 0
  settings = manifests.read_manifest(output)['settings']
  assert settings['reference'] == str(tiny_decoder)
  rates = [row['learning_rate'] for row in rows]
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
