"""Drives scorers as the engine does, and a Llama to compare them with."""

import json
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.data.vocabulary import ByteVocabulary
from jaxcurate.data.vocabulary_decoder import DecoderVocabulary
from jaxcurate.models import decoder, forward
from jaxcurate.models import mesh as mesh_lib
from jaxcurate.ops import ids as ids_lib
from jaxcurate.ops import lora
from jaxcurate.scoring import fitting


class Driver(NamedTuple):
  """The steps of a summary over [N, D] vectors with ids."""

  features: object
  sample: object
  fit: object
  score: object


_BLOCK = 512  # every batch has a multiple of this, so that few shapes compile


def _features(embedding, ids, hashes=None):
  hashes = ids_lib.hash_ids(ids) if hashes is None else hashes
  halves = np.stack([hashes >> np.uint64(32), hashes & np.uint64(2**32 - 1)], 1)
  pad = [(0, -len(ids) % _BLOCK), (0, 0)]
  return {
    'embedding': jnp.asarray(np.pad(embedding, pad), jnp.float32),
    'id_hash': jnp.asarray(np.pad(halves.astype(np.uint32), pad)),
    'mask': jnp.arange(len(ids) + pad[0][1]) < len(ids),
  }


def _sample(scorer, embedding, ids):
  order = np.argsort(ids_lib.hash_ids(ids, 5))[: scorer.summary.sample_size]
  return _features(embedding[order], [ids[i] for i in order])


def _fit(scorer, embedding, ids=None):
  ids = ids or [f'doc{i}' for i in range(len(embedding))]
  summary = scorer.summary
  state = summary.init(_sample(scorer, embedding, ids), len(ids))
  update = jax.jit(summary.update)
  for start in range(0, len(ids), _BLOCK):
    part = slice(start, start + _BLOCK)
    state = update(state, _features(embedding[part], ids[part]))
  return state


def _score(scorer, state, embedding, ids=None):
  ids = ids or [f'doc{i}' for i in range(len(embedding))]
  score = jax.jit(scorer.summary.score)
  found = []
  for start in range(0, len(ids), _BLOCK):
    part = slice(start, start + _BLOCK)
    columns = score(state, _features(embedding[part], ids[part]))
    [column] = columns.values()
    assert list(columns) == list(scorer.columns)
    assert column.dtype == jnp.float32
    found.append(np.array(column)[: len(ids[part])])
  return np.concatenate(found)


@pytest.fixture(scope='session')
def driver():
  return Driver(_features, _sample, _fit, _score)


# --- decoder-only networks ----------------------------------------------------


class SlowLlama:
  """A tiny Llama twice: as a network, and as slow float64 NumPy."""

  def __init__(self, vocab_size, seed=0, embed_dim=16, scale=3.0):
    self.config = decoder.DecoderConfig(
      vocab_size=vocab_size,
      embed_dim=embed_dim,
      num_heads=4,
      num_kv_heads=2,
      head_dim=4,
      mlp_dim=32,
      num_layers=2,
    )
    self.network = decoder.make_network(self.config)
    params = jax.jit(self.network.init)(jax.random.key(seed))
    # Larger weights, so that attention matters.
    self.params = jax.tree.map(lambda x: scale * x, params)

  def states(self, tokens):
    """[T, D] float64 states after the final norm of one text."""
    cfg, params = self.config, jax.tree.map(np.float64, self.params)
    rate = 10_000.0 ** -(np.arange(0, cfg.head_dim, 2) / cfg.head_dim)
    angle = np.arange(len(tokens))[:, None] * rate
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    later = np.triu(np.ones((len(tokens), len(tokens)), bool), 1)

    def norm(x, own):
      mean = (x**2).mean(-1, keepdims=True)
      return x / np.sqrt(mean + cfg.norm_eps) * own['scale']

    def turn(x):
      a, b = np.split(x, 2, axis=-1)
      return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)

    x = params['token_embedder']['embedding'][np.array(tokens)]
    for i in range(cfg.num_layers):
      own = params['decoder'][f'layers_{i}']
      attend, mlp = own['self_attention'], own['mlp']
      y = norm(x, own['pre_self_attention_layer_norm'])
      q, k, v = (
        (y @ attend[name]['kernel']).reshape(len(y), -1, cfg.head_dim)
        for name in ('query', 'key', 'value')
      )
      q, k, mixed = turn(q), turn(k), np.zeros_like(q)
      for head in range(cfg.num_heads):
        group = head // (cfg.num_heads // cfg.num_kv_heads)
        z = q[:, head] @ k[:, group].T / np.sqrt(cfg.head_dim)
        weight = np.where(later, 0, np.exp(z - z.max(-1, keepdims=True)))
        mixed[:, head] = weight / weight.sum(-1, keepdims=True) @ v[:, group]
      x = x + mixed.reshape(len(x), -1) @ attend['out']['kernel']
      y = norm(x, own['pre_mlp_layer_norm'])
      gate = y @ mlp['wi_0']['kernel']
      hidden = gate / (1 + np.exp(-gate)) * (y @ mlp['wi_1']['kernel'])
      x = x + hidden @ mlp['wo']['kernel']
    return norm(x, params['decoder']['decoder_norm'])

  def log_probs(self, tokens):
    """[T, V] float64 natural-log probabilities of each next token."""
    head = np.float64(self.params['decoder']['logits_dense']['kernel'])
    logits = self.states(tokens) @ head
    logits -= logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))

  def log_likelihood(self, tokens, start=1):
    """Sum of log p(tokens[t] | tokens[:t]) over t >= start."""
    found = self.log_probs(tokens[:-1])
    targets = np.array(tokens[1:])
    return float(found[np.arange(len(targets)), targets][start - 1 :].sum())


