"""Shared test set-up: 8 emulated devices, a compilation cache, real data."""

import os
import pathlib

# Before jax is imported anywhere: 8 CPU devices so that every sharded path
# runs, and a persistent cache so that a second run compiles nothing.
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
# Compiling is most of the suite's time: LLVM need not optimise tiny programs.
os.environ['XLA_FLAGS'] = (
  os.environ.get('XLA_FLAGS', '')
  + ' --xla_force_host_platform_device_count=8'
  + ' --xla_backend_optimization_level=0'
)
_CACHE = pathlib.Path(__file__).parent.parent / '.jax_cache'
os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(_CACHE))
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0.2')
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES', '0')

import pytest  # noqa: E402

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


@pytest.fixture(scope='session')
def tiny_model(small_vocabulary, tmp_path_factory) -> pathlib.Path:
  """A Hugging Face folder of a random T5 that compiles in a moment."""
  import jax

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
    t5.make_network(config).init(jax.random.key(0)),
    config,
    str(small_vocabulary),
  )
  return folder
