"""A damaged or unusual file: one clear line, finished work kept."""

import gzip
import json
import os
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jaxcurate.io import manifest as manifests
from jaxcurate.io import tables


def line(**row):
  return json.dumps(row).encode() + b'\n'


def good_lines(count=5):
  return b''.join(
    line(id=f'good{i}', text=f'A good text, number {i}.') for i in range(count)
  )


@pytest.mark.parametrize('suffix', ['.gz', '.zst'])
def test_truncated_file(score, tmp_path, fails_clearly, suffix, kept_ids):
  content = b''.join(
    line(text=np.random.default_rng(i).bytes(40_000).hex()) for i in range(6)
  )
  path = tmp_path / f'a.jsonl{suffix}'
  if suffix == '.gz':
    whole = gzip.compress(content)
  else:
    import zstandard

    whole = zstandard.compress(content)
  path.write_bytes(whole[: len(whole) * 2 // 3])
  result, output = score(path)
  assert fails_clearly(result, path, 'truncated', '--on_bad_row=skip')
  kept = len(kept_ids(output))
  shutil.rmtree(output)
  result, output = score(path, '--on_bad_row=skip')
  assert result.code == 0, result.err
  manifest = manifests.read_manifest(output)
  assert manifest['skipped'] == {'truncated': 1}
  assert manifest['num_rows'] >= kept


def test_missing_file(score, tmp_path, fails_clearly):
  (tmp_path / 'docs').mkdir()
  (tmp_path / 'docs' / 'there.jsonl').write_bytes(good_lines())
  path = tmp_path / 'docs' / 'their.jsonl'
  result, output = score(path)
  assert fails_clearly(result, path, 'there.jsonl')
  assert not output.exists()
  result, _ = score(tmp_path / 'docs' / '*.parquet')
  assert fails_clearly(result, '*.parquet', 'there.jsonl')


@pytest.mark.skipif(os.geteuid() == 0, reason='root may read everything')
def test_file_without_permission(score, tmp_path, fails_clearly):
  path = tmp_path / 'a.jsonl'
  path.write_bytes(good_lines())
  path.chmod(0)
  assert fails_clearly(score(path)[0], path, 'permission denied', 'mode')


def test_file_that_cannot_be_read(score, tmp_path, fails_clearly):
  path = tmp_path / 'a.jsonl'
  path.symlink_to('/proc/self/mem')  # opens, but reading page 0 fails
  assert fails_clearly(score(path)[0], f'{path}:0', 'cannot be read', 'disk')


@pytest.mark.parametrize(
  'name, content',
  [('a.parquet', b'no Parquet'), ('a.jsonl.gz', b'no gzip'), ('a.xml', b'<a>')],
)
def test_file_of_another_kind(score, tmp_path, fails_clearly, name, content):
  (tmp_path / name).write_bytes(content)
  assert fails_clearly(score(tmp_path / name)[0], name)


def test_parquet_without_the_text_column(score, tmp_path, fails_clearly):
  path = tmp_path / 'a.parquet'
  pq.write_table(pa.table({'body': ['a']}), path)
  result, output = score(path)
  assert fails_clearly(result, path, "'text'", 'body')
  shutil.rmtree(output)
  assert score(path, '--text_field=body')[0].code == 0


@pytest.mark.parametrize('content', [b'', b'\n\n'])
def test_empty_corpus(score, tmp_path, fails_clearly, content):
  path = tmp_path / 'a.jsonl'
  path.write_bytes(content)
  assert fails_clearly(score(path)[0], path, 'not a single row')


def test_nothing_but_bad_rows(score, tmp_path, fails_clearly):
  path = tmp_path / 'a.jsonl'
  path.write_bytes(line(body='a') * 3)
  result, _ = score(path, '--on_bad_row=skip')
  assert fails_clearly(result, '3 missing text field', '--text_field')


def test_duplicate_ids_in_different_files(
  score, tmp_path, fails_clearly, kept_ids
):
  for name in 'ab':
    (tmp_path / f'{name}.jsonl').write_bytes(good_lines())
  result, output = score(tmp_path / '?.jsonl')
  assert fails_clearly(result, 'good0', '2 times', 'ids must be unique')
  assert 'a.jsonl' in result.last and 'b.jsonl' in result.last
  assert len(kept_ids(output)) == 2 * 5


def test_document_of_ten_million_characters(score, tmp_path):
  path = tmp_path / 'a.jsonl'
  path.write_bytes(good_lines() + line(id='long', text='word ' * 2_000_000))
  result, output = score(path)
  assert result.code == 0, result.err
  table, _ = tables.read_score_table([str(output)])
  lengths = dict(zip(table.id, table.num_tokens, strict=True))
  assert lengths['long'] >= 2_000_000
  assert np.isfinite(table.scores['ask_llm']).all()
