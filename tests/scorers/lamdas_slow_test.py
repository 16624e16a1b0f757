"""LAMDAS against a Llama with a prefix in float64 NumPy, token by token."""

import jax
import numpy as np
import pytest

from jaxcurate.data import packing
from jaxcurate.data.vocabulary import ByteVocabulary
from jaxcurate.models import decoder
from jaxcurate.scorers import lamdas
from jaxcurate.types import Document

VOCABULARY = ByteVocabulary()
LAYERS, SLOTS, KV_HEADS, HEAD_DIM = 2, 5, 2, 4
TEXTS = ['a short text', 'another one, which is longer', 'ok']


class WithBos(ByteVocabulary):
  """A vocabulary whose texts begin with token 2."""

  bos_id = 2


@pytest.fixture(scope='module')
def config():
  return decoder.DecoderConfig(
    vocab_size=VOCABULARY.size,
    embed_dim=16,
    num_heads=4,
    num_kv_heads=KV_HEADS,
    head_dim=HEAD_DIM,
    mlp_dim=32,
    num_layers=LAYERS,
  )


@pytest.fixture(scope='module')
def model(config):
  network = decoder.make_network(config)
  params = jax.jit(network.init)(jax.random.key(0))
  # Larger weights, so that attention and the prefix matter.
  return network, jax.tree.map(lambda x: 3 * x, params)


@pytest.fixture(scope='module')
def prefix():
  rng = np.random.default_rng(0)
  shape = (2, LAYERS, SLOTS, KV_HEADS, HEAD_DIM)
  key, value = rng.normal(size=shape).astype(np.float32)
  return {'key': key, 'value': value}


def score_all(model, prefix, texts, vocabulary=VOCABULARY, **settings):
  """Columns of every document, all packed into rows."""
  network, params = model
  documents = [Document(str(i), text, None) for i, text in enumerate(texts)]
  scorer = lamdas.make(
    network=network,
    vocabulary=vocabulary,
    anchors=[Document(i, 'a text', None) for i in 'ab'],
    prefix_length=SLOTS,
    **settings,
  )
  features = scorer.features
  windows = features.examples(documents, vocabulary.encode_batch(texts))
  packed = packing.pack(
    [example for own in windows for example in own],
    encoder_length=0,
    decoder_length=64,
    max_segments=4,
  )
  fitted = jax.tree.map(lambda leaf: leaf[None], prefix)
  outputs = jax.jit(features.apply, static_argnums=2)(
    (params, fitted), packed.batch, 4
  )
  rows, start = [], 0
  for own in windows:
    part = slice(start, start + len(own))
    place = packed.row[part], packed.segment[part] - 1
    found = {name: np.asarray(out)[place] for name, out in outputs.items()}
    rows.append(scorer.score(features.combine(found)))
    start += len(own)
  return rows


def slow_log_prob(config, params, tokens, prefix=None):
  """Summed log p of tokens[1:], reading tokens[:-1] after the prefix."""
  params = jax.tree.map(np.float64, params)
  inputs, targets = np.array(tokens[:-1]), np.array(tokens[1:])
  before = 0 if prefix is None else SLOTS
  half = HEAD_DIM // 2
  rate = 10_000.0 ** -(np.arange(0, HEAD_DIM, 2) / HEAD_DIM)
  angle = (before + np.arange(len(inputs)))[:, None] * rate

  def norm(x, scale):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + config.norm_eps) * scale

  def turn(x):
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)

  x = params['token_embedder']['embedding'][inputs]
  for i in range(LAYERS):
    own = params['decoder'][f'layers_{i}']
    attend = own['self_attention']
    y = norm(x, own['pre_self_attention_layer_norm']['scale'])
    q, k, v = (
      (y @ attend[name]['kernel']).reshape(len(y), -1, HEAD_DIM)
      for name in ('query', 'key', 'value')
    )
    q, k = turn(q), turn(k)
    if prefix is not None:
      k = np.concatenate([np.float64(prefix['key'][i]), k])
      v = np.concatenate([np.float64(prefix['value'][i]), v])
    mixed = np.zeros_like(q)
    for t in range(len(q)):
      seen = before + t + 1
      for head in range(q.shape[1]):
        group = head // (q.shape[1] // KV_HEADS)
        z = k[:seen, group] @ q[t, head] / np.sqrt(HEAD_DIM)
        weight = np.exp(z - z.max())
        mixed[t, head] = weight / weight.sum() @ v[:seen, group]
    x = x + mixed.reshape(len(x), -1) @ attend['out']['kernel']
    y = norm(x, own['pre_mlp_layer_norm']['scale'])
    gate = y @ own['mlp']['wi_0']['kernel']
    hidden = gate / (1 + np.exp(-gate)) * (y @ own['mlp']['wi_1']['kernel'])
    x = x + hidden @ own['mlp']['wo']['kernel']
  x = norm(x, params['decoder']['decoder_norm']['scale'])
  logits = x @ params['decoder']['logits_dense']['kernel']
  peak = logits.max(-1, keepdims=True)
  normaliser = peak[:, 0] + np.log(np.exp(logits - peak).sum(-1))
  return float((logits[np.arange(len(x)), targets] - normaliser).sum())


@pytest.mark.parametrize('vocabulary', [VOCABULARY, WithBos()])
def test_agrees_with_a_slow_llama_in_float64(config, model, prefix, vocabulary):
  params = model[1]
  found = score_all(model, prefix, TEXTS, vocabulary, max_length=64)
  bos = [] if vocabulary.bos_id is None else [vocabulary.bos_id]
  for tokens, row in zip(vocabulary.encode_batch(TEXTS), found, strict=True):
    tokens = [*bos, *tokens]
    with_prefix = slow_log_prob(config, params, tokens, prefix)
    without = slow_log_prob(config, params, tokens)
    count = len(tokens) - 1
    assert row['lamdas/count'] == count
    assert row['lamdas/with'] == pytest.approx(with_prefix, rel=1e-5)
    assert row['lamdas/without'] == pytest.approx(without, rel=1e-5)
    ratio = (with_prefix - without) / count
    assert abs(ratio) > 0.02  # the prefix matters
    assert row['lamdas'] == pytest.approx(ratio, abs=1e-5)


def test_long_texts_add_windows_and_divide_once(config, model, prefix):
  params, text = model[1], 'abcdefgh, ijklmnop and so on'
  tokens = VOCABULARY.encode_batch([text])[0]
  windows = [tokens[i : i + 11] for i in range(0, len(tokens) - 1, 10)]
  sums = [
    (slow_log_prob(config, params, w, prefix), slow_log_prob(config, params, w))
    for w in windows
  ]
  [row] = score_all(model, prefix, [text], max_length=10)
  total = np.sum(sums, axis=0)
  assert row['lamdas/count'] == len(tokens) - 1
  expected = (total[0] - total[1]) / (len(tokens) - 1)
  assert row['lamdas'] == pytest.approx(expected, abs=1e-5)
  settings = {'max_length': 10, 'long_texts': 'head'}
  [head] = score_all(model, prefix, [text], **settings)
  assert head['lamdas/count'] == 10
  assert head['lamdas'] == pytest.approx(
    (sums[0][0] - sums[0][1]) / 10, abs=1e-5
  )
