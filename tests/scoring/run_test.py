"""The engine: every row once, in any order of interruption, on any mesh."""

import gzip
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.data import readers
from jaxcurate.data.vocabulary import ByteVocabulary
from jaxcurate.io import manifest as manifests
from jaxcurate.io import tables
from jaxcurate.io.errors import UserError
from jaxcurate.models import mesh as mesh_lib
from jaxcurate.ops import segments
from jaxcurate.scoring import parts as parts_lib
from jaxcurate.scoring import run as scoring
from jaxcurate.types import Features, Scorer, Summary

VOCABULARY = ByteVocabulary()
PARAMS = {'scale': jnp.float32(0.5)}


def mean_byte(name='mean_byte', width=24, columns=('mean_byte',)):
  """Mean byte of a text, over windows: a scorer small enough to check."""

  def examples(ids, texts, tokens):
    return [
      [
        {'encoder': np.array(document[i : i + width], np.int32)}
        for i in range(0, len(document), width)
      ]
      for document in tokens
    ]

  def apply(params, batch, num_segments):
    ids = batch['encoder_segment_ids']
    real = (ids > 0).astype(jnp.float32)
    tokens = batch['encoder_input_tokens'] * params['scale']
    return {
      'sum': segments.segment_sum(tokens * real, ids, num_segments),
      'count': segments.segment_sum(real, ids, num_segments),
    }

  features = Features(
    name=name,
    examples=examples,
    encoder_length=width,
    decoder_length=0,
    apply=apply,
    combine=lambda out: {k: v.sum(dtype=np.float64) for k, v in out.items()},
  )
  return Scorer(
    columns=dict.fromkeys(columns, 'bytes'),
    features=features,
    score=lambda out: {c: out['sum'] / out['count'] for c in columns},
  )


def expected(text):
  return 0.5 * np.mean([byte + 3 for byte in text.encode()])


def write_corpus(folder, num_rows=50):
  rng = np.random.default_rng(0)
  texts = {}
  folder.mkdir(exist_ok=True)
  for file in range(2):
    lines = []
    for row in range(num_rows):
      size = int(rng.integers(1, 60))
      text = 'x' + ''.join(rng.choice(list('abc é\n'), size))
      texts[f'{file}.jsonl:{row}'] = text
      lines.append(json.dumps({'text': text, 'domain': f'd{row % 3}'}))
    (folder / f'{file}.jsonl').write_text('\n'.join(lines) + '\n')
  return texts


def run(corpus_folder, output, *, scorers=None, devices=1, **settings):
  settings = {'block_rows': 8, 'chunk_seconds': 0.0, **settings}
  return scoring.score(
    corpus=readers.open_corpus([str(corpus_folder / '*.jsonl')]),
    scorers=scorers or [mean_byte()],
    vocabulary=VOCABULARY,
    params=PARAMS,
    mesh=mesh_lib.make_mesh(None, jax.devices()[:devices]),
    output=output,
    settings={'x': 1},
    **settings,
  )


def read(output):
  table, _ = tables.read_score_table([str(output)])
  order = np.argsort(table.id)
  columns = {name: column[order] for name, column in table.scores.items()}
  return table.id[order].tolist(), columns, table


def test_every_row_is_scored_once(tmp_path):
  texts = write_corpus(tmp_path / 'in')
  manifest = run(tmp_path / 'in', tmp_path / 'out')
  ids, columns, table = read(tmp_path / 'out')
  assert ids == sorted(texts)
  np.testing.assert_allclose(
    columns['mean_byte'], [expected(texts[i]) for i in ids], rtol=1e-6
  )
  lengths = dict(zip(table.id, table.num_tokens, strict=True))
  assert all(lengths[i] == len(texts[i].encode()) for i in ids)
  assert manifest['num_rows'] == 100
  assert manifest['columns'] == {'mean_byte': 'bytes'}
  assert 0 <= manifest['diagnostics']['padding_share'] < 0.5
  assert manifest['cost']['flops'] > 0


