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
from jaxcurate.types import Features, Scorer, Summary

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


WIDTH = 24  # tokens per window


def _examples(documents, tokens):
  del documents
  return [
    [
      {'encoder': np.array(document[i : i + WIDTH], np.int32)}
      for i in range(0, len(document), WIDTH)
    ]
    for document in tokens
  ]


def sums(name='sums', traced=None):
  """Features: scaled sum of the tokens and their number, per window."""

  def apply(params, batch, num_segments):
    if traced is not None:
      traced.append(len(batch['encoder_segment_ids']))
    ids = batch['encoder_segment_ids']
    real = (ids > 0).astype(jnp.float32)
    tokens = batch['encoder_input_tokens'] * params['scale']
    total = segments.segment_sum(tokens * real, ids, num_segments)
    count = segments.segment_sum(real, ids, num_segments)
    return {'embedding': jnp.stack([total, count], axis=-1)}

  return Features(
    name=name,
    examples=_examples,
    encoder_length=WIDTH,
    decoder_length=0,
    apply=apply,
    combine=lambda out: {'embedding': out['embedding'].sum(axis=0)},
  )


def mean(column='mean', features=None):
  """Scorer: mean scaled token of a document."""
  return Scorer(
    columns={column: 'tokens'},
    features=features or sums(),
    score=lambda out: {column: out['embedding'][0] / out['embedding'][1]},
  )


def above(features=None, sample_size=5):
  """Scorer with a summary: a document's mean minus that of the corpus."""

  def update(state, batch):
    mask = batch['mask'].astype(jnp.float32)
    return {**state, 'total': state['total'] + mask @ batch['embedding']}

  def score(state, batch):
    own = batch['embedding'][:, 0] / jnp.maximum(batch['embedding'][:, 1], 1)
    return {'above': own - state['total'][0] / state['total'][1]}

  summary = Summary(
    sample_size=sample_size,
    init=lambda sample, num_documents: {
      'total': jnp.zeros(2),
      'documents': jnp.float32(num_documents),
      'sample': jnp.sort(sample['embedding'][:, 0]),
    },
    update=update,
    merge=lambda a, b: {**a, 'total': a['total'] + b['total']},
    score=score,
    diagnose=lambda state: {
      'documents': float(state['documents']),
      'sample': np.asarray(state['sample']).tolist(),
    },
  )
  return Scorer(
    columns={'above': 'tokens above the mean'},
    features=features or sums(),
    summary=summary,
  )


def one_device():
  return mesh_lib.make_mesh(None, jax.devices()[:1])


@pytest.fixture(scope='session')
def toy():
  """sums, mean, above, PARAMS, WIDTH and one_device() of this file."""
  return types.SimpleNamespace(
    sums=sums,
    mean=mean,
    above=above,
    params=PARAMS,
    width=WIDTH,
    one_device=one_device,
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
