"""Every scorer of gin_configs/methods is held to the contract of scorers.

A new one brings its own Gin file and is found here by it; see
conformance_test.py for the other kinds.
"""

import functools
import importlib
import inspect
import json
import pathlib

import jax
import numpy as np
import pytest

from jaxcurate.data import readers
from jaxcurate.data.vocabulary import SentencePieceVocabulary
from jaxcurate.io import tables
from jaxcurate.models import decoder, partitioning, t5
from jaxcurate.models import mesh as mesh_lib
from jaxcurate.models.decoder_config import DecoderConfig
from jaxcurate.ops import rating
from jaxcurate.scorers import rater
from jaxcurate.scoring import run as scoring
from jaxcurate.types import Head, HeadSettings

ROOT = pathlib.Path(__file__).parent.parent
SCORERS = [
  path.stem
  for path in sorted((ROOT / 'gin_configs' / 'methods').glob('*.gin'))
  if (ROOT / 'jaxcurate' / 'scorers' / f'{path.stem}.py').exists()
]

SHAPE = {'embed_dim': 16, 'num_heads': 2, 'head_dim': 8, 'mlp_dim': 32}
# Of methods that train on a sample of the corpus first.
SMALL = {
  'rank': 4,
  'width': 256,
  'epochs': 2,
  'batch_size': 8,
  'max_length': 128,  # one row length to compile
  'targets': ('value', 'out'),  # a kernel sharded by columns, one by rows
}
KINDS = {
  'encoder-decoder': lambda size: t5.make_network(
    t5.T5Config(
      vocab_size=size, num_encoder_layers=1, num_decoder_layers=1, **SHAPE
    )
  ),
  'decoder-only': lambda size: decoder.make_network(
    DecoderConfig(vocab_size=size, num_kv_heads=1, num_layers=1, **SHAPE)
  ),
}


@pytest.fixture(scope='module')
def model_of(small_vocabulary, draw_params):
  """Kind -> (network, params, params of a second model, vocabulary)."""
  vocabulary = SentencePieceVocabulary(small_vocabulary)

  @functools.cache
  def make(kind):
    network = KINDS[kind](vocabulary.size)
    params = [
      jax.tree.map(lambda x: 2 * x, draw_params(network, seed))
      for seed in (0, 1)
    ]
    return network, *params, vocabulary

  return make


def head_of(network):
  """A random head of a judge."""
  settings = HeadSettings((), 'log P(yes)', rater.pooling_of(network), ngrams=2)
  rng = np.random.default_rng(0)
  shapes = rating.init(network.width, 1, settings.ngrams)
  params = {name: rng.normal(size=a.shape) for name, a in shapes.items()}
  return Head(settings, jax.tree.map(np.float32, params))


def scorer_for(module, network, vocabulary, documents):
  """The scorer, given whatever else its `make` asks for by name."""
  offered = {
    'anchors': [d._replace(id=f'anchor-{d.id}') for d in documents[:4]],
    'labelled': [d._replace(label=float(i)) for i, d in enumerate(documents)],
    'sample': documents[4:12],
    'reference': network,
    'head': head_of(network),
    'corpus': lambda count: count(documents),
    'min_words': 1,  # of methods that leave out short texts
  }
  asked = inspect.signature(module.make).parameters
  offered |= SMALL if 'sample' in asked else {}
  given = {name: offered[name] for name in offered if name in asked}
  return module.make(network=network, vocabulary=vocabulary, **given)


@pytest.fixture(scope='module')
def corpus(tmp_path_factory):
  """Twenty documents in two row orders: instructions, and one lone token."""
  from pydoc_data import topics

  folder = tmp_path_factory.mktemp('corpus')
  rows = [
    {'id': f'd{i}', 'prompt': f'What is {name}?', 'completion': text[:350]}
    for i, (name, text) in enumerate(list(topics.topics.items())[:20])
  ]
  rows[3] = {'id': 'd3', 'text': 'a'}
  for name, order in (('forward', rows), ('backward', rows[::-1])):
    lines = '\n'.join(map(json.dumps, order))
    (folder / f'{name}.jsonl').write_text(lines)
  return folder


def scores(scorer, model, path, output, *, mesh=None, devices=1, **settings):
  network, params, second, vocabulary = model
  devices = mesh_lib.make_mesh(mesh, jax.devices()[:devices])
  shardings = partitioning.param_shardings(
    devices, network.logical_axes, params
  )
  scoring.score(
    corpus=readers.open_corpus([str(path)], turns=True),
    scorers=[scorer],
    vocabulary=vocabulary,
    params=jax.device_put(params, shardings),
    second=jax.device_put(second, shardings) if scorer.second else None,
    mesh=devices,
    output=output,
    settings={},
    **settings,
  )
  table, _ = tables.read_score_table([str(output)])
  order = np.argsort(table.id)
  assert set(table.scores) == set(scorer.columns)
  assert all(table.units.values())
  return {name: column[order] for name, column in table.scores.items()}


def rounding(scorer):
  """Shares of a standard deviation: summaries of what a fitted pass found
  read it as bfloat16 (jaxcurate/scoring/vectors.py)."""
  return 2e-2 if scorer.fit and scorer.summary else 1e-5


def subtracts(scorer, column):
  """1 nat where a column is the difference of two log-likelihoods per token:
  it is rounded as they are, not as what is left of them."""
  return 1.0 if 'ratio' in scorer.columns[column] else 0.0


def is_slow(name, kind):
  """Whether it takes gradients, which compile for long, or has been tried with
  the other kind of network."""
  others = kind == 'decoder-only' and name not in ('deita', 'nuggets')
  return others or name in ('less', 'trak')


@pytest.mark.parametrize(
  ('name', 'kind'),
  [
    pytest.param(n, k, marks=[pytest.mark.slow] * is_slow(n, k))
    for n in SCORERS
    for k in KINDS
  ],
)
def test_scorer(name, kind, model_of, corpus, tmp_path):
  module = importlib.import_module(f'jaxcurate.scorers.{name}')
  model = network, *_, vocabulary = model_of(kind)
  path = str(corpus / 'forward.jsonl')
  documents = list(readers.open_corpus([path], turns=True).rows())
  documents.pop(3)  # it has one token
  try:
    scorer = scorer_for(module, network, vocabulary, documents)
  except ValueError as error:
    refused = str(error)
  else:
    refused = ''
  if refused:  # then it names the other kind, and takes that
    other = next(k for k in KINDS if k != kind)
    if other not in refused:
      pytest.fail(f'{refused!r} does not name the way out, {other}')
    scorer_for(module, model_of(other)[0], vocabulary, documents)
    pytest.skip(refused)
  base = scores(scorer, model, corpus / 'forward.jsonl', tmp_path / 'base')
  for column in base.values():
    known = np.isfinite(column)
    assert column.dtype == np.float32
    assert known.sum() >= 19
    assert len(np.unique(column[known])) > 2  # Nuggets: shares of four anchors
  # All at once: the rows' order, blocks, the batch's size, devices and mesh.
  # What was fitted once stays: only the pass over the corpus may vary.
  other = scores(
    scorer,
    model,
    corpus / 'backward.jsonl',
    tmp_path / 'other',
    reuse=str(tmp_path / 'base') if scorer.fit else None,
    block_rows=7,
    rows_per_batch=8,
    devices=8,
    mesh='data=4,model=2',
  )
  for column, values in base.items():
    np.testing.assert_allclose(
      other[column],
      values,
      rtol=1e-5,
      atol=rounding(scorer) * float(np.nanstd(values))
      + 1e-5 * subtracts(scorer, column),
      err_msg=column,
    )