def test_examples_are_the_extremes_with_their_text(tmp_path):
  texts = write_corpus(tmp_path / 'in')
  run(tmp_path / 'in', tmp_path / 'out')
  lines = (tmp_path / 'out' / 'examples.jsonl').read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  assert len(rows) == 40
  for side, sign in (('high', -1), ('low', 1)):
    own = [row for row in rows if row['side'] == side]
    best = sorted(sign * expected(text) for text in texts.values())[:20]
    np.testing.assert_allclose(
      [sign * r['score'] for r in own], best, rtol=1e-6
    )
    assert all(row['text'] == texts[row['id']][:600] for row in own)


class Stop(Exception):
  pass


@pytest.mark.parametrize('after', [1, 3, 9])
def test_interrupted_run_continues_to_the_same_table(tmp_path, after):
  write_corpus(tmp_path / 'in')
  run(tmp_path / 'in', tmp_path / 'whole')
  seen = []

  def stop(progress):
    seen.append(progress)
    if len(seen) == after:
      raise Stop

  with pytest.raises(Stop):
    run(tmp_path / 'in', tmp_path / 'out', on_progress=stop)
  kept = parts_lib.committed(tmp_path / 'out')
  assert sum(part.num_rows for part in kept) >= 8 * after - 8
  assert not (tmp_path / 'out' / 'manifest.json').exists()
  again = []
  run(tmp_path / 'in', tmp_path / 'out', on_progress=again.append)
  assert again[-1].documents == 100 - sum(part.num_rows for part in kept)
  for one, two in zip(read(tmp_path / 'out'), read(tmp_path / 'whole')):
    if isinstance(one, dict):
      np.testing.assert_array_equal(one['mean_byte'], two['mean_byte'])
    elif isinstance(one, list):
      assert one == two


def test_finished_table_is_left_alone(tmp_path):
  write_corpus(tmp_path / 'in')
  run(tmp_path / 'in', tmp_path / 'out')
  files = {p: p.stat().st_mtime_ns for p in (tmp_path / 'out').iterdir()}
  run(tmp_path / 'in', tmp_path / 'out')
  assert files == {
    p: p.stat().st_mtime_ns for p in (tmp_path / 'out').iterdir()
  }


def test_other_settings_in_the_same_folder_are_refused(tmp_path):
  write_corpus(tmp_path / 'in')
  run(tmp_path / 'in', tmp_path / 'out')
  with pytest.raises(UserError, match='block_rows: 8 there, 16 now'):
    run(tmp_path / 'in', tmp_path / 'out', block_rows=16)


def test_one_and_eight_devices_agree(tmp_path):
  write_corpus(tmp_path / 'in')
  run(tmp_path / 'in', tmp_path / 'one')
  run(tmp_path / 'in', tmp_path / 'eight', devices=8)
  one, eight = read(tmp_path / 'one')[1], read(tmp_path / 'eight')[1]
  np.testing.assert_allclose(one['mean_byte'], eight['mean_byte'], rtol=1e-6)


def test_bad_row_stops_with_its_place_and_keeps_what_was_done(tmp_path):
  write_corpus(tmp_path / 'in', num_rows=20)
  path = tmp_path / 'in' / '0.jsonl'
  lines = path.read_text().splitlines()
  lines[17] = '{"text": '
  path.write_text('\n'.join(lines))
  with pytest.raises(UserError, match=r'0\.jsonl.*17.*--on_bad_row=skip'):
    run(tmp_path / 'in', tmp_path / 'out')
  [*_, last] = parts_lib.committed(tmp_path / 'out')
  assert last.end == 16
  lines[17] = json.dumps({'text': 'repaired'})
  path.write_text('\n'.join(lines))
  assert run(tmp_path / 'in', tmp_path / 'out')['num_rows'] == 40


def test_duplicate_ids_across_files_are_named(tmp_path):
  (tmp_path / 'in').mkdir()
  for name in 'ab':
    row = json.dumps({'id': 'same', 'text': 'text'})
    (tmp_path / 'in' / f'{name}.jsonl').write_text(row + '\n')
  with pytest.raises(UserError, match='same'):
    run(tmp_path / 'in', tmp_path / 'out')


