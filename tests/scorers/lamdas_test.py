"""LAMDAS: the likelihood with a fitted prefix over the likelihood without."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.data.vocabulary import ByteVocabulary
from jaxcurate.models import decoder
from jaxcurate.models import mesh as mesh_lib
from jaxcurate.ops import flops, log_ratio
from jaxcurate.scorers import lamdas, likelihood, perplexity, prefix_tuning
from jaxcurate.scoring import fitting, forward
from jaxcurate.types import Document, Prefix

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


def documents_of(texts, domain=None):
  return [Document(f'd{i}', text, domain) for i, text in enumerate(texts)]


def make(network, vocabulary=VOCABULARY, anchors=None, **settings):
  anchors = documents_of(['one text', 'two texts']) if not anchors else anchors
  return lamdas.make(
    network=network,
    vocabulary=vocabulary,
    anchors=anchors,
    **{'prefix_length': SLOTS, 'max_length': 16, **settings},
  )


def random_prefix(num=1, seed=0):
  shape = (num, LAYERS, SLOTS, KV_HEADS, HEAD_DIM)
  key, value = np.random.default_rng(seed).normal(size=(2, *shape))
  return {'key': np.float32(key), 'value': np.float32(value)}


def score_all(scorer, params, fitted, texts, vocabulary=VOCABULARY):
  """Columns of every document, through the engine's own pass."""
  tokens = vocabulary.encode_batch(texts)
  documents = scorer.features.examples(documents_of(texts), tokens)
  run = forward.Forward(
    scorer.features,
    (params, fitted),
    mesh_lib.make_mesh(None, jax.devices()[:1]),
  )
  flat = [example for examples in documents for example in examples]
  outputs, start, found = run(forward.prepare(scorer.features, flat)), 0, []
  for examples in documents:
    own = {k: v[start : start + len(examples)] for k, v in outputs.items()}
    start += len(examples)
    found.append(
      scorer.score(scorer.features.combine(own)) if examples else None
    )
  return found


# --- a slow float64 Llama with a prefix --------------------------------------


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


# --- the tests ----------------------------------------------------------------


def test_columns_by_hand(model):
  # Sums of -8, -6 and -7 with the prefixes, -10 without, over 4 tokens.
  anchors = [
    Document(f'{d}{i}', 'a text', d)
    for d in ('law', 'art', 'tea')
    for i in 'ab'
  ]
  scorer = make(model[0], anchors=anchors)
  found = scorer.score(
    {
      'with': np.array([-8.0, -6.0, -7.0]),
      'without': np.float64(-10.0),
      'count': np.float64(4.0),
    }
  )
  assert found == {
    'lamdas': 1.0,
    'lamdas/art': 0.5,
    'lamdas/law': 1.0,
    'lamdas/tea': 0.75,
    'lamdas/with': -6.0,
    'lamdas/without': -10.0,
    'lamdas/count': 4.0,
  }
  assert list(found) == list(scorer.columns)
  assert scorer.columns['lamdas'] == log_ratio.UNIT


@pytest.mark.parametrize('vocabulary', [VOCABULARY, WithBos()])
def test_agrees_with_a_slow_llama_in_float64(config, model, vocabulary):
  network, params = model
  fitted = random_prefix()
  scorer = make(network, vocabulary, max_length=64)
  found = score_all(scorer, params, fitted, TEXTS, vocabulary)
  own = jax.tree.map(lambda x: x[0], fitted)
  bos = [] if vocabulary.bos_id is None else [vocabulary.bos_id]
  for tokens, row in zip(vocabulary.encode_batch(TEXTS), found, strict=True):
    tokens = [*bos, *tokens]
    with_prefix = slow_log_prob(config, params, tokens, own)
    without = slow_log_prob(config, params, tokens)
    count = len(tokens) - 1
    assert row['lamdas/count'] == count
    assert row['lamdas/with'] == pytest.approx(with_prefix, rel=1e-5)
    assert row['lamdas/without'] == pytest.approx(without, rel=1e-5)
    ratio = (with_prefix - without) / count
    assert abs(ratio) > 0.02  # the prefix matters
    assert row['lamdas'] == pytest.approx(ratio, abs=1e-5)


