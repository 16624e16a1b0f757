"""Summaries: fitted over chunks and hosts, saved as they go, merged."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.data.vocabulary import ByteVocabulary
from jaxcurate.io import tables
from jaxcurate.io.errors import UserError
from jaxcurate.scoring import engine, parts, summaries


def first_pass(toy, corpus, scratch, scorers, num_shards=1):
  for shard in range(num_shards):
    engine.score_corpus(
      corpus=corpus,
      scorers=scorers,
      vocabulary=ByteVocabulary(),
      params={s.features.name: toy.params for s in scorers},
      mesh=toy.one_device(),
      output=scratch,
      block_rows=8,
      chunk_seconds=0.0,
      shard=shard,
      num_shards=num_shards,
    )


def finish(scratch, output, scorers, **settings):
  diagnostics, cost = summaries.finish(
    scratch=scratch, output=output, scorers=scorers, **settings
  )
  assert cost['above'] > 0
  return diagnostics


def column(output, name='above'):
  """id -> value."""
  found = {}
  for part in parts.committed(output):
    table = tables.read_parquet(output / part.name, ['id', name])
    ids = table.column('id').to_pylist()
    found |= dict(zip(ids, table.column(name).to_pylist(), strict=True))
  return found


@pytest.fixture
def single(toy, corpus, tmp_path):
  """Scorers, scratch, final column and diagnostics of one host."""
  scorers = [toy.mean(), toy.above()]
  scratch = tmp_path / 'scratch'
  first_pass(toy, corpus, scratch, scorers)
  diagnostics = finish(scratch, tmp_path / 'one', scorers)
  return scorers, scratch, column(tmp_path / 'one'), diagnostics


def test_scores_are_those_of_the_whole_corpus(single, texts, tmp_path):
  _, _, found, diagnostics = single
  tokens = {i: [b + 3 for b in t.encode()] for i, t in texts.items()}
  mean = 0.5 * np.mean([t for own in tokens.values() for t in own])
  expected = {i: 0.5 * np.mean(own) - mean for i, own in tokens.items()}
  assert found == pytest.approx(expected, abs=1e-3)
  assert diagnostics['above']['documents'] == 60
  means = column(tmp_path / 'one', 'mean')  # carried over from the first pass
  assert means == pytest.approx({i: v + mean for i, v in expected.items()})


def test_two_hosts_merge_to_the_same(toy, corpus, single, tmp_path):
  scorers, _, expected, diagnostics = single
  scratch, output = tmp_path / 'shared', tmp_path / 'two'
  first_pass(toy, corpus, scratch, scorers, num_shards=2)
  with pytest.raises(UserError, match='host 1 of 2 has not finished'):
    finish(scratch, output, scorers, shard=0, num_shards=2)
  second = finish(scratch, output, scorers, shard=1, num_shards=2)
  half = column(output)
  assert 0 < len(half) < len(expected)
  first = finish(scratch, output, scorers, shard=0, num_shards=2)
  assert first == second == diagnostics
  assert column(output) == pytest.approx(expected, abs=1e-5)


def test_interrupted_fit_goes_on_where_it_was(single, tmp_path, monkeypatch):
  scorers, scratch, expected, _ = single
  monkeypatch.setattr(summaries, '_SAVE_SECONDS', 0.0)
  next(scratch.glob('summary-*')).unlink()
  seen, stops = [], [('fit', 3), ('score', 2)]

  def stop(stage, done, total):
    seen.append((stage, done))
    if (stage, done) == stops[0]:
      stops.pop(0)
      raise InterruptedError

  for _ in range(2):
    with pytest.raises(InterruptedError):
      finish(scratch, tmp_path / 'out', scorers, on_part=stop)
  assert seen[:3] == [('fit', 1), ('fit', 2), ('fit', 3)]
  assert seen[3] == ('fit', 3)  # two were saved; the third is done again
  kept = {p: p.stat().st_mtime_ns for p in (tmp_path / 'out').glob('part-*')}
  assert len(kept) == 2
  finish(scratch, tmp_path / 'out', scorers)
  assert all(p.stat().st_mtime_ns == time for p, time in kept.items())
  assert column(tmp_path / 'out') == expected


def test_sample_is_that_of_the_smallest_hashes(toy, corpus, single, tmp_path):
  _, _, _, diagnostics = single
  scorers = [toy.above(sample_size=60)]
  scratch = tmp_path / 'again'
  first_pass(toy, corpus, scratch, scorers)
  everything = finish(scratch, tmp_path / 'out', scorers)['above']['sample']
  assert len(everything) == 60
  assert len(diagnostics['above']['sample']) == 5
  assert set(diagnostics['above']['sample']) <= set(everything)


def test_a_summary_that_looks_once(toy, corpus, tmp_path):
  scorer = toy.above()
  scorer = scorer._replace(
    summary=scorer.summary._replace(
      update=None,
      init=lambda sample, num_documents: {
        'total': sample['embedding'].sum(axis=0),
        'documents': num_documents,
        'sample': sample['embedding'][:, 0],
      },
    )
  )
  first_pass(toy, corpus, tmp_path / 'scratch', [scorer])
  finish(tmp_path / 'scratch', tmp_path / 'out', [scorer])
  found = column(tmp_path / 'out')
  assert len(found) == 60 and np.isfinite(list(found.values())).all()
  assert not list((tmp_path / 'scratch').glob('summary-*'))


def test_a_summary_that_needs_a_fit_and_no_sample(toy, corpus, tmp_path):
  scorer = toy.above()
  seen = []

  def init(features, num_documents):
    seen.append(set(features))
    return {
      'total': features['fitted']['start'],
      'documents': np.float32(num_documents),
      'sample': np.zeros(0, np.float32),
    }

  scorer = scorer._replace(
    summary=scorer.summary._replace(sample_size=0, init=init)
  )
  first_pass(toy, corpus, tmp_path / 'scratch', [scorer])
  base = np.array([500.0, 20.0], np.float32)
  finish(
    tmp_path / 'scratch',
    tmp_path / 'out',
    [scorer],
    fitted={'sums': {'start': base}, 'other pass': {}},
  )
  assert seen == [{'fitted'}]
  found = column(tmp_path / 'out')
  next((tmp_path / 'scratch').glob('summary-*')).unlink()
  finish(tmp_path / 'scratch', tmp_path / 'plain', [toy.above()])
  plain = column(tmp_path / 'plain')
  shifts = [found[i] - plain[i] for i in found]
  assert np.ptp(shifts) < 1e-4 and abs(shifts[0]) > 1e-3


def test_finish_runs_once_after_the_whole_corpus(toy, corpus, tmp_path):
  scorer = toy.above()
  twice = scorer._replace(
    summary=scorer.summary._replace(
      finish=lambda state: {
        **state,
        'total': state['total'] * np.float32([2, 1]),
      }
    )
  )
  columns = []
  for name, own in (('once', scorer), ('twice', twice)):
    first_pass(toy, corpus, tmp_path / name, [own])
    finish(tmp_path / name, tmp_path / f'out-{name}', [own])
    columns.append(column(tmp_path / f'out-{name}'))
  differences = {round(columns[0][i] - columns[1][i], 3) for i in columns[0]}
  assert len(differences) == 1
  assert differences.pop() > 1


def test_bfloat16_vectors_are_kept_at_two_bytes(toy, corpus, tmp_path):
  features = toy.sums()

  def apply(params, batch, num_segments):
    found = features.apply(params, batch, num_segments)['embedding']
    many = jnp.concatenate([found, jnp.ones((*found.shape[:2], 510))], axis=-1)
    return {'embedding': many.astype(jnp.bfloat16)}

  def update(state, batch):
    assert batch['embedding'].dtype == jnp.float32
    total = batch['mask'].astype(jnp.float32) @ batch['embedding'][:, :2]
    return {**state, 'total': state['total'] + total}

  combine = lambda out: {'embedding': out['embedding'][0]}  # noqa: E731
  scorer = toy.above(features._replace(apply=apply, combine=combine))
  scorer = scorer._replace(summary=scorer.summary._replace(update=update))
  first_pass(toy, corpus, tmp_path / 'scratch', [scorer])
  finish(tmp_path / 'scratch', tmp_path / 'out', [scorer])
  known = [v for v in column(tmp_path / 'out').values() if v is not None]
  assert len(known) == 60 and np.ptp(known) > 1
  for part in parts.committed(tmp_path / 'scratch'):
    stored = tables.read_parquet(tmp_path / 'scratch' / part.name, ['sums'])
    assert stored.nbytes == part.num_rows * 512 * 2


def test_documents_without_vectors_have_no_score(toy, corpus, tmp_path):
  features = toy.sums()
  inner = features.examples

  def examples(documents, tokens):
    found = inner(documents, tokens)
    return [[] if d.id.endswith('3') else e for d, e in zip(documents, found)]

  scorer = toy.above(features._replace(examples=examples))
  first_pass(toy, corpus, tmp_path / 'scratch', [scorer])
  finish(tmp_path / 'scratch', tmp_path / 'out', [scorer])
  for id_, value in column(tmp_path / 'out').items():
    assert (value is None) == id_.endswith('3')


def test_nothing_to_summarise_is_said(toy, corpus, tmp_path):
  with pytest.raises(UserError, match='no document to summarise'):
    finish(tmp_path / 'empty', tmp_path / 'out', [toy.above()])
  none = toy.sums()._replace(examples=lambda ids, *_: [[] for _ in ids])
  scorer = toy.above(none)
  first_pass(toy, corpus, tmp_path / 'scratch', [scorer])
  with pytest.raises(UserError, match='no document has a vector for sums'):
    finish(tmp_path / 'scratch', tmp_path / 'out', [scorer])