def test_batch_that_does_not_fit_is_halved(tmp_path, capsys):
  write_corpus(tmp_path / 'in', num_rows=20)
  scorer = mean_byte()
  inner = scorer.features.apply

  def greedy(params, batch, num_segments):
    rows = len(batch['encoder_input_tokens'])
    out = inner(params, batch, num_segments)
    if rows > 2:  # 64 TiB: no machine has it
      big = jnp.cumsum(jnp.arange(2**44, dtype=jnp.float32) * out['sum'][0, 0])
      out['sum'] = out['sum'] + big[-1]
    return out

  scorer = scorer._replace(features=scorer.features._replace(apply=greedy))
  run(tmp_path / 'in', tmp_path / 'out', scorers=[scorer], rows_per_batch=8)
  assert 'batch halved to 2 rows' in capsys.readouterr().out
  run(tmp_path / 'in', tmp_path / 'plain')
  np.testing.assert_array_equal(
    read(tmp_path / 'out')[1]['mean_byte'],
    read(tmp_path / 'plain')[1]['mean_byte'],
  )


def rank_of_mean():
  """A summary: how far a document's mean lies above the corpus's."""
  base = mean_byte()

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


def test_summary_sees_the_whole_corpus_and_leaves_no_scratch(tmp_path):
  texts = write_corpus(tmp_path / 'in')
  manifest = run(
    tmp_path / 'in', tmp_path / 'out', scorers=[mean_byte(), rank_of_mean()]
  )
  ids, columns, _ = read(tmp_path / 'out')
  corpus = 0.5 * np.mean([b + 3 for t in texts.values() for b in t.encode()])
  np.testing.assert_allclose(
    columns['above'], [expected(texts[i]) - corpus for i in ids], atol=1e-4
  )
  np.testing.assert_allclose(
    columns['mean_byte'], [expected(texts[i]) for i in ids], rtol=1e-6
  )
  assert manifest['diagnostics']['above']['documents'] == 100
  cost = manifest['cost']
  assert set(cost['columns']) == {'mean_byte', 'above'}
  assert cost['flops'] == pytest.approx(sum(cost['columns'].values()))
  names = {p.name for p in (tmp_path / 'out').iterdir()}
  assert not [name for name in names if name.startswith('.')]


def test_summary_sample_does_not_depend_on_the_chunks(tmp_path):
  write_corpus(tmp_path / 'in')
  one = run(tmp_path / 'in', tmp_path / 'a', scorers=[rank_of_mean()])
  two = run(
    tmp_path / 'in',
    tmp_path / 'b',
    scorers=[rank_of_mean()],
    chunk_seconds=1e9,
    block_rows=32,
  )
  assert (
    one['diagnostics']['above']['sample']
    == two['diagnostics']['above']['sample']
  )


def test_empty_and_unreadable_corpora(tmp_path):
  (tmp_path / 'in').mkdir()
  path = tmp_path / 'in' / 'a.jsonl'
  path.write_text('')
  with pytest.raises(UserError, match='empty'):
    run(tmp_path / 'in', tmp_path / 'out')
  with pytest.raises(UserError):
    readers.open_corpus([str(tmp_path / 'none' / '*.jsonl')])
  whole = gzip.compress(json.dumps({'text': 'x' * 5000}).encode() * 50)
  (tmp_path / 'in' / 'b.jsonl.gz').write_bytes(whole[: len(whole) // 2])
  with pytest.raises(UserError, match=r'b\.jsonl\.gz'):
    scoring.score(
      corpus=readers.open_corpus([str(tmp_path / 'in' / 'b.jsonl.gz')]),
      scorers=[mean_byte()],
      vocabulary=VOCABULARY,
      params=PARAMS,
      mesh=mesh_lib.make_mesh(None, jax.devices()[:1]),
      output=tmp_path / 'out2',
      settings={},
    )


def test_broken_chunk_is_named(tmp_path):
  write_corpus(tmp_path / 'in')
  run(tmp_path / 'in', tmp_path / 'out')
  part = next((tmp_path / 'out').glob('part-*.parquet'))
  part.write_bytes(b'broken')
  (tmp_path / 'out' / manifests.NAME).rename(tmp_path / 'manifest.json')
  settings = json.loads((tmp_path / 'manifest.json').read_text())['settings']
  (tmp_path / 'out' / 'settings.json').write_text(json.dumps(settings))
  with pytest.raises(UserError, match=part.name):
    run(tmp_path / 'in', tmp_path / 'out')