def test_long_texts_add_windows_and_divide_once(config, model):
  network, params = model
  fitted, text = random_prefix(), 'abcdefgh, ijklmnop and so on'
  tokens = VOCABULARY.encode_batch([text])[0]
  own = jax.tree.map(lambda x: x[0], fitted)
  windows = [tokens[i : i + 11] for i in range(0, len(tokens) - 1, 10)]
  sums = [
    (slow_log_prob(config, params, w, own), slow_log_prob(config, params, w))
    for w in windows
  ]
  [row] = score_all(make(network, max_length=10), params, fitted, [text])
  total = np.sum(sums, axis=0)
  assert row['lamdas/count'] == len(tokens) - 1
  expected = (total[0] - total[1]) / (len(tokens) - 1)
  assert row['lamdas'] == pytest.approx(expected, abs=1e-5)
  scorer = make(network, max_length=10, long_texts='head')
  [head] = score_all(scorer, params, fitted, [text])
  assert head['lamdas/count'] == 10
  assert head['lamdas'] == pytest.approx(
    (sums[0][0] - sums[0][1]) / 10, abs=1e-5
  )


def test_a_masked_prefix_changes_nothing_at_all(model):
  network, params = model
  tokens = jnp.arange(3, 15, dtype=jnp.int32)[None]
  batch = {
    'decoder_input_tokens': tokens,
    'decoder_target_tokens': tokens + 1,
    'decoder_segment_ids': jnp.ones_like(tokens),
    'decoder_loss_weights': jnp.ones(tokens.shape),
  }
  fitted = jax.tree.map(lambda x: x[0], random_prefix())
  prefix = prefix_tuning.as_prefix(fitted)

  @jax.jit
  def read(prefix: Prefix | None):
    return likelihood.sums(network, params, batch, 1, prefix)['log_prob']

  nothing = prefix._replace(mask=jnp.zeros_like(prefix.mask))
  assert float((read(nothing) - read(None))[0, 0]) == 0.0
  assert float((read(prefix) - read(None))[0, 0]) != 0.0


def test_scores_do_not_depend_on_order_or_neighbours(model):
  network, params = model
  fitted, scorer = random_prefix(), make(network)
  together = score_all(scorer, params, fitted, TEXTS)
  backwards = score_all(scorer, params, fitted, TEXTS[::-1])[::-1]
  alone = [score_all(scorer, params, fitted, [text])[0] for text in TEXTS]
  for rows in zip(together, backwards, alone, strict=True):
    for row in rows[1:]:
      assert row['lamdas'] == pytest.approx(rows[0]['lamdas'], abs=1e-5)


def test_several_prefixes_in_one_pass_equal_one_at_a_time(model):
  network, params = model
  fitted = random_prefix(2)
  anchors = [Document(f'{d}{i}', 'a text', d) for d in 'xy' for i in range(2)]
  both = score_all(make(network, anchors=anchors), params, fitted, TEXTS)
  for index, name in enumerate('xy'):
    own = jax.tree.map(lambda leaf, i=index: leaf[i : i + 1], fitted)
    single = score_all(make(network), params, own, TEXTS)
    for row, rows in zip(single, both, strict=True):
      assert rows[f'lamdas/{name}'] == pytest.approx(row['lamdas'], abs=1e-5)
  for row in both:
    assert row['lamdas'] == max(row['lamdas/x'], row['lamdas/y'])
  one = make(network, anchors=anchors, by_domain=False)
  assert list(one.columns) == [
    'lamdas', 'lamdas/with', 'lamdas/without', 'lamdas/count',
  ]  # fmt: skip


def test_without_is_the_perplexity_of_the_same_tokens(model):
  network, params = model
  scorer = perplexity.make(
    network=network, vocabulary=VOCABULARY, max_length=16
  )
  plain = score_all(
    scorer._replace(
      features=scorer.features._replace(
        apply=lambda both, *rest: scorer.features.apply(both[0], *rest)
      )
    ),
    params,
    None,
    TEXTS,
  )
  rows = score_all(make(network), params, random_prefix(), TEXTS)
  for row, other in zip(rows, plain, strict=True):
    mean = row['lamdas/without'] / row['lamdas/count']
    assert mean == pytest.approx(other['perplexity'], rel=1e-6)