@pytest.fixture(scope='session')
def slow_llama():
  return SlowLlama


class SlowGradient:
  """Gradients of LoRA adapters by central differences, in float64.

  `value` is what is differentiated: (log p of the targets [T], shares [T] of
  sum 1) -> a number.
  """

  def value(self, slow, adapters, alpha, example, value):
    """value(log p, shares) of an example under adapters."""
    kept = slow.params
    slow.params = self._merged(kept, adapters, alpha)
    found = slow.log_probs(example['decoder_inputs'])
    slow.params = kept
    targets = np.array(example['decoder_targets'])
    weights = np.asarray(example['decoder_weights'], np.float64)
    chosen = found[np.arange(len(targets)), targets]
    return value(chosen, weights / weights.sum())

  def __call__(self, slow, adapters, alpha, example, value, step=1e-5):
    """A tree like `adapters`."""
    leaves, structure = jax.tree.flatten(jax.tree.map(np.float64, adapters))
    found = []
    for leaf in leaves:
      own = np.zeros_like(leaf)
      for place in np.ndindex(leaf.shape):
        ends, before = [], leaf[place]
        for sign in (1, -1):
          leaf[place] = before + sign * step
          tree = structure.unflatten(leaves)
          ends.append(self.value(slow, tree, alpha, example, value))
        leaf[place] = before
        own[place] = (ends[0] - ends[1]) / (2 * step)
      found.append(own)
    return structure.unflatten(found)

  def _merged(self, params, adapters, alpha):
    if lora.A in adapters:
      a, b = (
        np.asarray(adapters[name], np.float64) for name in (lora.A, lora.B)
      )
      kernel = np.asarray(params['kernel'], np.float64)
      return {**params, 'kernel': kernel + alpha / a.shape[-1] * a @ b}
    return {
      name: self._merged(node, adapters[name], alpha)
      if name in adapters
      else node
      for name, node in params.items()
    }


@pytest.fixture(scope='session')
def slow_gradient():
  return SlowGradient()


def _score_documents(scorer, params, documents, vocabulary, max_segments=None):
  """Columns of every document through the engine's own pass, or None."""
  features = scorer.features
  if max_segments is not None:
    features = features._replace(max_segments=max_segments)
  tokens = vocabulary.encode_batch([document.text for document in documents])
  examples = features.examples(documents, tokens)
  one_device = mesh_lib.make_mesh(None, jax.devices()[:1])
  run = forward.Forward(features, params, one_device)
  flat = [example for own in examples for example in own]
  outputs, start, found = run(forward.prepare(features, flat)), 0, []
  for own in examples:
    part = {k: v[start : start + len(own)] for k, v in outputs.items()}
    start += len(own)
    found.append(scorer.score(features.combine(part)) if own else None)
  return found


@pytest.fixture(scope='session')
def score_documents():
  return _score_documents


@pytest.fixture(scope='session')
def fit_tools():
  one_device = mesh_lib.make_mesh(None, jax.devices()[:1])
  return fitting.make_tools(one_device, 0)


class WithBos(ByteVocabulary):
  """Bytes, and texts that begin with token 2."""

  bos_id = 2


@pytest.fixture(scope='session')
def bos_vocabulary():
  return WithBos()


CHAT_TEMPLATE = (
  "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] }}"
  '<|end|>{% endfor %}'
  '{% if add_generation_prompt %}<|assistant|>{% endif %}'
)


@pytest.fixture(scope='session')
def chat_folder(tmp_path_factory):
  """A byte-level BPE of 500 ids with a chat template, BOS and EOS.

  'yes', 'no' and the digits are single tokens, as 'Yes' and ' yes' are.
  """
  from pydoc_data import topics

  import tokenizers

  folder = tmp_path_factory.mktemp('chat_vocabulary')
  bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
  bpe.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(
    add_prefix_space=False
  )
  bpe.decoder = tokenizers.decoders.ByteLevel()
  trainer = tokenizers.trainers.BpeTrainer(
    vocab_size=495,
    initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
    show_progress=False,
  )
  lines = '\n'.join(topics.topics.values()).splitlines(keepends=True)[:1500]
  answers = ['yes\nno\nYes\n a yes, a no'] * 500
  bpe.train_from_iterator([*lines, *answers], trainer)
  bpe.add_special_tokens(
    ['<|start|>', '<|end|>', '<|system|>', '<|user|>', '<|assistant|>']
  )
  bpe.save(str(folder / 'tokenizer.json'))
  config = {
    'add_bos_token': True,
    'bos_token': '<|start|>',
    'eos_token': '<|end|>',
    'chat_template': CHAT_TEMPLATE,
  }
  (folder / 'tokenizer_config.json').write_text(json.dumps(config))
  return folder


@pytest.fixture(scope='session')
def chat_vocabulary(chat_folder):
  return DecoderVocabulary(chat_folder / 'tokenizer.json')
