"""Runs on several hosts: two processes that meet give what one gives."""

import os
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from jaxcurate.cli import main as cli
from jaxcurate.io import hosts, tables
from jaxcurate.io.errors import UserError

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
# As in conftest.py, LLVM need not optimise tiny programs.
ONE_DEVICE = (
  '--xla_force_host_platform_device_count=1 --xla_backend_optimization_level=0'
)


@pytest.fixture
def variables(monkeypatch):
  for name in ('COORDINATOR_ADDRESS', 'NUM_PROCESSES', 'PROCESS_ID'):
    monkeypatch.delenv(f'JAX_{name}', raising=False)
  return lambda name, value: monkeypatch.setenv(f'JAX_{name}', value)


def start(*argv, **variables):
  """One process of a run, with a single device."""
  environment = {
    **os.environ,
    'JAX_PLATFORMS': 'cpu',
    'XLA_FLAGS': ONE_DEVICE,
    **variables,
  }
  command = [sys.executable, '-m', 'jaxcurate', *map(str, argv)]
  return subprocess.Popen(
    command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
  )


def on_two_hosts(*argv):
  """What both processes print; fails unless both succeed."""
  with socket.socket() as free:
    free.bind(('localhost', 0))
    address = f'localhost:{free.getsockname()[1]}'
  both = [
    start(
      *argv,
      JAX_COORDINATOR_ADDRESS=address,
      JAX_NUM_PROCESSES='2',
      JAX_PROCESS_ID=str(index),
    )
    for index in range(2)
  ]
  printed = [process.communicate()[0].decode() for process in both]
  assert [process.returncode for process in both] == [0, 0], printed
  return printed


@pytest.mark.slow
def test_two_hosts_train_a_model_and_score_with_it(
  tmp_path, corpus, small_vocabulary
):
  network = tmp_path / 'net.gin'
  network.write_text(NETWORK)
  trained = tmp_path / 'trained'
  on_two_hosts(
    'train', f'--model={network}', f'--vocabulary={small_vocabulary}',
    f'--input={corpus}', f'--anchors={corpus}', '--weighting=adapt',
    '--steps=2', f'--output={trained}', '--gin.train.run.rows_per_batch=4',
    '--gin.train.run.encoder_length=32', '--gin.train.run.holdout_share=0.2',
  )  # fmt: skip
  held_out = tables.read_parquet(trained / 'eval.parquet', ['id', 'loss'])
  assert len(held_out) > 1
  assert np.isfinite(held_out.column('loss').to_numpy()).all()

  score = (
    'score', '--method=density', '--method=bm25',
    f'--input={corpus}', f'--anchors={corpus}',
    f'--model={trained / "model"}', '--gin.score.run.block_rows=10',
    '--gin.density.make.num_rows=50', '--gin.density.make.num_buckets=97',
  )  # fmt: skip
  on_two_hosts(*score, f'--output={tmp_path / "two"}')
  one = tmp_path / 'one'
  assert cli.main([*score, f'--output={one}']) == 0
  first, second = (
    tables.read_score_table([str(folder)])[0]
    for folder in (one, tmp_path / 'two')
  )
  place = {name: row for row, name in enumerate(second.id)}
  order = [place[name] for name in first.id]
  assert len(order) == len(second.id) == 30
  for column, expected in first.scores.items():
    np.testing.assert_allclose(
      second.scores[column][order], expected, rtol=1e-5
    )


def test_one_process_joins_nobody(variables):
  variables('NUM_PROCESSES', '1')
  variables('COORDINATOR_ADDRESS', 'nowhere:1')
  hosts.join()
  assert jax.process_count() == 1


def test_alone_nobody_waits():
  hosts.wait('alone')
  assert hosts.first_then_others('made', lambda: 3) == 3
  fetched = hosts.fetch({'a': jax.numpy.arange(2)})
  np.testing.assert_array_equal(fetched['a'], [0, 1])


@pytest.mark.parametrize(
  ('name', 'value', 'message'),
  [
    ('NUM_PROCESSES', 'two', "JAX_NUM_PROCESSES is 'two', expected a whole"),
    ('PROCESS_ID', '-1', "JAX_PROCESS_ID is '-1', expected a whole number"),
    ('COORDINATOR_ADDRESS', 'a:1', 'set JAX_NUM_PROCESSES and JAX_PROCESS_ID'),
  ],
)
def test_wrong_variables_are_named(variables, name, value, message):
  variables(name, value)
  with pytest.raises(UserError, match=message):
    hosts.join()


def test_hosts_that_cannot_meet_are_told_how_to_go_on(variables):
  variables('COORDINATOR_ADDRESS', 'localhost:1')
  variables('NUM_PROCESSES', '2')
  variables('PROCESS_ID', '5')
  with pytest.raises(UserError, match='JAX_NUM_PROCESSES=1 to run'):
    hosts.join()
