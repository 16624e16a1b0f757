import json
import os

import numpy as np
import pytest

from jaxcurate.data.readers import open_corpus
from jaxcurate.io.errors import UserError


def write_jsonl(path, rows):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(''.join(json.dumps(row) + '\n' for row in rows))


def texts(count, prefix='text'):
  return [{'text': f'{prefix} {i}'} for i in range(count)]


@pytest.fixture
def corpus_dir(tmp_path):
  """Five files of 0 to 11 rows, some with ids."""
  rng = np.random.default_rng(1)
  for number, count in enumerate([3, 11, 0, 1, 7]):
    rows = texts(count, f'file {number}')
    for row in rows:
      if rng.random() < 0.3:
        row['id'] = f'own-{number}-{row["text"]}'
    write_jsonl(tmp_path / f'd{number % 2}' / f'f{number}.jsonl', rows)
  return tmp_path


def test_ids_and_order_by_hand(tmp_path):
  write_jsonl(tmp_path / 'b.jsonl', [{'text': 'x', 'id': 'own'}, {'text': 'y'}])
  write_jsonl(tmp_path / 'a' / 'c.jsonl', [{'text': 'z', 'domain': 'web'}])
  rows = list(open_corpus([str(tmp_path)]).rows())
  assert [tuple(row) for row in rows] == [
    ('a/c.jsonl:0', 'z', 'web', None, None, None),
    ('own', 'x', None, None, None, None),
    ('b.jsonl:1', 'y', None, None, None, None),
  ]


def test_blocks_are_a_fixed_grid(tmp_path):
  write_jsonl(tmp_path / 'a.jsonl', texts(5))
  write_jsonl(tmp_path / 'b.jsonl', texts(4))
  blocks = open_corpus([str(tmp_path)]).blocks(block_rows=2)
  assert [(b.file, b.start, b.end, len(b.rows), b.last) for b in blocks] == [
    ('a.jsonl', 0, 2, 2, False),
    ('a.jsonl', 2, 4, 2, False),
    ('a.jsonl', 4, 5, 1, True),
    ('b.jsonl', 0, 2, 2, False),
    ('b.jsonl', 2, 4, 2, True),
  ]


@pytest.mark.parametrize('num_shards', [1, 2, 3, 7])
@pytest.mark.parametrize('block_rows', [1, 3, 100])
def test_shards_partition_the_corpus(corpus_dir, num_shards, block_rows):
  corpus = open_corpus([str(corpus_dir)])
  whole = list(corpus.blocks(block_rows=block_rows))
  shards = [
    list(corpus.blocks(block_rows=block_rows, shard=i, num_shards=num_shards))
    for i in range(num_shards)
  ]

  def key(block):
    return block[:2]

  together = sorted((b for shard in shards for b in shard), key=key)
  without_last = [block._replace(last=False) for block in together]
  expected = sorted((b._replace(last=False) for b in whole), key=key)
  assert without_last == expected
  for shard in shards:  # `last` is true once per file that a shard reads
    last = [block.file for block in shard if block.last]
    assert sorted(last) == sorted({block.file for block in shard})


def test_resuming_yields_what_is_missing(corpus_dir):
  corpus = open_corpus([str(corpus_dir)])
  whole = list(corpus.blocks(block_rows=2))
  rng = np.random.default_rng(0)
  for _ in range(20):
    keep = rng.random(len(whole)) < 0.5
    done = {b[:2] for b, kept in zip(whole, keep, strict=True) if kept}
    rest = list(
      corpus.blocks(block_rows=2, done=lambda *key, done=done: key in done)
    )
    assert [block[:5] for block in rest] == [
      b[:5] for b, kept in zip(whole, keep, strict=True) if not kept
    ]
    ends = {block.file: i for i, block in enumerate(rest)}
    assert [i for i, b in enumerate(rest) if b.last] == sorted(ends.values())


def test_done_rows_are_not_decoded_and_finished_files_not_opened(tmp_path):
  (tmp_path / 'a.jsonl').write_text('broken\nbroken\n{"text": "x"}\n')
  (tmp_path / 'b.jsonl').write_text('broken')
  corpus = open_corpus([str(tmp_path)])
  blocks = corpus.blocks(
    block_rows=2, done=lambda file, start: start == 0, finished={'b.jsonl'}
  )
  assert [row.id for block in blocks for row in block.rows] == ['a.jsonl:2']


