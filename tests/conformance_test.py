"""Every method of gin_configs/methods is held to the contract of its kind.

A new method brings its own Gin file and is found here by it; nothing in this
file names a method.
"""

import functools
import importlib
import inspect
import json
import pathlib

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.data import readers
from jaxcurate.data.vocabulary import SentencePieceVocabulary
from jaxcurate.io import tables
from jaxcurate.models import decoder, partitioning, t5
from jaxcurate.models import mesh as mesh_lib
from jaxcurate.models.decoder_config import DecoderConfig
from jaxcurate.ops import ids as ids_lib
from jaxcurate.samplers.budget import parse_budget
from jaxcurate.scoring import run as scoring
from jaxcurate.types import Candidates, Signals

ROOT = pathlib.Path(__file__).parent.parent
METHODS = sorted(
  path.stem for path in (ROOT / 'gin_configs' / 'methods').glob('*.gin')
)


def modules(kind):
  """The methods of one kind that have a Gin file."""
  names = [
    name
    for name in METHODS
    if (ROOT / 'jaxcurate' / kind / f'{name}.py').exists()
  ]
  return [importlib.import_module(f'jaxcurate.{kind}.{name}') for name in names]


def kind_of(name):
  kinds = ('scorers', 'samplers', 'weightings')
  return [k for k in kinds if (ROOT / 'jaxcurate' / k / f'{name}.py').exists()]


def short(module):
  return module.__name__.rpartition('.')[2]


@pytest.mark.parametrize('name', METHODS)
def test_gin_file_stands_for_a_module(name):
  assert kind_of(name), f'methods/{name}.gin has no module'
  text = (ROOT / 'gin_configs' / 'methods' / f'{name}.gin').read_text()
  assert any(f'from jaxcurate.{kind} import {name}' in text
             for kind in kind_of(name))  # fmt: skip


# --- scorers -----------------------------------------------------------------


SHAPE = {'embed_dim': 16, 'num_heads': 2, 'head_dim': 8, 'mlp_dim': 32}
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
def model_of(small_vocabulary):
  """Kind -> (network, params, params of a second model, vocabulary)."""
  vocabulary = SentencePieceVocabulary(small_vocabulary)

  @functools.cache
  def make(kind):
    network = KINDS[kind](vocabulary.size)
    params = [
      jax.tree.map(lambda x: 2 * x, network.init(jax.random.key(seed)))
      for seed in (0, 1)
    ]
    return network, *params, vocabulary

  return make


def scorer_for(module, network, vocabulary, documents):
  """The scorer, given whatever else its `make` asks for by name."""
  offered = {
    'anchors': [d._replace(id=f'anchor-{d.id}') for d in documents[:4]],
    'sample': documents[4:12],
    'reference': network,
  }
  asked = inspect.signature(module.make).parameters
  given = {name: offered[name] for name in offered if name in asked}
  return module.make(network=network, vocabulary=vocabulary, **given)


@pytest.fixture(scope='module')
def corpus(tmp_path_factory):
  """Twenty documents in two row orders; one of them is only one token."""
  from pydoc_data import topics

  folder = tmp_path_factory.mktemp('corpus')
  texts = [text[:400] for text in list(topics.topics.values())[:20]]
  rows = [{'id': f'd{i}', 'text': text} for i, text in enumerate(texts)]
  rows[3]['text'] = 'a'
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
    corpus=readers.open_corpus([str(path)]),
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


def subtracts(scorer, column):
  """1 nat where a column is the difference of two log-likelihoods per token:
  it is rounded as they are, not as what is left of them."""
  return 1.0 if 'ratio' in scorer.columns[column] else 0.0


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('module', modules('scorers'), ids=short)
def test_scorer(module, kind, model_of, corpus, tmp_path):
  model = network, *_, vocabulary = model_of(kind)
  documents = list(readers.open_corpus([str(corpus / 'forward.jsonl')]).rows())
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
  variants = {
    'row order and blocks': {'path': 'backward.jsonl', 'block_rows': 7},
    'batch size': {'rows_per_batch': 5},
    'devices': {'devices': 8},
    'mesh': {'devices': 8, 'mesh': 'data=4,model=2'},
  }
  for column in base.values():
    known = np.isfinite(column)
    assert column.dtype == np.float32
    assert known.sum() >= 19
    assert len(np.unique(column[known])) > 10
  for index, (name, settings) in enumerate(variants.items()):
    path = corpus / settings.pop('path', 'forward.jsonl')
    # What was fitted once stays: only the pass over the corpus may vary.
    reuse = str(tmp_path / 'base') if scorer.fit else None
    other = scores(
      scorer, model, path, tmp_path / str(index), reuse=reuse, **settings
    )
    for column, values in base.items():
      np.testing.assert_allclose(
        other[column],
        values,
        rtol=1e-5,
        atol=1e-5 * (float(np.nanstd(values)) + subtracts(scorer, column)),
        err_msg=f'{column}: {name} changed it',
      )


# --- samplers ----------------------------------------------------------------


def candidates_of(size=60, unit='-log density'):
  rng = np.random.default_rng(1)
  ids = np.array([f'doc-{i}' for i in range(size)], object)
  return Candidates(
    id=ids,
    id_hash=ids_lib.hash_ids(ids),
    score=rng.normal(size=size).astype(np.float32),
    num_tokens=rng.integers(5, 50, size).astype(np.int32),
    domain=np.array([f'domain{i % 3}' for i in range(size)], object),
    unit=unit,
  )


