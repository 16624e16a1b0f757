"""LAMDAS: the likelihood with a fitted prefix over the likelihood without."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.data.vocabulary import ByteVocabulary
from jaxcurate.models import decoder, forward, t5
from jaxcurate.models import mesh as mesh_lib
from jaxcurate.ops import log_ratio
from jaxcurate.scorers import lamdas, likelihood, perplexity, prefix_tuning
from jaxcurate.scoring import fitting
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
    params if fitted is None else (params, fitted),
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
  plain = score_all(scorer, params, None, TEXTS)
  rows = score_all(make(network), params, random_prefix(), TEXTS)
  for row, other in zip(rows, plain, strict=True):
    mean = row['lamdas/without'] / row['lamdas/count']
    assert mean == pytest.approx(other['perplexity'], rel=1e-6)


def test_t5_has_the_prefix_in_its_decoder():
  network = t5.make_network(
    t5.T5Config(
      vocab_size=VOCABULARY.size,
      embed_dim=16,
      num_heads=2,
      head_dim=8,
      mlp_dim=32,
      num_encoder_layers=1,
      num_decoder_layers=1,
    )
  )
  params = jax.jit(network.init)(jax.random.key(0))
  settings = {'network': network, 'vocabulary': VOCABULARY, 'max_length': 32}
  scorer = lamdas.make(anchors=documents_of(TEXTS), **settings)
  shape = (1, 1, SLOTS, 2, 8)
  prefix = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
  fitted = {'key': prefix[0], 'value': prefix[1]}
  rows = score_all(scorer, params, fitted, TEXTS)
  plain = score_all(perplexity.make(**settings), params, None, TEXTS)
  for row, other in zip(rows, plain, strict=True):
    mean = row['lamdas/without'] / row['lamdas/count']
    assert mean == pytest.approx(other['perplexity'], rel=1e-6)
    assert abs(row['lamdas']) > 1e-4


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
