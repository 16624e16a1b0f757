"""Scorers small enough to check by hand, and runs of the engine with them."""

import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.data import readers
from jaxcurate.data.vocabulary import ByteVocabulary
from jaxcurate.io import manifest as manifests
from jaxcurate.io import tables
from jaxcurate.models import mesh as mesh_lib
from jaxcurate.ops import segments
from jaxcurate.scoring import cascade as cascades
from jaxcurate.scoring import run as scoring
from jaxcurate.types import Features, Scorer

VOCABULARY = ByteVocabulary()
PARAMS = {'scale': jnp.float32(0.5)}


def mean_byte(name='mean_byte', width=24, columns=('mean_byte',)):
  """Mean byte of a text, over windows: a scorer small enough to check."""

  def examples(documents, tokens):
    return [
      [
        {'encoder': np.array(document[i : i + width], np.int32)}
        for i in range(0, len(document), width)
      ]
      for document in tokens
    ]

  def apply(params, batch, num_segments):
    ids = batch['encoder_segment_ids']
    real = (ids > 0).astype(jnp.float32)
    tokens = batch['encoder_input_tokens'] * params['scale']
    return {
      'sum': segments.segment_sum(tokens * real, ids, num_segments),
      'count': segments.segment_sum(real, ids, num_segments),
    }

  features = Features(
    name=name,
    examples=examples,
    encoder_length=width,
    decoder_length=0,
    apply=apply,
    combine=lambda out: {k: v.sum(dtype=np.float64) for k, v in out.items()},
  )
  return Scorer(
    columns=dict.fromkeys(columns, 'bytes'),
    features=features,
    score=lambda out: {c: out['sum'] / out['count'] for c in columns},
  )


def expected(text):
  return 0.5 * np.mean([byte + 3 for byte in text.encode()])


def write_corpus(folder, num_rows=50):
  rng = np.random.default_rng(0)
  texts = {}
  folder.mkdir(exist_ok=True)
  for file in range(2):
    lines = []
    for row in range(num_rows):
      size = int(rng.integers(1, 60))
      text = 'x' + ''.join(rng.choice(list('abc é\n'), size))
      texts[f'{file}.jsonl:{row}'] = text
      lines.append(json.dumps({'text': text, 'domain': f'd{row % 3}'}))
    (folder / f'{file}.jsonl').write_text('\n'.join(lines) + '\n')
  return texts


def run(corpus_folder, output, *, scorers=None, devices=1, **settings):
  settings = {'block_rows': 8, 'chunk_seconds': 0.0, **settings}
  return scoring.score(
    corpus=readers.open_corpus([str(corpus_folder / '*.jsonl')]),
    scorers=scorers or [mean_byte()],
    vocabulary=VOCABULARY,
    params=PARAMS,
    mesh=mesh_lib.make_mesh(None, jax.devices()[:devices]),
    output=output,
    settings={'x': 1},
    **settings,
  )


def read(output):
  table, _ = tables.read_score_table([str(output)])
  order = np.argsort(table.id)
  columns = {name: column[order] for name, column in table.scores.items()}
  return table.id[order].tolist(), columns, table


@pytest.fixture(scope='session')
def small():
  """The functions above, by name."""
  return types.SimpleNamespace(
    mean_byte=mean_byte,
    expected=expected,
    write_corpus=write_corpus,
    run=run,
    read=read,
    vocabulary=VOCABULARY,
    params=PARAMS,
  )


@pytest.fixture
def texts(tmp_path):
  """Writes two files of 30 documents; id -> text."""
  rng = np.random.default_rng(0)
  found = {}
  (tmp_path / 'in').mkdir()
  for file in range(2):
    rows = []
    for row in range(30):
      text = 'x' + ''.join(rng.choice(list('abc é'), int(rng.integers(60))))
      found[f'{file}.jsonl:{row}'] = text
      rows.append(json.dumps({'text': text, 'domain': f'd{row % 3}'}) + '\n')
    (tmp_path / 'in' / f'{file}.jsonl').write_text(''.join(rows))
  return found


@pytest.fixture
def corpus(texts, tmp_path):
  """Those files as a corpus."""
  return readers.open_corpus([str(tmp_path / 'in' / '*.jsonl')])


def write_scores(folder, ids, scores, cost=1000.0):
  """The finished table of a small judge, column 'quality'."""
  tables.write_table(
    folder / 'part-0.parquet',
    {
      'id': np.array(ids, object),
      'domain': np.array([None] * len(ids), object),
      'num_tokens': np.ones(len(ids), np.int32),
      'quality': np.array(scores, np.float32),
    },
  )
  content = {'kind': 'scores', 'columns': {'quality': 'sd'}, 'settings': {}}
  manifests.write_manifest(folder, content | {'cost': {'flops': cost}})


@pytest.fixture
def small_judge(tmp_path):
  """A corpus and the table of a judge that sees `mean_byte` through noise."""
  texts = write_corpus(tmp_path / 'in', 100)
  ids = np.array(sorted(texts))
  truth = np.array([expected(texts[i]) for i in ids])
  cheap = truth / truth.std() + np.random.default_rng(5).normal(size=len(ids))
  write_scores(tmp_path / 'small', ids, cheap)

  def plan(folder, band=(0.5, 0.8), audit=40, name='small', **settings):
    return cascades.plan(
      str(folder / name), 'quality', band=band, audit=audit, **settings
    )

  return types.SimpleNamespace(
    world=(tmp_path, ids, truth, cheap), plan=plan, write=write_scores,
    flops=1000.0,
  )  # fmt: skip