def rows_of(candidates, rows):
  return Candidates(
    id=candidates.id[rows],
    id_hash=candidates.id_hash[rows],
    score=candidates.score[rows],
    num_tokens=candidates.num_tokens[rows],
    domain=candidates.domain[rows],
    unit=candidates.unit,
  )


@pytest.mark.parametrize('module', modules('samplers'), ids=short)
def test_sampler(module):
  pool = candidates_of()
  budget = parse_budget('18')
  first = module.sample(7, pool, budget)
  shuffled = rows_of(pool, np.random.default_rng(2).permutation(60))
  again = module.sample(7, shuffled, budget)
  assert sorted(first.id) == sorted(again.id)
  assert len(set(first.id)) == len(first.id)
  assert first.count.sum() == 18
  assert (first.expected_count > 0).all()
  tokens = dict(zip(pool.id, pool.num_tokens.tolist(), strict=True))
  kept = module.sample(7, pool, parse_budget('500t'))
  total = sum(tokens[i] for i in kept.id)
  assert abs(total - 500) < max(tokens.values())
  alone = rows_of(pool, np.arange(1))
  assert module.sample(7, alone, parse_budget('1')).id.tolist() == ['doc-0']


@pytest.mark.parametrize('module', modules('samplers'), ids=short)
@pytest.mark.parametrize('budget', ['18', '500t'])
def test_sampler_totals_are_unbiased(module, budget):
  pool = candidates_of()
  amount = parse_budget(budget)
  if module.sample(0, pool, amount).design == 'deterministic':
    assert (module.sample(0, pool, amount).expected_count == 1).all()
    return
  value = dict(zip(pool.id, pool.num_tokens.tolist(), strict=True))
  counts, totals = [], []
  for seed in range(1000):
    drawn = module.sample(seed, pool, amount)
    weight = drawn.count / drawn.expected_count
    counts.append(weight.sum())
    totals.append(sum(w * value[i] for w, i in zip(weight, drawn.id)))
  for found, truth in ((counts, 60), (totals, sum(value.values()))):
    error = np.std(found) / np.sqrt(len(found))
    assert abs(np.mean(found) - truth) <= 4 * error + 1e-9


# --- weightings --------------------------------------------------------------


def signals_of(needs, mask, seed=0, width=6):
  rng = np.random.default_rng(seed)
  size = len(mask)
  offered = {
    'loss': ('loss_E', jnp.asarray(rng.uniform(1, 5, size), jnp.float32)),
  } | {
    f'{side}_pooled': (
      f'{side}_pooled_ExD',
      jnp.asarray(rng.normal(size=(size, width)), jnp.float32),
    )
    for side in ('encoder', 'decoder')
  }
  fields = {field: value for name, (field, value) in offered.items()
            if name in needs}  # fmt: skip
  return Signals(mask_E=jnp.asarray(mask), step=jnp.int32(1), **fields)


@pytest.mark.parametrize('module', modules('weightings'), ids=short)
def test_weighting(module):
  weighting = module.make()
  mask = np.array([True] * 5 + [False] * 3)
  state = weighting.init(6)
  traces = []

  def counted(signals, state):
    traces.append(1)
    return weighting.update(signals, state)

  update = jax.jit(counted)
  if weighting.refresh is not None:
    anchors = signals_of(weighting.anchor_needs, np.ones(4, bool), seed=9)
    refresh = jax.jit(weighting.refresh)
    state = refresh(anchors, state)
    state = refresh(anchors, state)
    assert refresh._cache_size() == 1
  for seed in range(3):
    signals = signals_of(weighting.needs, mask, seed)
    weights, state, info = update(signals, state)
    assert weights.shape == (8,)
    assert np.isfinite(weights).all()
    assert (np.asarray(weights) >= 0).all()
    assert (np.asarray(weights)[~mask] == 0).all()
    assert (np.asarray(weights)[mask] > 0).any()
    assert all(np.shape(value) == () for value in info.values())
  assert len(traces) == 1
  flat = flax.serialization.to_bytes(state)
  restored = flax.serialization.from_bytes(state, flat)
  jax.tree.map(np.testing.assert_array_equal, state, restored)


@pytest.mark.parametrize('module', modules('weightings'), ids=short)
def test_weighting_ignores_masked_rows_and_row_order(module):
  weighting = module.make()
  mask = np.array([True] * 5 + [False] * 3)
  state = weighting.init(6)
  if weighting.refresh is not None:
    anchors = signals_of(weighting.anchor_needs, np.ones(4, bool), seed=9)
    state = weighting.refresh(anchors, state)
  signals = signals_of(weighting.needs, mask)
  weights, _, _ = weighting.update(signals, state)
  order = np.random.default_rng(3).permutation(8)
  spoiled = jax.tree.map(
    lambda x: (
      jnp.where(mask.reshape(-1, *[1] * (x.ndim - 1)), x, 1e30)[order]
      if x.ndim and x.dtype != bool
      else (x[order] if x.ndim else x)
    ),
    signals,
  )
  moved, _, _ = weighting.update(spoiled, state)
  np.testing.assert_allclose(moved, weights[order], rtol=1e-6)
