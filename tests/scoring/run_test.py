"""The engine: every row once, in any order of interruption, on any mesh."""

import gzip
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.data import readers
from jaxcurate.io import manifest as manifests
from jaxcurate.io.errors import UserError
from jaxcurate.models import mesh as mesh_lib
from jaxcurate.scoring import parts as parts_lib
from jaxcurate.scoring import run as scoring


def test_every_row_is_scored_once(tmp_path, small):
  texts = small.write_corpus(tmp_path / 'in')
  manifest = small.run(tmp_path / 'in', tmp_path / 'out')
  ids, columns, table = small.read(tmp_path / 'out')
  assert ids == sorted(texts)
  np.testing.assert_allclose(
    columns['mean_byte'], [small.expected(texts[i]) for i in ids], rtol=1e-6
  )
  lengths = dict(zip(table.id, table.num_tokens, strict=True))
  assert all(lengths[i] == len(texts[i].encode()) for i in ids)
  assert manifest['num_rows'] == 100
  assert manifest['columns'] == {'mean_byte': 'bytes'}
  assert 0 <= manifest['diagnostics']['padding_share'] < 0.5
  assert manifest['cost']['flops'] > 0


def test_examples_are_the_extremes_with_their_text(tmp_path, small):
  texts = small.write_corpus(tmp_path / 'in')
  small.run(tmp_path / 'in', tmp_path / 'out')
  lines = (tmp_path / 'out' / 'examples.jsonl').read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  assert len(rows) == 40
  for side, sign in (('high', -1), ('low', 1)):
    own = [row for row in rows if row['side'] == side]
    best = sorted(sign * small.expected(text) for text in texts.values())[:20]
    np.testing.assert_allclose(
      [sign * r['score'] for r in own], best, rtol=1e-6
    )
    assert all(row['text'] == texts[row['id']][:600] for row in own)


class Stop(Exception):
  pass


@pytest.mark.parametrize('after', [1, 3, 9])
def test_interrupted_run_continues_to_the_same_table(tmp_path, after, small):
  small.write_corpus(tmp_path / 'in')
  small.run(tmp_path / 'in', tmp_path / 'whole')
  seen = []

  def stop(progress):
    seen.append(progress)
    if len(seen) == after:
      raise Stop

  with pytest.raises(Stop):
    small.run(tmp_path / 'in', tmp_path / 'out', on_progress=stop)
  kept = parts_lib.committed(tmp_path / 'out')
  assert sum(part.num_rows for part in kept) >= 8 * after - 8
  assert not (tmp_path / 'out' / 'manifest.json').exists()
  again = []
  small.run(tmp_path / 'in', tmp_path / 'out', on_progress=again.append)
  assert again[-1].documents == 100 - sum(part.num_rows for part in kept)
  for one, two in zip(
    small.read(tmp_path / 'out'), small.read(tmp_path / 'whole')
  ):
    if isinstance(one, dict):
      np.testing.assert_array_equal(one['mean_byte'], two['mean_byte'])
    elif isinstance(one, list):
      assert one == two


def test_finished_table_is_left_alone(tmp_path, small):
  small.write_corpus(tmp_path / 'in')
  small.run(tmp_path / 'in', tmp_path / 'out')
  files = {p: p.stat().st_mtime_ns for p in (tmp_path / 'out').iterdir()}
  small.run(tmp_path / 'in', tmp_path / 'out')
  assert files == {
    p: p.stat().st_mtime_ns for p in (tmp_path / 'out').iterdir()
  }


def test_other_settings_in_the_same_folder_are_refused(tmp_path, small):
  small.write_corpus(tmp_path / 'in')
  small.run(tmp_path / 'in', tmp_path / 'out')
  with pytest.raises(UserError, match='block_rows: 8 there, 16 now'):
    small.run(tmp_path / 'in', tmp_path / 'out', block_rows=16)


def test_one_and_eight_devices_agree(tmp_path, small):
  small.write_corpus(tmp_path / 'in')
  small.run(tmp_path / 'in', tmp_path / 'one')
  small.run(tmp_path / 'in', tmp_path / 'eight', devices=8)
  one, eight = (
    small.read(tmp_path / 'one')[1],
    small.read(tmp_path / 'eight')[1],
  )
  np.testing.assert_allclose(one['mean_byte'], eight['mean_byte'], rtol=1e-6)


