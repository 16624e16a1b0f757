"""Shared test set-up: 8 emulated devices, a compilation cache, real data."""

import os
import pathlib

# Before jax is imported anywhere: 8 CPU devices so that every sharded path
# runs, and a persistent cache so that a second run compiles nothing.
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
# Compiling is most of the suite's time: LLVM need not optimise tiny programs,
# and threads of tiny products would only wait for each other.
os.environ['XLA_FLAGS'] = (
  os.environ.get('XLA_FLAGS', '')
  + ' --xla_force_host_platform_device_count=8'
  + ' --xla_backend_optimization_level=0'
  + ' --xla_cpu_multi_thread_eigen=false'
)
_CACHE = pathlib.Path(__file__).parent.parent / '.jax_cache'
os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(_CACHE))
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0.05')
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES', '0')

import gc  # noqa: E402
import types  # noqa: E402

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402

from jaxcurate.models import mesh as mesh_lib  # noqa: E402
from jaxcurate.ops import segments  # noqa: E402
from jaxcurate.types import Features, Scorer, Summary  # noqa: E402

# Compiled programs leave millions of objects: walk through them rarely.
gc.set_threshold(100_000, 20, 50)

_SHARED = pathlib.Path(__file__).parent.parent.parent / 'shared' / 'data'


@pytest.fixture(scope='session')
def shared_data() -> pathlib.Path:
  """The folder of real corpora; skips where it is absent."""
  if not _SHARED.is_dir():
    pytest.skip(f'real data not found at {_SHARED}')
  return _SHARED


@pytest.fixture(scope='session')
def small_vocabulary(tmp_path_factory) -> pathlib.Path:
  """A 700-piece SentencePiece model of Python's own help topics.

  'yes' and 'no' are single pieces; T5's layout: pad 0, eos 1, unk 2.
  """
  from pydoc_data import topics

  import sentencepiece

  folder = tmp_path_factory.mktemp('vocabulary')
  text = folder / 'text.txt'
  lines = [*'\n'.join(topics.topics.values()).splitlines()[:3000]]
  text.write_text('\n'.join(lines))
  sentencepiece.SentencePieceTrainer.train(
    input=str(text),
    model_prefix=str(folder / 'spiece'),
    vocab_size=700,
    pad_id=0,
    eos_id=1,
    unk_id=2,
    bos_id=-1,
    num_threads=1,
    user_defined_symbols=['▁yes', '▁no'],
    minloglevel=2,
  )
  return folder / 'spiece.model'


def _draw_params(network, seed=0):
  rng = np.random.default_rng(seed)

  def draw(path, leaf):
    name = path[-1].key
    if name in ('scale', 'bias'):
      return jnp.asarray(np.full(leaf.shape, name == 'scale', np.float32))
    std = 1.0 if name == 'embedding' else leaf.shape[-2] ** -0.5
    return jnp.asarray(np.float32(std * rng.normal(size=leaf.shape)))

  shapes = jax.eval_shape(network.init, jax.random.key(0))
  return jax.tree_util.tree_map_with_path(draw, shapes)


@pytest.fixture(scope='session')
def draw_params():
  """draw_params(network, seed=0) -> what `init` might draw, from NumPy.

  Compiling `init` of a tiny network takes a second.
  """
  return _draw_params


@pytest.fixture(scope='session')
def tiny_model(small_vocabulary, tmp_path_factory) -> pathlib.Path:
  """A Hugging Face folder of a random T5 that compiles in a moment."""
  from jaxcurate.models import huggingface, t5

  config = t5.T5Config(
    vocab_size=800,
    embed_dim=16,
    num_heads=2,
    head_dim=8,
    mlp_dim=32,
    num_encoder_layers=1,
    num_decoder_layers=1,
    activations=('gelu', 'linear'),
  )
  folder = tmp_path_factory.mktemp('tiny_model')
  huggingface.export_huggingface(
    folder,
    _draw_params(t5.make_network(config)),
    config,
    str(small_vocabulary),
  )
  return folder


# Scorers small enough to check by hand.

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
    params={'scale': jnp.float32(0.5)},
    width=WIDTH,
    one_device=one_device,
  )
