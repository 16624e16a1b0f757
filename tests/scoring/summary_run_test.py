"""Runs with a scorer that first summarises the corpus."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.types import Scorer, Summary


def rank_of_mean(small):
  """A summary: how far a document's mean lies above the corpus's."""
  base = small.mean_byte()

  def apply(params, batch, num_segments):
    out = base.features.apply(params, batch, num_segments)
    return {
      'embedding': jnp.stack([out['sum'], out['count']], axis=-1),
    }

  summary = Summary(
    sample_size=5,
    init=lambda sample, num_documents: {
      'total': jnp.zeros(2),
      'documents': jnp.float32(num_documents),
      'sample': sample['embedding'],
    },
    update=lambda state, f: {
      **state,
      'total': state['total'] + f['mask'].astype(jnp.float32) @ f['embedding'],
    },
    merge=lambda a, b: {**a, 'total': a['total'] + b['total']},
    score=lambda state, f: {
      'above': f['embedding'][:, 0] / jnp.maximum(f['embedding'][:, 1], 1)
      - state['total'][0] / state['total'][1]
    },
    diagnose=lambda state: {
      'documents': float(state['documents']),
      'sample': np.asarray(state['sample']).tolist(),
    },
  )
  features = base.features._replace(
    name='sums',
    apply=apply,
    combine=lambda out: {'embedding': out['embedding'].sum(axis=0)},
  )
  return Scorer(
    columns={'above': 'bytes above the mean'},
    features=features,
    summary=summary,
  )


def test_summary_sees_the_whole_corpus_and_leaves_no_scratch(tmp_path, small):
  texts = small.write_corpus(tmp_path / 'in')
  manifest = small.run(
    tmp_path / 'in',
    tmp_path / 'out',
    scorers=[small.mean_byte(), rank_of_mean(small)],
  )
  ids, columns, _ = small.read(tmp_path / 'out')
  corpus = 0.5 * np.mean([b + 3 for t in texts.values() for b in t.encode()])
  np.testing.assert_allclose(
    columns['above'],
    [small.expected(texts[i]) - corpus for i in ids],
    atol=1e-4,
  )
  np.testing.assert_allclose(
    columns['mean_byte'], [small.expected(texts[i]) for i in ids], rtol=1e-6
  )
  assert manifest['diagnostics']['above']['documents'] == 100
  cost = manifest['cost']
  assert set(cost['columns']) == {'mean_byte', 'above'}
  assert cost['flops'] == pytest.approx(sum(cost['columns'].values()))
  names = {p.name for p in (tmp_path / 'out').iterdir()}
  assert not [name for name in names if name.startswith('.')]


def test_summary_sample_does_not_depend_on_the_chunks(tmp_path, small):
  small.write_corpus(tmp_path / 'in')
  scorers = [rank_of_mean(small)]
  one = small.run(tmp_path / 'in', tmp_path / 'a', scorers=scorers)
  two = small.run(
    tmp_path / 'in',
    tmp_path / 'b',
    scorers=scorers,
    chunk_seconds=1e9,
    block_rows=32,
  )
  assert (
    one['diagnostics']['above']['sample']
    == two['diagnostics']['above']['sample']
  )
