"""The benchmark of populations runs, on a network of a few parameters."""

import argparse
import pathlib
import sys

import pytest

from jaxcurate.cli import gin_files

TOOLS = pathlib.Path(__file__).parent.parent.parent / 'tools'
FLAGS = argparse.Namespace(rows=2, length=8, alone=3, chunk_tokens=None)


@pytest.fixture
def bench(monkeypatch):
  monkeypatch.syspath_prepend(str(TOOLS))
  import bench_population

  yield bench_population
  for name in ('bench_population', 'benchmarking', 'workloads'):
    sys.modules.pop(name)


def test_a_case_counts_tokens_and_products(bench):
  gin_files.parse(
    files=['models/proxy_1m.gin'],
    bindings=[
      f'decoder.DecoderConfig.{name} = {value}'
      for name, value in {
        'embed_dim': 8,
        'num_heads': 2,
        'num_kv_heads': 2,
        'head_dim': 4,
        'mlp_dim': 8,
        'num_layers': 1,
        'vocab_size': 16,
      }.items()
    ],
  )
  case = bench.make_case('two', FLAGS, 2)
  assert case.row.units == 2 * 2 * 8
  # The head, forward and backward; the layer has more.
  assert case.row.flops > 32 * 3 * 2 * 8 * 16
  case.row.call()
  case.row.wall.append(2.0)
  assert ' 8 tokens/s per proxy' in bench.describe(case)
