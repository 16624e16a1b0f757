"""Scoring streams: ten times the corpus takes about the same memory."""

import importlib.util
import json
import pathlib

import pytest

PATH = pathlib.Path(__file__).parents[2] / 'tools' / 'measure_memory.py'


@pytest.fixture(scope='module')
def tool():
  spec = importlib.util.spec_from_file_location('measure_memory', PATH)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def test_peak_does_not_grow_with_the_corpus(tool, tiny_model):
  flags = ['--method=ask_llm', f'--model={tiny_model}']
  flags += [
    '--gin.score.run.block_rows=64',
    '--gin.ask_llm.make.max_length=200',
  ]
  # 300 words are about 1 kB of tokens and packed rows: what was kept of
  # 3,000 documents more would show.
  small, large = (tool.measure(n, flags, words=300) for n in (300, 3000))
  assert small.mebibytes > 50
  assert large.mebibytes < 1.1 * small.mebibytes


def test_failed_run_shows_why(tool):
  with pytest.raises(RuntimeError, match='no checkpoint at none'):
    tool.measure(3, ['--method=ask_llm', '--model=none'])


def test_corpus_is_the_same_each_time(tool, tmp_path):
  for name in 'ab':
    tool.write_corpus(tmp_path / name, 5, words=10)
  assert (tmp_path / 'a').read_bytes() == (tmp_path / 'b').read_bytes()
  rows = [json.loads(line) for line in (tmp_path / 'a').open()]
  assert len(rows) == 5
  assert all(1 <= len(row['text'].split()) <= 20 for row in rows)
