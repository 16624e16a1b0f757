"""Writes artefact folders with the documented layouts, for the report."""

import json
import pathlib
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

DOMAINS = ['docs', 'forum', 'news', 'wiki']
HOSTILE = (
  '<script>alert("x")</script> & \'quotes\' \x00 NUL \u202e reversed'
  ' \ud800 <img src=x onerror=alert(1)> $\\frac{'
)


def write_manifest(folder: pathlib.Path, kind: str, **fields) -> None:
  """A manifest as the commands write it."""
  content = {
    'kind': kind,
    'version': '0.1.0',
    'command': ['jaxcurate', kind, f'--output={folder.name}'],
    'settings': {},
    'inputs': [],
    'num_rows': 0,
    'columns': {},
    'skipped': {},
    'cost': {'flops': 1e12, 'seconds': 12.5, 'device': 'cpu x1'},
    'diagnostics': {},
    'created': '2026-01-02T03:04:05+00:00',
    **fields,
  }
  folder.mkdir(parents=True, exist_ok=True)
  (folder / 'manifest.json').write_text(json.dumps(content))


def write_scores(
  folder: pathlib.Path,
  columns: dict[str, np.ndarray],
  *,
  domain: list | None = None,
  prefix: str = 'doc',
  examples: bool = True,
  flops: float = 2e12,
  **fields,
) -> list[str]:
  """A score folder; returns its ids."""
  num_rows = len(next(iter(columns.values())))
  ids = [f'{prefix}-{i}' for i in range(num_rows)]
  if domain is None:
    domain = [DOMAINS[i % len(DOMAINS)] for i in range(num_rows)]
  folder.mkdir(parents=True, exist_ok=True)
  table = pa.table(
    {
      'id': pa.array(ids, pa.string()),
      'domain': pa.array(domain, pa.string()),
      'num_tokens': pa.array(np.full(num_rows, 100, np.int32)),
      **{
        name: pa.array(np.asarray(values, np.float32), from_pandas=True)
        for name, values in columns.items()
      },
    }
  )
  pq.write_table(table, folder / 'part-0.parquet')
  lines = []
  for name, values in columns.items():
    order = np.argsort(values)
    for side, rows in (('high', order[::-1]), ('low', order)):
      for rank, row in enumerate(rows[:20] if examples else []):
        lines.append(
          {
            'column': name,
            'side': side,
            'rank': rank,
            'id': ids[row],
            'domain': domain[row],
            'score': float(values[row]),
            'text': f'Text of document {row}, scored by {name}. ' * 6,
          }
        )
  (folder / 'examples.jsonl').write_text(
    ''.join(json.dumps(line) + '\n' for line in lines)
  )
  write_manifest(
    folder,
    'scores',
    num_rows=num_rows,
    columns={name: f'unit of {name}' for name in columns},
    skipped={'empty': 3},
    cost={'flops': flops, 'seconds': 60.0, 'device': 'cpu x1'},
    **fields,
  )
  return ids


def write_selection(
  folder: pathlib.Path, ids: list[str], *, by: str | None = None, **fields
) -> None:
  """A selection folder, every document once."""
  folder.mkdir(parents=True, exist_ok=True)
  table = pa.table(
    {
      'id': pa.array(ids, pa.string()),
      'count': pa.array(np.ones(len(ids), np.int32)),
      'expected_count': pa.array(np.full(len(ids), 0.2)),
    }
  )
  pq.write_table(table, folder / 'selection.parquet')
  settings = {'seed': 0, 'sample.by': by} if by else {'seed': 0}
  write_manifest(
    folder,
    'selection',
    num_rows=len(ids),
    settings=settings,
    inputs=['scores'],
    **fields,
  )


