"""Blocks become chunks: full, late, at the end of a file, or at the end."""

import ml_dtypes
import numpy as np
import pytest

from jaxcurate.data import readers
from jaxcurate.io import tables
from jaxcurate.scoring import chunks, parts, vectors
from jaxcurate.types import Document


def block(start, rows=4, file='a', last=False, skipped=None):
  found = [
    Document(f'{file}{i}', 'text', None) for i in range(start, start + rows)
  ]
  raw = readers.Block(file, start, start + rows, found, skipped or {}, last)
  return chunks.Block(raw, np.ones(rows, np.int32), {}, {})


def add(chunk, ready, width=None):
  count = len(ready.block.rows)
  shape = count if width is None else (count, width)
  values = np.full(shape, ready.block.start, np.float32)
  chunk.add(ready, {'x': values}, {'pass': 2.0})


def spans(folder):
  return [(p.file, p.start, p.end) for p in parts.committed(folder)]


def test_consecutive_blocks_leave_together_at_the_end_of_the_file(tmp_path):
  chunk = chunks.Chunk(tmp_path, 1e9)
  add(chunk, block(0, skipped={'empty': 1}))
  add(chunk, block(4, skipped={'empty': 2, 'NUL byte': 1}))
  assert spans(tmp_path) == []
  add(chunk, block(8, last=True))
  [part] = parts.committed(tmp_path)
  assert (part.start, part.end, part.last, part.num_rows) == (0, 12, True, 12)
  assert part.skipped == {'empty': 3, 'NUL byte': 1}
  assert part.flops == {'pass': 6.0}
  table = tables.read_parquet(tmp_path / part.name)
  assert table.column('x').to_pylist() == [0.0] * 4 + [4.0] * 4 + [8.0] * 4
  assert table.column('id').to_pylist()[:2] == ['a0', 'a1']


def test_no_time_commits_every_block(tmp_path):
  chunk = chunks.Chunk(tmp_path, 0.0)
  for start in (0, 4):
    add(chunk, block(start))
  assert spans(tmp_path) == [('a', 0, 4), ('a', 4, 8)]


@pytest.mark.parametrize('after', [block(8), block(4, file='b'), block(0)])
def test_a_gap_or_another_file_begins_a_chunk(tmp_path, after):
  chunk = chunks.Chunk(tmp_path, 1e9)
  add(chunk, block(0) if after.block.start else block(20))
  add(chunk, after)
  assert len(spans(tmp_path)) == 1
  chunk.commit()
  chunk.commit()  # nothing is left
  assert len(spans(tmp_path)) == 2


def test_a_chunk_has_at_most_so_many_rows(tmp_path):
  chunk = chunks.Chunk(tmp_path, 1e9)
  add(chunk, block(0, rows=chunks.MAX_ROWS - 1))
  assert spans(tmp_path) == []
  add(chunk, block(chunks.MAX_ROWS - 1, rows=1))
  assert spans(tmp_path) == [('a', 0, chunks.MAX_ROWS)]


def test_a_chunk_has_at_most_so_many_bytes(tmp_path, monkeypatch):
  monkeypatch.setattr(chunks, 'MAX_BYTES', 8 * 10 * 4)
  chunk = chunks.Chunk(tmp_path, 1e9)
  for start in (0, 4, 8):
    add(chunk, block(start), width=10)  # 160 bytes each
  assert spans(tmp_path) == [('a', 0, 8)]
  add(chunk, block(12), width=10)
  assert spans(tmp_path) == [('a', 0, 8), ('a', 8, 16)]


def test_bfloat16_stays_bfloat16_beside_a_block_without_vectors(tmp_path):
  chunk = chunks.Chunk(tmp_path, 1e9)
  add(chunk, block(0), width=1)
  values = np.full((4, 3), 1.5, ml_dtypes.bfloat16)
  chunk.add(block(4, last=True), {'x': values}, {})
  [part] = parts.committed(tmp_path)
  found = vectors.from_column(
    tables.read_parquet(tmp_path / part.name).column('x')
  )
  assert found.dtype == ml_dtypes.bfloat16
  assert np.isnan(found[:4]).all() and (found[4:] == 1.5).all()


def test_a_block_without_any_vector_takes_the_width_of_others(tmp_path):
  chunk = chunks.Chunk(tmp_path, 1e9)
  add(chunk, block(0), width=0)
  add(chunk, block(4, last=True), width=3)
  [part] = parts.committed(tmp_path)
  column = tables.read_parquet(tmp_path / part.name).column('x').to_pylist()
  assert np.isnan(column[:4]).all() and np.shape(column) == (8, 3)
  assert column[4:] == [[4.0] * 3] * 4
