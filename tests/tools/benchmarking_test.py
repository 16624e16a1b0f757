"""The timing harness: order, ratios by hand, and what it calls quiet."""

import pathlib
import sys
import time

import jax
import jax.numpy as jnp
import pytest

TOOLS = pathlib.Path(__file__).parent.parent.parent / 'tools'


@pytest.fixture
def bench(monkeypatch):
  monkeypatch.syspath_prepend(str(TOOLS))
  import benchmarking

  yield benchmarking
  sys.modules.pop('benchmarking')


def timed(bench, name, wall, cpu=None, **fields):
  row = bench.Row(name, lambda: None, **fields)
  row.wall, row.cpu = wall, cpu or wall
  return row


def test_ratios_by_hand(bench):
  base = timed(bench, 'a', [2.0, 4.0, 3.0])
  fast = timed(bench, 'b', [1.0, 4.0, 1.0], [4.0, 4.0, 3.0])
  assert bench.per_round_ratios(base, fast) == [2.0, 1.0, 3.0]
  assert bench.per_round_ratios(base, fast, 'cpu') == [0.5, 1.0, 1.0]
  assert bench.format_range([2.0, 1.0, 3.0]) == '2.00 [1.00-3.00]'


def test_ratios_count_units_not_calls(bench):
  base = timed(bench, 'a', [1.0], units=8)
  half = timed(bench, 'b', [1.0], units=4)
  assert bench.per_round_ratios(base, half) == [0.5]


def test_rates_count_executed_operations(bench):
  dot = timed(bench, 'dot', [1.0, 2.0], flops=100.0)
  work = timed(bench, 'work', [2.0, 2.0], flops=160.0)
  assert bench.rate_ratios(dot, work) == [0.8, 1.6]
  with pytest.raises(ValueError, match='no operation count'):
    bench.rate_ratios(dot, timed(bench, 'x', [1.0]))


def test_rows_run_in_turn_after_warming_up(bench):
  calls = []
  rows = [bench.Row(name, lambda n=name: calls.append(n)) for name in 'abc']
  bench.run_rounds(rows, rounds=2, warm_up=1, pause=0.0)
  assert calls == [*'abc', *'abc', *'abc']
  assert [len(row.wall) for row in rows] == [2, 2, 2]


def test_pause_and_sleep_cost_no_cpu_seconds(bench):
  row = bench.Row('sleeps', lambda: time.sleep(0.05))
  bench.run_rounds([row], rounds=1, warm_up=0, pause=0.02)
  assert row.wall[0] >= 0.05
  assert row.cpu[0] < row.wall[0]


def test_quiet_is_a_spread_of_at_most_15_percent(bench):
  assert bench.is_quiet(timed(bench, 'a', [1.0, 1.15]))
  assert not bench.is_quiet(timed(bench, 'a', [1.0, 1.16]))


def test_table_names_every_row_and_the_verdict(bench):
  rows = [
    timed(bench, 'peer', [1.0, 2.0], units=8),
    timed(bench, 'ours', [0.5, 1.0], units=8, flops=1e9),
  ]
  text = bench.table('Title', rows, 'documents')
  lines = text.splitlines()
  assert lines[0] == 'Title'
  assert 'documents/s' in lines[1]
  assert '2.00 [2.00-2.00]' in lines[3]
  assert '1.3' in lines[3]  # GFLOP/s
  assert 'NOT quiet' in lines[4]
  assert bench.as_dict(rows)['ours']['speed'] == [2.0, 2.0]


def test_dot_row_runs_what_it_counts(bench):
  row = bench.dot_row(seconds=0.0)
  assert row.units == 1
  assert row.flops == 2 * 4096 * 512 * 1024
  row.call()


def test_peak_is_unknown_on_cpu_and_known_by_kind(bench, monkeypatch):
  assert bench.peak_flops() is None
  row = timed(bench, 'x', [1.0], flops=989e12)
  assert 'not known' in bench.share_of_peak(row)

  class Device:
    device_kind = 'NVIDIA H100 80GB HBM3'

  monkeypatch.setattr(jax, 'devices', lambda: [Device()])
  monkeypatch.setattr(jax, 'device_count', lambda: 2)
  assert bench.peak_flops() == 2 * 989e12
  assert '50.0% of 1978' in bench.share_of_peak(row)


def test_memory_of_a_compiled_function(bench):
  memory = bench.compiled_memory(jax.jit(lambda x: x + 1), jnp.ones(1000))
  assert memory['arguments'] == memory['results'] == 4000
  assert 'cpu' in bench.device_line()