def test_stop_names_the_row_and_keeps_the_blocks_before_it(tmp_path):
  path = tmp_path / 'a.jsonl'
  write_jsonl(path, [*texts(4), {'body': 'x', 'url': 'u'}])
  blocks = open_corpus([str(path)]).blocks(block_rows=2)
  assert next(blocks).end == 2
  assert next(blocks).end == 4
  with pytest.raises(UserError) as error:
    next(blocks)
  message = str(error.value)
  assert message.startswith(f'{path}:4: missing text field: ')
  assert 'fields present: body, url' in message
  assert message.endswith('--on_bad_row=skip')
  assert '\n' not in message


def test_skip_counts_reasons_and_keeps_row_numbers(tmp_path):
  path = tmp_path / 'a.jsonl'
  write_jsonl(path, [{'text': ' \n'}, {'text': 3}, {'text': 'x'}, {'text': ''}])
  corpus = open_corpus([str(path)], on_bad_row='skip')
  (block,) = corpus.blocks(block_rows=10)
  assert [row.id for row in block.rows] == ['a.jsonl:2']
  assert block.skipped == {'empty': 2, 'text not a string': 1}
  assert (block.start, block.end) == (0, 4)


def test_duplicate_ids_in_a_block(tmp_path):
  path = tmp_path / 'a.jsonl'
  rows = [{'text': text, 'id': 7} for text in 'abc']
  write_jsonl(path, rows)
  with pytest.raises(UserError, match=r"a.jsonl:1: duplicate id: '7' .*:0"):
    list(open_corpus([str(path)]).rows())
  (block,) = open_corpus([str(path)], on_bad_row='skip').blocks(block_rows=9)
  assert [row.text for row in block.rows] == ['a']
  assert block.skipped == {'duplicate id': 2}


def test_vectors_have_the_width_of_the_first(tmp_path):
  path = tmp_path / 'a.jsonl'
  vectors = [[1, 2], [3, 4], [1, 2, 3], [float('nan'), 0], 'x', None]
  write_jsonl(path, [{'text': 'a', 'v': vector} for vector in vectors])
  corpus = open_corpus([str(path)], vector_field='v', on_bad_row='skip')
  blocks = list(corpus.blocks(block_rows=1))
  kept = [row.vector for block in blocks for row in block.rows]
  np.testing.assert_array_equal(np.stack(kept), [[1, 2], [3, 4]])
  assert sum(block.skipped.get('bad vector', 0) for block in blocks) == 4
  # A reader that starts late judges by the same width.
  late = corpus.blocks(block_rows=1, done=lambda file, start: start < 2)
  assert sum(block.skipped.get('bad vector', 0) for block in late) == 4


def test_an_empty_corpus_is_refused(tmp_path):
  (tmp_path / 'a.jsonl').write_text('')
  (tmp_path / 'b.jsonl').write_text('\n\n')
  corpus = open_corpus([str(tmp_path)])
  with pytest.raises(UserError, match='not a single row'):
    list(corpus.rows())
  (tmp_path / 'c.jsonl').write_text('{"text": "x"}')
  corpus = open_corpus([str(tmp_path)])
  for shard in range(3):  # a shard without rows of its own is fine
    list(corpus.rows(shard=shard, num_shards=3))


def test_unreadable_file(tmp_path):
  path = tmp_path / 'a.jsonl'
  write_jsonl(path, texts(1))
  corpus = open_corpus([str(path)])
  path.chmod(0)
  if os.access(path, os.R_OK):  # root reads everything
    path.unlink()
  with pytest.raises(UserError, match=r'a\.jsonl'):
    list(corpus.rows())


def test_wrong_arguments(tmp_path):
  write_jsonl(tmp_path / 'a.jsonl', texts(1))
  with pytest.raises(UserError, match="expected 'stop' or 'skip'"):
    open_corpus([str(tmp_path)], on_bad_row='ignore')
  with pytest.raises(ValueError, match='shard=2'):
    list(open_corpus([str(tmp_path)]).rows(shard=2, num_shards=2))


def test_memory_does_not_grow_with_the_corpus(tmp_path):
  import tracemalloc

  def peak(rows):
    path = tmp_path / f'{rows}.jsonl'
    write_jsonl(path, [{'text': 'word ' * 2000}] * rows)
    tracemalloc.start()
    for _ in open_corpus([str(path)]).blocks(block_rows=64):
      pass
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most

  assert peak(1500) < 1.2 * peak(300)


def test_real_text_of_many_files(shared_data):
  corpus = open_corpus([str(shared_data / 'text' / '*.jsonl.gz')])
  names = [file.name for file in corpus.files]
  assert names == sorted(names)
  rows = [
    row
    for block in corpus.blocks(
      block_rows=512, done=lambda file, start: start > 0
    )
    for row in block.rows
  ]
  assert len({row.id for row in rows}) == len(rows) > 3000
  assert all(row.domain for row in rows)
