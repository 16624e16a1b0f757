"""Summaries: fitted over chunks and hosts, saved as they go, merged."""

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
