"""Every method of gin_configs/methods is held to the contract of its kind.

A new method brings its own Gin file and is found here by it; nothing in this
file names a method. Scorers: conformance_scorers_test.py; mixtures:
conformance_mixtures_test.py.
"""

import dataclasses
import functools
import importlib
import pathlib
from typing import Any

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.ops import ids as ids_lib
from jaxcurate.ops.dense_gradients import DenseGradients
from jaxcurate.samplers.budget import parse_budget
from jaxcurate.types import (
  Candidates,
  Preconditioner,
  Signals,
  TrainingShapes,
)

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
  kinds = ('scorers', 'samplers', 'mixtures', 'weightings')
  return [k for k in kinds if (ROOT / 'jaxcurate' / k / f'{name}.py').exists()]


def short(module):
  return module.__name__.rpartition('.')[2]


@pytest.mark.parametrize('name', METHODS)
def test_gin_file_stands_for_a_module(name):
  assert kind_of(name), f'methods/{name}.gin has no module'
  text = (ROOT / 'gin_configs' / 'methods' / f'{name}.gin').read_text()
  assert any(f'from jaxcurate.{kind} import {name}' in text
             for kind in kind_of(name))  # fmt: skip


# --- samplers ----------------------------------------------------------------


def candidates_of(size=60, unit='-log density'):
  rng = np.random.default_rng(1)
  ids = np.array([f'doc-{i}' for i in range(size)], object)
  return Candidates(
    id=ids,
    id_hash=ids_lib.hash_ids(ids),
    score=-np.abs(rng.normal(size=size)).astype(np.float32),
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
  pool = candidates_of(unit=getattr(module, 'UNIT', '-log density'))
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
  pool = candidates_of(unit=getattr(module, 'UNIT', '-log density'))
  amount = parse_budget(budget)
  if module.sample(0, pool, amount).design == 'deterministic':
    assert (module.sample(0, pool, amount).expected_count == 1).all()
    return
  value = dict(zip(pool.id, pool.num_tokens.tolist(), strict=True))
  counts, totals = [], []
  for seed in range(400):
    drawn = module.sample(seed, pool, amount)
    weight = drawn.count / drawn.expected_count
    counts.append(weight.sum())
    totals.append(sum(w * value[i] for w, i in zip(weight, drawn.id)))
  for found, truth in ((counts, 60), (totals, sum(value.values()))):
    error = np.std(found) / np.sqrt(len(found))
    assert abs(np.mean(found) - truth) <= 4 * error + 1e-9


# --- weightings --------------------------------------------------------------


WIDTH, TOKENS = 6, 4
SHAPES = TrainingShapes(
  WIDTH,
  {'kernel': jax.ShapeDtypeStruct((3, 2), jnp.float32)},
  domains=('web', 'books'),
  anchor_domains=('qa', 'code'),
)


def signals_of(needs, mask, seed=0):
  """Random signals, those that are asked for."""
  rng = np.random.default_rng(seed)
  size = len(mask)

  def normal(*shape):
    return jnp.asarray(rng.normal(size=shape), jnp.float32)

  def losses(*shape):
    return jnp.asarray(rng.uniform(1, 5, shape), jnp.float32)

  offered = {
    'loss': {'loss_E': losses(size)},
    'reference_loss': {'reference_loss_E': losses(size)},
    'token_loss': {
      'token_loss_BxT': losses(size, TOKENS),
      'target_mask_BxT': jnp.asarray(np.repeat(mask[:, None], TOKENS, 1)),
    },
    'reference_token_loss': {'reference_token_loss_BxT': losses(size, TOKENS)},
    'encoder_pooled': {'encoder_pooled_ExD': normal(size, WIDTH)},
    'decoder_pooled': {'decoder_pooled_ExD': normal(size, WIDTH)},
    'domain': {'domain_E': jnp.asarray(np.arange(size) % 2, jnp.int32)},
    'score': {'score_E': normal(size)},
    'gradients': {
      'gradients': DenseGradients(
        {
          'kernel': jnp.where(
            mask[:, None, None], normal(size, 3, 2) + 0.5, 0.0
          )
        }
      )
    },
    'mean_gradient': {'mean_gradient': {'kernel': normal(3, 2) ** 2}},
    'mean_loss': {'mean_loss': jnp.float32(3)},
    'preconditioner': {
      'preconditioner': Preconditioner(
        scale={'kernel': jnp.abs(normal(3, 2)) + 0.1},
        momentum={'kernel': normal(3, 2)},
        momentum_decay=jnp.float32(0.9),
        learning_rate=jnp.float32(0.1),
        updates=jnp.int32(1000),
      )
    },
    'batch': {
      'batch': {
        'decoder_segment_ids': jnp.asarray(
          np.repeat(mask[:, None], TOKENS, 1), jnp.int32
        )
      }
    },
  }
  fields = {k: v for name in needs for k, v in offered[name].items()}
  return Signals(mask_E=jnp.asarray(mask), step=jnp.int32(1), **fields)


def reordered(signals, order, mask):
  """The examples in another order, spoiled where they are masked."""

  def move(name, value):
    if value is None or not (
      name.endswith(('_E', '_ExD', '_BxT')) or name in ('gradients', 'batch')
    ):
      return value

    def leaf(x):
      if jnp.issubdtype(x.dtype, jnp.floating) and name != 'gradients':
        x = jnp.where(mask.reshape(-1, *[1] * (x.ndim - 1)), x, 1e30)
      return x[order]

    return jax.tree.map(leaf, value)

  return type(signals)(
    **{
      field.name: move(field.name, getattr(signals, field.name))
      for field in dataclasses.fields(signals)
    }
  )


@functools.cache
def prepared(module):
  """(weighting, jitted update, its traces, state before the first step)."""
  weighting, traces = module.make(), []

  def counted(signals, state):
    traces.append(1)
    return weighting.update(signals, state)

  state = weighting.init(SHAPES)
  if weighting.refresh is not None:
    anchors = signals_of(weighting.anchor_needs, np.ones(4, bool), seed=9)
    refresh: Any = jax.jit(weighting.refresh)
    state = refresh(anchors, refresh(anchors, state))
    assert refresh._cache_size() == 1
  return weighting, jax.jit(counted), traces, state


MASK = np.array([True] * 5 + [False] * 3)


@pytest.mark.parametrize('module', modules('weightings'), ids=short)
def test_weighting(module):
  weighting, update, traces, state = prepared(module)
  for seed in range(3):
    signals = signals_of(weighting.needs, MASK, seed)
    weights, state, info = update(signals, state)
    assert weights.shape in ((8,), (8, TOKENS))
    assert np.isfinite(weights).all()
    assert (np.asarray(weights) >= 0).all()
    assert (np.asarray(weights)[~MASK] == 0).all()
    assert (np.asarray(weights)[MASK] > 0).any()
    assert all(np.shape(value) == () for value in info.values())
  assert len(traces) == 1
  flat = flax.serialization.to_bytes(state)
  restored = flax.serialization.from_bytes(state, flat)
  jax.tree.map(np.testing.assert_array_equal, state, restored)


@pytest.mark.parametrize('module', modules('weightings'), ids=short)
def test_weighting_ignores_masked_rows_and_row_order(module):
  weighting, update, _, state = prepared(module)
  signals = signals_of(weighting.needs, MASK)
  weights, _, _ = update(signals, state)
  order = np.random.default_rng(3).permutation(8)
  moved, _, _ = update(reordered(signals, order, MASK), state)
  np.testing.assert_allclose(moved, weights[order], rtol=1e-5)
