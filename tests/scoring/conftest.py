"""Scorers small enough to check by hand, and runs of the engine with them."""

import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.data import readers
from jaxcurate.data.vocabulary import ByteVocabulary
from jaxcurate.io import tables
from jaxcurate.models import mesh as mesh_lib
from jaxcurate.ops import segments
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
