"""Drives a scorer's summary over embeddings, as the engine does."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.ops import ids as ids_lib


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
