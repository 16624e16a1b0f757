"""The pass over a corpus: shared by scorers and hosts, stopped at any time."""

import dataclasses
import signal
import threading

import numpy as np
import pytest

from jaxcurate.data.vocabulary import ByteVocabulary
from jaxcurate.io import tables
from jaxcurate.io.errors import UserError
from jaxcurate.scoring import engine, parts


def score(toy, corpus, output, scorers, **settings):
  return engine.score_corpus(
    corpus=corpus,
    scorers=scorers,
    vocabulary=ByteVocabulary(),
    params={s.features.name: toy.params for s in scorers},
    mesh=toy.one_device(),
    output=output,
    **{'block_rows': 8, 'chunk_seconds': 0.0, **settings},
  )


def read(output, found, *columns):
  """id -> the values of the columns."""
  rows = {}
  for part in found:
    table = tables.read_parquet(output / part.name, ['id', *columns])
    values = [table.column(name).to_pylist() for name in columns]
    ids = table.column('id').to_pylist()
    rows |= dict(zip(ids, zip(*values, strict=True), strict=True))
  return rows


def test_scorers_with_equal_features_share_one_pass(toy, corpus, tmp_path):
  traced = []
  features = toy.sums(traced=traced)
  same = toy.sums(traced=traced)  # another object of the same name
  found = score(
    toy, corpus, tmp_path, [toy.mean('a', features), toy.mean('b', same)]
  )
  alone = score(toy, corpus, tmp_path / 'alone', [toy.mean('a')])
  # Traced for the devices and once, with a single row, for its cost.
  assert sorted(traced) == [1, 2]
  assert [p.flops for p in found] == [p.flops for p in alone]
  assert all(set(p.flops) == {'sums'} for p in found)
  for one, other in read(tmp_path, found, 'a', 'b').values():
    assert one == other


def test_scorers_with_other_features_run_their_own(toy, corpus, tmp_path):
  scorers = [toy.mean('a'), toy.mean('b', toy.sums('other'))]
  found = score(toy, corpus, tmp_path, scorers)
  assert all(set(p.flops) == {'sums', 'other'} for p in found)
  assert all(p.flops['sums'] == p.flops['other'] > 0 for p in found)


def test_features_of_a_summary_are_kept_beside_the_scores(
  toy, corpus, tmp_path
):
  found = score(toy, corpus, tmp_path, [toy.mean(), toy.above()])
  for mean, (total, count) in read(tmp_path, found, 'mean', 'sums').values():
    assert mean == pytest.approx(total / count)


@pytest.mark.parametrize('num_shards', [2, 3])
def test_hosts_share_the_blocks(toy, corpus, texts, tmp_path, num_shards):
  whole = score(toy, corpus, tmp_path / 'one', [toy.mean()])
  for shard in range(num_shards):
    found = score(
      toy, corpus, tmp_path / 'all', [toy.mean()],
      shard=shard, num_shards=num_shards,
    )  # fmt: skip
  assert [p.name for p in found] == [p.name for p in whole]
  assert read(tmp_path / 'all', found, 'mean') == read(
    tmp_path / 'one', whole, 'mean'
  )
  assert sum(p.num_rows for p in found) == len(texts)


def test_progress_counts_documents_and_tokens(toy, corpus, texts, tmp_path):
  seen = []
  score(toy, corpus, tmp_path, [toy.mean()], on_progress=seen.append)
  assert seen[-1].documents == len(texts)
  assert seen[-1].tokens == sum(len(t.encode()) for t in texts.values())
  assert [p.file for p in (seen[0], seen[-1])] == ['0.jsonl', '1.jsonl']


def test_interruption_commits_at_once_while_the_input_hangs(
  toy, corpus, tmp_path
):
  hangs, go_on = threading.Event(), threading.Event()
  [source, *_] = corpus.sources

  def read_slowly(plan):
    for row, raw in source.read(plan):
      if row == 16:
        hangs.set()
        go_on.wait()
      yield row, raw

  slow = dataclasses.replace(source, read=read_slowly)

  def interrupt(progress):
    hangs.wait()  # one block is scored, the next will never be whole
    main = threading.main_thread().ident
    threading.Timer(0.1, signal.pthread_kill, (main, signal.SIGINT)).start()

  with pytest.raises(KeyboardInterrupt):
    score(
      toy,
      dataclasses.replace(corpus, sources=(slow,)),
      tmp_path,
      [toy.mean()],
      chunk_seconds=1e9,
      on_progress=interrupt,
    )
  assert not go_on.is_set()
  go_on.set()
  [part] = parts.committed(tmp_path)
  assert (part.start, part.end, part.num_rows) == (0, 8, 8)


def broken(features):
  """The same features, NaN for documents whose first token is an a."""

  def combine(out):
    found = features.combine(out)['embedding']
    return {'embedding': np.where(found[1] % 2 == 0, np.nan, found)}

  return features._replace(combine=combine)


@pytest.mark.parametrize('kind', ['mean', 'above'])
def test_a_score_that_is_nan_is_refused_or_left_out(
  toy, corpus, tmp_path, kind
):
  scorer = getattr(toy, kind)(features=broken(toy.sums()))
  with pytest.raises(UserError, match=r'0\.jsonl: id .* is nan.*on_bad_row'):
    score(toy, corpus, tmp_path / 'stop', [scorer])
  skipping = dataclasses.replace(corpus, on_bad_row='skip')
  found = score(toy, skipping, tmp_path / 'skip', [scorer])
  column = 'mean' if kind == 'mean' else 'sums'
  values = read(tmp_path / 'skip', found, column)
  assert len(values) == 60
  flat = [np.ravel(v)[0] for (v,) in values.values()]
  assert 10 < sum(v is None or np.isnan(v) for v in flat) < 50


def test_a_document_without_examples_has_no_score(toy, corpus, tmp_path):
  features = toy.sums()
  inner = features.examples

  def examples(documents, tokens):
    found = inner(documents, tokens)
    return [e if d.id.endswith('7') else [] for d, e in zip(documents, found)]

  some = features._replace(examples=examples)
  found = score(
    toy, corpus, tmp_path, [toy.mean(features=some), toy.above(some)]
  )
  for id_, (mean, sums) in read(tmp_path, found, 'mean', 'sums').items():
    assert (mean is not None) == id_.endswith('7')
    assert np.isfinite(sums).all() == id_.endswith('7')
