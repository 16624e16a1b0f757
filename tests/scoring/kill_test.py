"""Killed at any moment and started again, a run yields the same table."""

import json
import pathlib
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet as pq

from jaxcurate.cli import main as cli
from jaxcurate.io import manifest as manifests

ROOT = pathlib.Path(__file__).parents[2]
NUM_ROWS, BLOCK_ROWS = 76, 8
NUM_PARTS = 10  # 5 of each file: four blocks and the rest
SMALL_SKETCH = [
  f'--gin.density.make.{setting}'
  for setting in ('num_rows=50', 'num_buckets=97', 'max_length=64')
]


def write_corpus(folder, num_rows=NUM_ROWS, words=40):
  from pydoc_data import topics

  text = ' '.join(topics.topics.values()).split()
  folder.mkdir()
  for file in range(2):
    rows = [
      {'text': ' '.join(text[i : i + words]), 'domain': f'd{i % 3}'}
      for i in range(file * num_rows // 2, (file + 1) * num_rows // 2)
    ]
    path = folder / f'{file}.jsonl'
    path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
  return folder / '*.jsonl'


def arguments(corpus, output, model, methods, *more):
  return [
    'score',
    *(f'--method={method}' for method in methods),
    f'--model={model}',
    f'--input={corpus}',
    f'--output={output}',
    f'--gin.score.run.block_rows={BLOCK_ROWS}',
    '--gin.ask_llm.make.max_length=200',
    *more,
  ]


def start(argv, log):
  return subprocess.Popen(
    [sys.executable, '-m', 'jaxcurate', *argv],
    cwd=ROOT,
    stdout=subprocess.DEVNULL,
    stderr=log.open('ab'),
  )


def parts(output):
  return sorted(p.name for p in output.rglob('part-*.parquet'))


def wait_for_parts(process, output, count):
  """Until so many chunks lie there, or the run has ended."""
  while process.poll() is None and len(parts(output)) < count:
    time.sleep(0.001)


def contents(output):
  tables = {p: pq.read_table(output / p).to_pydict() for p in parts(output)}
  return tables, (output / 'examples.jsonl').read_text()


def test_killed_runs_end_in_the_undisturbed_table(tmp_path, tiny_model):
  corpus = write_corpus(tmp_path / 'in')
  methods = ['ask_llm', 'density']  # density goes over the corpus first
  more = ['--gin.score.run.chunk_seconds=0.0', *SMALL_SKETCH]
  whole, output = tmp_path / 'whole', tmp_path / 'out'
  assert cli.main(arguments(corpus, whole, tiny_model, methods, *more)) == 0
  argv = arguments(corpus, output, tiny_model, methods, *more)
  rng = np.random.default_rng(0)
  # Chunks that lie there when the kill comes: twice during the pass over the
  # corpus, once when the final chunks, excerpts and manifest are written.
  targets = [*np.sort(rng.integers(1, NUM_PARTS, 2)), NUM_PARTS + 5]
  killed = []
  for target in targets:
    process = start(argv, tmp_path / 'log')
    wait_for_parts(process, output, target)
    time.sleep(rng.uniform(0, 0.02))
    process.kill()
    killed.append(process.wait())
    assert killed[-1] in (0, -signal.SIGKILL), (tmp_path / 'log').read_text()
  assert -signal.SIGKILL in killed
  assert start(argv, tmp_path / 'log').wait() == 0
  assert contents(output) == contents(whole)
  ids = [i for table in contents(output)[0].values() for i in table['id']]
  assert len(ids) == len(set(ids)) == NUM_ROWS
  found = manifests.read_manifest(output, 'scores')
  expected = manifests.read_manifest(whole, 'scores')
  for content in (found, expected):
    del content['created'], content['command'], content['cost']['seconds']
    del content['cost']['last_run_seconds']
  assert found == expected
  names = sorted(path.name for path in output.iterdir())
  assert names == sorted(path.name for path in whole.iterdir())


def test_sigterm_commits_all_that_is_finished(tmp_path, tiny_model):
  corpus = write_corpus(tmp_path / 'in', num_rows=4000, words=8)
  output, log = tmp_path / 'out', tmp_path / 'log'
  never = '--gin.score.run.chunk_seconds=1e9'  # only a whole file or the end
  argv = arguments(corpus, output, tiny_model, ['ask_llm'], never)
  process = start(argv, log)
  shown = 0
  while shown < 100 and process.poll() is None:
    time.sleep(0.01)
    counts = re.findall(rb'(\d+)(?:doc|/\d+) \[', log.read_bytes())
    shown = max(map(int, counts), default=0)
  assert parts(output) == []
  process.send_signal(signal.SIGTERM)
  assert process.wait() == 75, log.read_text()
  last = log.read_text().splitlines()[-1]
  assert last.startswith('jaxcurate: interrupted') and 'continue' in last
  [part] = parts(output)
  committed = pq.read_table(output / part).num_rows
  assert shown <= committed < 2000
  assert committed % BLOCK_ROWS == 0
  assert not (output / 'manifest.json').exists()
