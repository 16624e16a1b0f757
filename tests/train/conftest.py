"""A network that compiles in a moment, and packed batches of random tokens."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.types import Network

WIDTH, VOCAB = 8, 16


def make_network(width=WIDTH, vocab_size=VOCAB, dropout_rate=0.5):
  """Embeddings, one mixing layer, attention to the own segment's mean."""

  def init(key):
    keys = dict(
      zip(('embedding', 'encode', 'decode', 'head'), jax.random.split(key, 4))
    )
    shapes = {
      'embedding': (vocab_size, width),
      'encode': (width, width),
      'decode': (width, width),
      'head': (width, vocab_size),
    }
    return {
      name: jax.random.normal(keys[name], shape) / np.sqrt(shape[0])
      for name, shape in shapes.items()
    }

  def drop(states, key):
    if key is None:
      return states
    keep = jax.random.bernoulli(key, 1 - dropout_rate, states.shape)
    return states * keep / (1 - dropout_rate)

  def encode(params, tokens, segment_ids, *, dropout_key=None):
    states = jnp.tanh(params['embedding'][tokens] @ params['encode'])
    return drop(states, dropout_key)

  def decode(params, encoded, encoder_ids, tokens, ids, *, dropout_key=None):
    own = (ids[:, :, None] == encoder_ids[:, None, :]) & (ids[:, :, None] > 0)
    share = own / jnp.maximum(own.sum(-1, keepdims=True), 1)
    states = params['embedding'][tokens] + share @ encoded
    return drop(jnp.tanh(states @ params['decode']), dropout_key)

  def pool(params, states, segment_ids, num_segments):
    raise NotImplementedError('training never pools through the network')

  axes = {
    'embedding': ('vocab', 'embed'),
    'encode': ('embed', 'mlp'),
    'decode': ('embed', 'mlp'),
    'head': ('embed', 'vocab'),
  }
  return Network(
    init, encode, decode, lambda p: p['head'], pool, width, vocab_size, axes
  )


def make_batch(
  seed,
  num_rows=8,
  encoder_length=12,
  decoder_length=8,
  max_segments=2,
  vocab_size=VOCAB,
):
  """Rows of one to `max_segments` examples; the last row is padding."""
  rng = np.random.default_rng(seed)

  def segment_ids(length):
    ids = np.zeros((num_rows, length), np.int32)
    for row in range(num_rows - 1):
      counts = 1 + row % max_segments
      size = length // max_segments
      for s in range(counts):
        end = (s + 1) * size - rng.integers(0, 2)
        ids[row, s * size : end] = s + 1
    return ids

  encoder_ids, decoder_ids = (
    segment_ids(encoder_length),
    segment_ids(decoder_length),
  )

  def tokens(ids):
    return rng.integers(1, vocab_size, ids.shape).astype(np.int32) * (ids > 0)

  return {
    'encoder_input_tokens': tokens(encoder_ids),
    'encoder_segment_ids': encoder_ids,
    'decoder_input_tokens': tokens(decoder_ids),
    'decoder_target_tokens': tokens(decoder_ids),
    'decoder_segment_ids': decoder_ids,
    'decoder_loss_weights': (decoder_ids > 0).astype(np.float32),
  }


class Stream:
  """Endless batches that can say where they are."""

  def __init__(self, seed=0, limit=None, **shape):
    self.seed, self.limit, self.shape, self.position = seed, limit, shape, 0

  def __next__(self):
    if self.position == self.limit:
      raise StopIteration
    self.position += 1
    return make_batch(1000 * self.seed + self.position, **self.shape)

  def state(self):
    return {'position': self.position}

  def restore(self, state):
    self.position = state['position']

  def epochs(self):
    """Five batches are an epoch."""
    return self.position // 5

  def document_id(self, id_hash):
    return f'document {id_hash}'


@pytest.fixture(scope='session')
def tiny():
  """make_network(...), make_batch(seed, ...) and Stream(seed, ...)."""
  return types.SimpleNamespace(
    make_network=make_network, make_batch=make_batch, Stream=Stream
  )
