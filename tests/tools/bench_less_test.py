"""The comparison of LESS's gradients runs, on a network of a few parameters."""

import json
import pathlib
import sys

import jax.numpy as jnp
import numpy as np
import pytest

TOOLS = pathlib.Path(__file__).parent.parent.parent / 'tools'
OURS = {p.stem for p in TOOLS.glob('*.py')}
MINI = """
from __gin__ import dynamic_registration
from jaxcurate.models import decoder
include 'models/tiny_decoder.gin'
decoder.DecoderConfig.vocab_size = 64
decoder.DecoderConfig.embed_dim = 8
decoder.DecoderConfig.num_heads = 2
decoder.DecoderConfig.num_kv_heads = 1
decoder.DecoderConfig.head_dim = 4
decoder.DecoderConfig.mlp_dim = 8
"""


@pytest.fixture(autouse=True)
def tools(monkeypatch):
  """Importable tools that do not wait."""
  monkeypatch.syspath_prepend(str(TOOLS))
  import benchmarking

  monkeypatch.setattr(benchmarking, 'PAUSE_SECONDS', 0.0)
  yield
  for name in OURS & set(sys.modules):
    sys.modules.pop(name)


def test_it_prints_gradients_and_the_projection_apart(tmp_path, capsys):
  import bench_less

  (tmp_path / 'mini.gin').write_text(MINI)
  flags = '--layers=1 --max_length=8 --batch=2 --rank=1 --width=32 --rounds=1'
  bench_less.main(
    [
      f'--model={tmp_path}/mini.gin',
      f'--output={tmp_path}/out.json',
      *flags.split(),
    ]
  )
  text = capsys.readouterr().out
  # PyTorch is no dependency.
  assert 'peer left out' in text or 'largest relative difference' in text
  assert '1 layers, 2 documents of 8 tokens' in text
  [line] = [x for x in text.splitlines() if 'apart from that' in x]
  assert 'projection to 32' in line
  found = json.loads((tmp_path / 'out.json').read_text())
  assert found['project, batch 2']['units'] == 2
  assert len(found['projection']) == 2


def test_the_difference_is_of_whole_gradients(tools):
  import bench_less

  ours = {'a': jnp.array([[3.0], [0.0]]), 'b': jnp.array([[4.0], [2.0]])}
  theirs = [np.array([3.0, 4.5]), np.array([0.0, 2.0])]
  found = bench_less.difference(ours, theirs)
  assert found == pytest.approx(0.5 / np.linalg.norm([3.0, 4.5]))
