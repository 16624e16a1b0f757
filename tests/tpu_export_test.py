"""Every compiled part of every scorer lowers for TPU, from a CPU.

The program holds no callback to the host, no infeed and no outfeed. Train
steps: tests/train/compiled_test.py. Samplers run on the host, in float64.
"""

import ast
import importlib
import inspect
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcurate
from jaxcurate.data.vocabulary import load_vocabulary
from jaxcurate.models import decoder, forward, t5
from jaxcurate.models import mesh as mesh_lib
from jaxcurate.ops import rating
from jaxcurate.scoring import fitting
from jaxcurate.types import Document, Head, HeadSettings

PACKAGE = pathlib.Path(jaxcurate.__file__).parent
CONFIG = t5.T5Config(
  vocab_size=800,
  embed_dim=128,
  num_heads=2,
  head_dim=64,
  mlp_dim=128,
  num_encoder_layers=1,
  num_decoder_layers=1,
  activations=('gelu', 'linear'),
  dtype='bfloat16',  # what an accelerator runs
)
DECODER_CONFIG = decoder.DecoderConfig(
  vocab_size=800,
  embed_dim=128,
  num_heads=2,
  num_kv_heads=1,
  head_dim=64,
  mlp_dim=128,
  num_layers=1,
  dtype='bfloat16',
)
DECODER_ONLY = {'deita', 'nuggets'}  # scorers that refuse an encoder
GRADIENTS = {
  'rank': 2, 'width': 256, 'epochs': 1, 'batch_size': 2, 'targets': ('value',)
}  # fmt: skip
SETTINGS = {
  'ask_llm': {'max_length': 256},
  'perplexity': {'max_length': 128},
  'rho': {'max_length': 128},
  'color_filter': {'max_length': 128},
  'embedding_similarity': {'max_length': 128},
  'embedding_regression': {'max_length': 128},
  'clusters': {'max_length': 128, 'embedding': 'states', 'num_clusters': 2},
  'deita': {'max_length': 256},
  'nuggets': {'max_length': 128},
  'lamdas': {'max_length': 128, 'prefix_length': 4, 'epochs': 1},
  'less': {**GRADIENTS, 'max_length': 128},
  'trak': {**GRADIENTS, 'max_length': 128},
  'rater': {},
  'density': {'max_length': 128, 'num_rows': 64, 'num_buckets': 512},
  'density_references': {'max_length': 128, 'num_references': 64},
}
ROWS = 8


def lower(function, *args):
  """StableHLO of a function for TPU."""
  shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), args)
  exported = jax.export.export(jax.jit(function), platforms=['tpu'])
  return exported(*shapes).mlir_module()


def stays_on_device(text):
  """Whether nothing in a program talks to the host."""
  calls = set(re.findall(r'custom_call @(\w+)', text))
  talking = [name for name in calls if 'callback' in name.lower()]
  found = re.search(r'infeed|outfeed|stablehlo\.(send|recv)\b', text)
  return not talking and found is None


@pytest.fixture(scope='module')
def scorer_of(small_vocabulary):
  t5_network = t5.make_network(CONFIG)
  decoder_network = decoder.make_network(DECODER_CONFIG)
  vocabulary = load_vocabulary(str(small_vocabulary))

  def make(name):
    module = importlib.import_module(f'jaxcurate.scorers.{name}')
    network = decoder_network if name in DECODER_ONLY else t5_network
    settings = HeadSettings((), 'log P(yes)', 'mean', max_length=128, ngrams=2)
    given = {
      'reference': network,
      'anchors': documents_of('An anchor. ', 2),
      'labelled': [d._replace(label=1.0) for d in documents_of('A label. ', 2)],
      'sample': documents_of('A sample. ', 2),
      'head': Head(settings, rating.init(network.width, 1, settings.ngrams)),
    }
    asked = inspect.signature(module.make).parameters
    made = module.make(
      network=network,
      vocabulary=vocabulary,
      **{key: value for key, value in given.items() if key in asked},
      **SETTINGS[name],
    )
    return made, network, vocabulary

  return make


def documents_of(sentence, count):
  turns = (('user', sentence), ('assistant', sentence * 3))
  return [
    Document(f'd{i}', sentence * 4, None, turns=turns) for i in range(count)
  ]


def test_every_scorer_is_here():
  files = (PACKAGE / 'scorers').glob('[a-z]*.py')
  names = {f.stem for f in files if '\ndef make(' in f.read_text()}
  # Those of words look numbers up; no network runs.
  assert names == {*SETTINGS, 'bm25', 'dsir', 'ngram_classifier'}


@pytest.mark.parametrize('name', SETTINGS)
def test_forward_pass(scorer_of, name, draw_params):
  scorer, network, vocabulary = scorer_of(name)
  features = scorer.features
  documents = documents_of('Some text about loops and names. ', 20)
  examples = features.examples(
    documents, vocabulary.encode_batch([d.text for d in documents])
  )
  prepared = forward.prepare(features, [e for own in examples for e in own])
  batch = {
    key: np.resize(array, (ROWS, *array.shape[1:]))
    for key, array in prepared.batch.items()
  }
  params = jax.eval_shape(network.init, jax.random.key(0))
  if scorer.second:
    params = (params, params)
  elif scorer.fit is not None:
    params = draw_params(network)
    tools = fitting.make_tools(mesh_lib.make_mesh(None, jax.devices()[:1]), 0)
    fitted = scorer.fit(params, tools)
    fitted.pop('report', None)
    params = (params, fitted)
  text = lower(
    lambda params, batch: features.apply(params, batch, features.max_segments),
    params,
    batch,
  )
  assert 'stablehlo.dot_general' in text
  assert stays_on_device(text)


@pytest.mark.parametrize('name', ['density', 'density_references'])
def test_summaries(scorer_of, name):
  scorer, *_ = scorer_of(name)
  summary = scorer.summary

  def batch(count):
    return {
      'embedding': jnp.ones((count, 128)),
      'id_hash': jnp.ones((count, 2), jnp.uint32),
      'mask': jnp.ones(count, bool),
    }

  sample = batch(summary.sample_size)
  state = jax.eval_shape(lambda s: summary.init(s, 10_000), sample)
  for program in (
    lower(lambda s: summary.init(s, 10_000), sample),
    lower(summary.update, state, batch(64)),
    lower(summary.merge, state, state),
    lower(summary.score, state, batch(64)),
  ):
    assert stays_on_device(program)


def test_samplers_run_on_the_host():
  for path in (PACKAGE / 'samplers').glob('*.py'):
    for node in ast.walk(ast.parse(path.read_text())):
      if isinstance(node, ast.Import):
        assert not any(a.name.split('.')[0] == 'jax' for a in node.names)


@pytest.mark.parametrize('talk', ['print', 'callback'])
def test_a_callback_would_be_found(talk):
  def talks(x):
    if talk == 'print':
      jax.debug.print('{}', x)
      return x
    return jax.pure_callback(np.sin, jax.ShapeDtypeStruct((3,), x.dtype), x)

  assert not stays_on_device(jax.jit(talks).lower(jnp.ones(3)).as_text())
  with pytest.raises(ValueError, match='tpu'):  # and is not exported at all
    lower(talks, jnp.ones(3))
