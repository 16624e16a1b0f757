"""Committed chunks are the only record of progress."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jaxcurate.io.errors import UserError
from jaxcurate.scoring import parts


def part(start=0, end=10, file='a.jsonl', last=False, **more):
  return parts.Part(file, start, end, last, {}, **more)


def commit(folder, *found):
  for one in found:
    ids = [f'{one.file}:{i}' for i in range(one.start, one.end)]
    parts.commit(folder, one, {'id': np.array(ids, object)})


def test_name_depends_on_file_and_rows_alone():
  assert part().name == part(last=True, seconds=9.0, num_rows=3).name
  names = {
    part().name,
    part(end=11).name,
    part(start=1).name,
    part(file='b.jsonl').name,
  }
  assert len(names) == 4
  assert part(file='x/../é.jsonl').name.isascii()


def test_what_was_committed_reads_back_in_order(tmp_path):
  found = [
    part(10, 20, last=True, flops={'pass': 5.0}, tokens=7, slots=8),
    part(0, 10, num_rows=9, seconds=0.5)._replace(skipped={'empty': 1}),
    part(0, 4, file='A.jsonl'),
  ]
  commit(tmp_path, *found)
  again = parts.committed(tmp_path)
  assert again == [found[2], found[1], found[0]]
  assert pq.read_table(tmp_path / found[0].name).num_rows == 10


def test_committing_again_overwrites(tmp_path):
  commit(tmp_path, part(), part(num_rows=3))
  [only] = parts.committed(tmp_path)
  assert only.num_rows == 3


def test_temporary_files_are_no_chunks(tmp_path):
  (tmp_path / '.writing-part-1.parquet').write_bytes(b'half')
  assert parts.committed(tmp_path) == []
  assert parts.committed(tmp_path / 'absent') == []


@pytest.mark.parametrize('content', [b'', b'PAR1', None])
def test_foreign_or_broken_chunk_is_named(tmp_path, content):
  path = tmp_path / 'part-x.parquet'
  if content is None:
    pq.write_table(pa.table({'a': [1]}), path)
  else:
    path.write_bytes(content)
  with pytest.raises(UserError, match=r'part-x\.parquet: not a chunk.*remove'):
    parts.committed(tmp_path)


def test_overlapping_chunks_are_refused(tmp_path):
  commit(tmp_path, part(0, 10), part(5, 15))
  with pytest.raises(UserError, match=r'rows 5 to 10 of a\.jsonl'):
    parts.committed(tmp_path)


def test_done_rows():
  done = parts.Done([part(0, 10), part(20, 30), part(0, 5, 'b.jsonl')])
  asked = [0, 5, 9, 10, 19, 20, 29, 30]
  assert [done('a.jsonl', i) for i in asked] == [
    *[True] * 3, False, False, True, True, False
  ]  # fmt: skip
  assert done('b.jsonl', 4) and not done('b.jsonl', 5)
  assert not done('c.jsonl', 0)


@pytest.mark.parametrize(
  'spans, finished',
  [
    ([(0, 10, True)], True),
    ([(10, 20, True), (0, 10, False)], True),
    ([(0, 10, False)], False),
    ([(0, 10, False), (20, 30, True)], False),  # a gap
    ([(10, 20, True)], False),
    ([], False),
  ],
)
def test_finished_files(spans, finished):
  done = parts.Done([part(*span[:2], last=span[2]) for span in spans])
  assert done.finished() == (['a.jsonl'] if finished else [])
