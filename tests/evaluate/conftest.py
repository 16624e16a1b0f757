"""Networks whose likelihoods a test can work out by itself."""

import functools
import gzip
import io
import json
import lzma
import tarfile
from typing import NamedTuple
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate import types
from jaxcurate.models import decoder, t5
from jaxcurate.models import mesh as mesh_lib

VOCABULARY_SIZE = 40


class Model(NamedTuple):
  """A network with its parameters."""

  network: types.Network
  params: types.Params


@pytest.fixture(scope='session')
def mesh():
  return mesh_lib.make_mesh()


@pytest.fixture(scope='session')
def small_mesh():
  return mesh_lib.make_mesh(devices=jax.devices()[:1])


def _strong(network, seed=0):
  """Parameters that make attention far from uniform."""
  rng = np.random.default_rng(seed)
  shapes = jax.eval_shape(network.init, jax.random.key(0))

  def draw(path, leaf):
    noise = rng.normal(size=leaf.shape).astype(np.float32)
    name = path[-1].key
    return (name == 'scale') + noise * {'scale': 0.2}.get(name, 0.5)

  return jax.device_put(jax.tree_util.tree_map_with_path(draw, shapes))


@pytest.fixture(scope='session')
def decoder_model() -> Model:
  """A tiny random Llama."""
  network = decoder.make_network(
    decoder.DecoderConfig(
      vocab_size=VOCABULARY_SIZE,
      embed_dim=16,
      num_heads=2,
      num_kv_heads=1,
      head_dim=8,
      mlp_dim=20,
      num_layers=2,
    )
  )
  return Model(network, _strong(network))


@pytest.fixture(scope='session')
def t5_model() -> Model:
  """A tiny random T5."""
  network = t5.make_network(
    t5.T5Config(
      vocab_size=VOCABULARY_SIZE,
      embed_dim=16,
      num_heads=2,
      head_dim=8,
      mlp_dim=20,
      num_encoder_layers=1,
      num_decoder_layers=1,
      activations=('gelu', 'linear'),
    )
  )
  return Model(network, _strong(network))


@pytest.fixture(params=['decoder', 't5'])
def model(request) -> Model:
  """Either of the two."""
  return request.getfixturevalue(f'{request.param}_model')


def bigram(prob_VxV) -> Model:
  """A causal network in which the next token depends on the last one alone."""
  size = len(prob_VxV)

  def decode(params, encoded, encoder_ids, tokens, ids, *, prefix=None):
    del params, encoded, encoder_ids, ids, prefix
    return jax.nn.one_hot(tokens, size)

  def extend(params, tokens, ids, *, prefix=None):
    states = decode(params, None, None, tokens, ids, prefix=prefix)
    blank = jnp.zeros((1, *tokens.shape, 1, 1))
    return states, types.Prefix(blank, blank, ids > 0)

  network = types.Network(
    init=lambda key: {},
    encode=None,
    decode=decode,
    head=lambda params: params['log_prob'],
    pool=lambda *arguments: jnp.zeros(0),
    width=size,
    vocab_size=size,
    logical_axes={'log_prob': ()},
    extend=extend,
    prefix_shape=(1, 1, 1),
  )
  return Model(network, {'log_prob': jnp.log(jnp.array(prob_VxV))})


@pytest.fixture(scope='session')
def make_bigram():
  """(probabilities of the next token) -> Model."""
  return bigram


_SLOTS = 64  # one shape for all pairs: one compilation


@functools.cache
def _states(encode, decode):
  """(params, context, its length, inputs, their length) -> states."""

  def run(params, context, context_length, inputs, length):
    ids = (jnp.arange(_SLOTS) < length).astype(jnp.int32)[None]
    encoded, encoder_ids = None, None
    if encode is not None:
      encoder_ids = (jnp.arange(_SLOTS) < context_length).astype(jnp.int32)[
        None
      ]
      encoded = encode(params, context[None], encoder_ids)
    return decode(params, encoded, encoder_ids, inputs[None], ids)[0]

  return jax.jit(run)


def slow_log_likelihood(model, context, continuation):
  """One pair alone, nothing shared, in float64 from the states on."""
  network, params = model
  inputs = (
    [*context, *continuation] if network.encode is None else [0, *continuation]
  )
  inputs = inputs[:-1]
  arrays = []
  for ids in (context, inputs):
    arrays += [np.pad(ids, (0, _SLOTS - len(ids))).astype(np.int32), len(ids)]
  states = _states(network.encode, network.decode)(params, *arrays)[
    : len(inputs)
  ]
  logits = np.float64(states) @ np.float64(network.head(params))
  logits = logits[len(inputs) - len(continuation) :]
  log_prob = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
  picked = log_prob[np.arange(len(continuation)), continuation]
  return picked.sum(), (logits.argmax(-1) == continuation).all()


@pytest.fixture(scope='session')
def slow():
  """(model, context ids, continuation ids) -> (log-probability, greedy)."""
  return slow_log_likelihood


def _packed(name, data):
  """Bytes as a file of that name holds them."""
  if name.endswith('.xz'):
    return lzma.compress(data, preset=0)
  return gzip.compress(data) if name.endswith('.gz') else data


@pytest.fixture
def pack(tmp_path):
  """pack(file, text or {member: text}): writes a benchmark file -> folder."""

  def write(file, content):
    buffer = io.BytesIO()
    if isinstance(content, str):
      buffer.write(content.encode())
    elif file.endswith('.zip'):
      with zipfile.ZipFile(buffer, 'w') as archive:
        for name, text in content.items():
          archive.writestr(name, text)
    else:
      with tarfile.open(fileobj=buffer, mode='w') as archive:
        for name, text in content.items():
          item = tarfile.TarInfo(name)
          data = _packed(name, text.encode())
          item.size = len(data)
          archive.addfile(item, io.BytesIO(data))
    (tmp_path / file).write_bytes(_packed(file, buffer.getvalue()))
    return tmp_path

  return write


@pytest.fixture
def json_lines():
  """Rows -> JSON Lines."""
  return lambda *rows: ''.join(json.dumps(row) + '\n' for row in rows)