def test_costs_two_forward_passes():
  # The shape of Qwen2.5-0.5B, three of its layers; nothing is computed.
  network = decoder.make_network(
    decoder.DecoderConfig(
      vocab_size=151_936,
      embed_dim=896,
      num_heads=14,
      num_kv_heads=2,
      head_dim=64,
      mlp_dim=4864,
      num_layers=3,
      tied_head=True,
    )
  )
  scorer = make(network, max_length=512, prefix_length=30)
  params = jax.eval_shape(network.init, jax.random.key(0))
  prefix = jax.ShapeDtypeStruct((1, 3, 30, 2, 64), jnp.float32)
  batch = {
    f'decoder_{name}': jax.ShapeDtypeStruct((1, 512), dtype)
    for name, dtype in (
      ('input_tokens', jnp.int32),
      ('target_tokens', jnp.int32),
      ('segment_ids', jnp.int32),
      ('loss_weights', jnp.float32),
    )
  }
  one = flops.count_flops(
    lambda p, b: likelihood.sums(network, p, b, 1), params, batch
  )
  both = flops.count_flops(
    lambda p, b: scorer.features.apply(p, b, 1),
    (params, {'key': prefix, 'value': prefix}),
    batch,
  )
  assert 2.0 < both / one <= 2.05


def test_tuning_makes_the_reference_domain_stand_out(model):
  network = model[0]
  params = jax.jit(network.init)(jax.random.key(0))
  rng = np.random.default_rng(0)

  def texts(alphabet, count):
    return [''.join(rng.choice(list(alphabet), 14)) for _ in range(count)]

  scorer = make(
    network,
    anchors=documents_of(texts('abcd', 24)),
    learning_rate=0.03,
    epochs=4,
    held_out_share=0.25,
  )
  tools = fitting.make_tools(mesh_lib.make_mesh(None, jax.devices()[:1]), 0)
  fitted = scorer.fit(params, tools)
  assert fitted['key'].shape == (1, LAYERS, SLOTS, KV_HEADS, HEAD_DIM)
  near, far = (
    [
      row['lamdas']
      for row in score_all(scorer, params, fitted, texts(alphabet, 12))
    ]
    for alphabet in ('abcd', 'wxyz')
  )
  assert min(near) > 0.0
  assert np.mean(near) > 0.3 > max(far)
  again = scorer.fit(params, tools)
  np.testing.assert_array_equal(again['key'], fitted['key'])


def test_too_short_texts_have_no_score(model):
  network, params = model
  short = ['', 'x', 'xy']
  rows = score_all(make(network), params, random_prefix(), short)
  assert rows[:2] == [None, None]
  assert rows[2]['lamdas/count'] == 1
  vocabulary = WithBos()
  scorer = make(network, vocabulary)
  rows = score_all(scorer, params, random_prefix(), short, vocabulary)
  assert rows[0] is None
  assert [row['lamdas/count'] for row in rows[1:]] == [1, 2]


@pytest.mark.parametrize(
  'settings, message',
  [
    ({'prefix_length': 0}, 'prefix_length is 0'),
    ({'held_out_share': 1.0}, 'held_out_share is 1.0'),
    ({'long_texts': 'middle'}, "'head' or 'windows'"),
    ({'anchors': documents_of(['alone'])}, r'1 document\(s\), 1 with text'),
    ({'anchors': documents_of(['', ''])}, r'2 document\(s\), 0 with text'),
  ],
)
def test_bad_settings_are_explained(model, settings, message):
  with pytest.raises(ValueError, match=message):
    make(model[0], **settings)


def test_prefixes_of_others_are_refused(model):
  network, params = model
  with pytest.raises(ValueError, match='2 prefixes were fitted'):
    score_all(make(network), params, random_prefix(2), TEXTS)
  wide = jax.tree.map(lambda x: np.repeat(x, 2, axis=-1), random_prefix())
  with pytest.raises(ValueError, match='belongs to another network'):
    score_all(make(network), params, wide, TEXTS)
  with pytest.raises(ValueError, match='takes no prefix'):
    make(network._replace(prefix_shape=None))
