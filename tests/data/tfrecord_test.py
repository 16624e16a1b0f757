"""TFRecord files and TFDS folders read directly."""

import gzip

import fsspec
import numpy as np
import pytest

from jaxcurate.data.readers import open_corpus
from jaxcurate.io.errors import UserError


def test_tfrecord_rows(tmp_path, write_records):
  path = tmp_path / 'a.tfrecord'
  examples = [
    {'text': 'naïve', 'id': 5, 'v': [1.0, 2.0]},
    {'text': 'b', 'domain': 'web', 'v': [0.5, 1.0]},
  ]
  write_records(path, examples)
  rows = list(open_corpus([str(path)], vector_field='v').rows())
  assert [row[:3] for row in rows] == [
    ('5', 'naïve', None),
    ('a.tfrecord:1', 'b', 'web'),
  ]
  np.testing.assert_array_equal(rows[0].vector, [1.0, 2.0])


def test_tfrecord_compressed_and_remote(tmp_path, write_records):
  write_records(tmp_path / 'a.tfrecord', [{'text': 'x'}] * 600)
  data = (tmp_path / 'a.tfrecord').read_bytes()
  packed = tmp_path / 'b.tfrecord.gz'
  packed.write_bytes(gzip.compress(data))
  assert len(list(open_corpus([str(packed)]).rows())) == 600
  memory = fsspec.filesystem('memory')
  memory.pipe('/bucket/a.tfrecord-00000-of-00001', data)
  try:
    assert len(list(open_corpus(['memory://bucket']).rows())) == 600
  finally:
    memory.rm('/bucket', recursive=True)


def test_damaged_tfrecords_keep_the_rows_before(tmp_path, write_records):
  path = tmp_path / 'a.tfrecord'
  write_records(path, [{'text': f't{i}'} for i in range(700)])
  data = path.read_bytes()
  damaged = bytearray(data)
  damaged[len(data) // 2] ^= 0xFF
  for content, reason in [
    (data[: len(data) // 2], 'truncated'),
    (bytes(damaged), 'corrupt'),
  ]:
    path.write_bytes(content)
    corpus = open_corpus([str(path)], on_bad_row='skip')
    (block,) = corpus.blocks(block_rows=1000)
    assert block.skipped == {reason: 1}
    assert 300 < len(block.rows) < 400
    with pytest.raises(UserError, match=f':{len(block.rows)}: {reason}: '):
      list(open_corpus([str(path)]).rows())


def test_tfrecord_of_something_else(tmp_path):
  import tensorflow as tf

  with tf.io.TFRecordWriter(str(tmp_path / 'a.tfrecord')) as writer:
    writer.write(b'\xff\xff not a proto')
  with pytest.raises(UserError, match=r'a\.tfrecord:0: broken record'):
    list(open_corpus([str(tmp_path)]).rows())


def test_tfds_folder_has_the_ids_that_tfds_gives(c4_dir):
  import tensorflow_datasets as tfds

  builder = tfds.builder_from_directory(c4_dir / 'c4' / 'en' / '3.1.0')
  config = tfds.ReadConfig(add_tfds_id=True)
  expected = {
    (row['tfds_id'].decode(), row['text'].decode())
    for split in ('train', 'validation')
    for row in tfds.as_numpy(
      builder.as_dataset(split=split, read_config=config)
    )
  }
  assert len(expected) == 25
  assert len(builder.info.splits['train'].filepaths) == 3
  assert {row[:2] for row in open_corpus([str(c4_dir)]).rows()} == expected
  one_split = open_corpus([f'{c4_dir}/**/*-validation.tfrecord*'])
  assert {row.text for row in one_split.rows()} == {
    'held out a',
    'held out b',
  }