def write_run(
  folder: pathlib.Path,
  *,
  seed: int = 0,
  final: float = 4.0,
  speed: float = 1.0,
  noise: float = 0.002,
  steps: int = 200,
  weighted: bool = False,
  documents: int = 60,
  domain_shift: dict[str, float] | None = None,
  **fields,
) -> None:
  """A training folder whose loss falls to about `final`."""
  folder.mkdir(parents=True, exist_ok=True)
  rng = np.random.default_rng([seed, zlib.crc32(folder.parent.name.encode())])
  offset = noise * rng.normal()
  flops_per_step = 1e11
  lines = []
  for step in [1, *range(10, steps + 1, 10)]:
    loss = final + offset + 3.0 * np.exp(-speed * step / 50)
    spread = 0.1 if weighted else 0.0
    lines.append(
      {
        'step': step,
        'loss': loss + 0.05 * rng.normal(),
        'tokens': step * 1000,
        'flops': step * flops_per_step,
        'weights/mean': 0.6 + 0.0005 * step if weighted else 1.0,
        'weights/std': spread,
        'weights/min': 0.6 - 2 * spread if weighted else 1.0,
        'weights/max': 0.6 + 3 * spread if weighted else 1.0,
      }
    )
    if step % 20 == 0:
      lines.append(
        {'step': step, 'flops': step * flops_per_step, 'eval/loss': loss}
      )
  (folder / 'metrics.jsonl').write_text(
    ''.join(json.dumps(line) + '\n' for line in lines)
  )
  if documents:
    # The same documents, equally hard, for every run.
    difficulty = np.random.default_rng(0).normal(0, 0.6, documents)
    domain = [DOMAINS[i % len(DOMAINS)] for i in range(documents)]
    shift = [(domain_shift or {}).get(name, 0.0) for name in domain]
    end = final + offset + 3.0 * np.exp(-speed * steps / 50)
    loss = end + difficulty + shift + 0.02 * rng.normal(size=documents)
    table = pa.table(
      {
        'id': pa.array([f'held-{i}' for i in range(documents)]),
        'domain': pa.array(domain),
        'loss': pa.array(loss.astype(np.float32)),
        'tokens': pa.array(np.arange(20, 20 + documents, dtype=np.int32)),
      }
    )
    pq.write_table(table, folder / 'eval.parquet')
  fields.setdefault('settings', {'seed': seed})
  write_manifest(
    folder,
    'training',
    cost={
      'flops': steps * flops_per_step,
      'seconds': 90.0,
      'device': 'cpu x1',
    },
    **fields,
  )


def write_study(folder: pathlib.Path, *, seeds: int = 3) -> None:
  """A whole study, as the demo leaves one."""
  rng = np.random.default_rng(0)
  num_rows = 800
  quality = rng.normal(size=num_rows)
  columns = {
    'ask_llm': -np.exp(-quality - 1) + 0.1 * rng.normal(size=num_rows),
    'perplexity': -4 + 0.5 * quality + 0.5 * rng.normal(size=num_rows),
    'density': rng.gamma(4, size=num_rows),
  }
  domain = list(rng.choice(DOMAINS, num_rows, p=[0.4, 0.3, 0.2, 0.1]))
  ids = write_scores(folder / 'scores', columns, domain=domain)
  subsets = {
    'random': rng.permutation(num_rows)[:160],
    'ask_llm': np.argsort(columns['ask_llm'])[-160:],
    'density': np.argsort(columns['density'] + rng.gumbel(size=num_rows))[
      -160:
    ],
  }
  for method, rows in subsets.items():
    write_selection(
      folder / 'selections' / method,
      [ids[row] for row in rows],
      by=None if method == 'random' else method,
    )
  runs = {
    'uniform': {'final': 4.2},
    'random': {'final': 4.26, 'domain_shift': {'wiki': 0.05}},
    'ask_llm': {
      'final': 4.15,
      'speed': 1.3,
      'steps': 180,
      'domain_shift': {'forum': 0.08},
    },
    'density': {'final': 4.15, 'steps': 180},
    'adapt': {'final': 4.185, 'speed': 1.1, 'weighted': True},
  }
  for method, settings in runs.items():
    for seed in range(seeds):
      write_run(folder / 'runs' / method / f'seed{seed}', seed=seed, **settings)


class Artefacts:
  """The writers above, bound to the test's own folder."""

  hostile = HOSTILE
  scores = staticmethod(write_scores)
  selection = staticmethod(write_selection)
  run = staticmethod(write_run)
  study = staticmethod(write_study)
  manifest = staticmethod(write_manifest)


@pytest.fixture(scope='session')
def artefacts() -> type[Artefacts]:
  """Writers of artefact folders."""
  return Artefacts


@pytest.fixture(scope='session')
def whole_study(tmp_path_factory) -> pathlib.Path:
  """A study with everything in it; read only."""
  folder = tmp_path_factory.mktemp('study')
  write_study(folder)
  return folder