def test_bad_row_stops_with_its_place_and_keeps_what_was_done(tmp_path, small):
  small.write_corpus(tmp_path / 'in', num_rows=20)
  path = tmp_path / 'in' / '0.jsonl'
  lines = path.read_text().splitlines()
  lines[17] = '{"text": '
  path.write_text('\n'.join(lines))
  with pytest.raises(UserError, match=r'0\.jsonl.*17.*--on_bad_row=skip'):
    small.run(tmp_path / 'in', tmp_path / 'out')
  [*_, last] = parts_lib.committed(tmp_path / 'out')
  assert last.end == 16
  lines[17] = json.dumps({'text': 'repaired'})
  path.write_text('\n'.join(lines))
  assert small.run(tmp_path / 'in', tmp_path / 'out')['num_rows'] == 40


def test_duplicate_ids_across_files_are_named(tmp_path, small):
  (tmp_path / 'in').mkdir()
  for name in 'ab':
    row = json.dumps({'id': 'same', 'text': 'text'})
    (tmp_path / 'in' / f'{name}.jsonl').write_text(row + '\n')
  with pytest.raises(UserError, match='same'):
    small.run(tmp_path / 'in', tmp_path / 'out')


def test_batch_that_does_not_fit_is_halved(tmp_path, capsys, small):
  small.write_corpus(tmp_path / 'in', num_rows=20)
  scorer = small.mean_byte()
  inner = scorer.features.apply

  def greedy(params, batch, num_segments):
    rows = len(batch['encoder_input_tokens'])
    out = inner(params, batch, num_segments)
    if rows > 2:  # 64 TiB: no machine has it
      big = jnp.cumsum(jnp.arange(2**44, dtype=jnp.float32) * out['sum'][0, 0])
      out['sum'] = out['sum'] + big[-1]
    return out

  scorer = scorer._replace(features=scorer.features._replace(apply=greedy))
  small.run(
    tmp_path / 'in', tmp_path / 'out', scorers=[scorer], rows_per_batch=8
  )
  assert 'batch halved to 2 rows' in capsys.readouterr().out
  small.run(tmp_path / 'in', tmp_path / 'plain')
  np.testing.assert_array_equal(
    small.read(tmp_path / 'out')[1]['mean_byte'],
    small.read(tmp_path / 'plain')[1]['mean_byte'],
  )


def test_empty_and_unreadable_corpora(tmp_path, small):
  (tmp_path / 'in').mkdir()
  path = tmp_path / 'in' / 'a.jsonl'
  path.write_text('')
  with pytest.raises(UserError, match='empty'):
    small.run(tmp_path / 'in', tmp_path / 'out')
  with pytest.raises(UserError):
    readers.open_corpus([str(tmp_path / 'none' / '*.jsonl')])
  whole = gzip.compress(json.dumps({'text': 'x' * 5000}).encode() * 50)
  (tmp_path / 'in' / 'b.jsonl.gz').write_bytes(whole[: len(whole) // 2])
  with pytest.raises(UserError, match=r'b\.jsonl\.gz'):
    scoring.score(
      corpus=readers.open_corpus([str(tmp_path / 'in' / 'b.jsonl.gz')]),
      scorers=[small.mean_byte()],
      vocabulary=small.vocabulary,
      params=small.params,
      mesh=mesh_lib.make_mesh(None, jax.devices()[:1]),
      output=tmp_path / 'out2',
      settings={},
    )


def test_broken_chunk_is_named(tmp_path, small):
  small.write_corpus(tmp_path / 'in')
  small.run(tmp_path / 'in', tmp_path / 'out')
  part = next((tmp_path / 'out').glob('part-*.parquet'))
  part.write_bytes(b'broken')
  (tmp_path / 'out' / manifests.NAME).rename(tmp_path / 'manifest.json')
  settings = json.loads((tmp_path / 'manifest.json').read_text())['settings']
  (tmp_path / 'out' / 'settings.json').write_text(json.dumps(settings))
  with pytest.raises(UserError, match=part.name):
    small.run(tmp_path / 'in', tmp_path / 'out')
