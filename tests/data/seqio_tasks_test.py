"""seqio tasks, TFDS folders and TFRecord files (one file: slow imports)."""

import functools
import gzip
import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jaxcurate.data import selected_tasks, seqio_tasks
from jaxcurate.data.readers import open_corpus, open_task
from jaxcurate.io.errors import UserError

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
seqio = pytest.importorskip('seqio')
import tensorflow as tf  # noqa: E402
import tensorflow_datasets as tfds  # noqa: E402

BYTES = seqio.Feature(seqio.ByteVocabulary(), add_eos=True)
DOCUMENTS = [
  f'Document {i} of the web, naïve. ' * (1 + i % 5) for i in range(23)
]


@pytest.fixture(autouse=True)
def fresh_registry():
  yield
  seqio.TaskRegistry.reset()
  seqio.MixtureRegistry.reset()


def features_of(**values):
  def feature(value):
    if isinstance(value, str):
      value = value.encode()
    if isinstance(value, bytes):
      return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
    if isinstance(value, list):
      return tf.train.Feature(float_list=tf.train.FloatList(value=value))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))

  mapped = {name: feature(value) for name, value in values.items()}
  return tf.train.Example(features=tf.train.Features(feature=mapped))


def write_records(path, examples):
  with tf.io.TFRecordWriter(str(path)) as writer:
    for example in examples:
      writer.write(example.SerializeToString())


@pytest.fixture(scope='module')
def c4_dir(tmp_path_factory):
  """A TFDS folder in the shape of C4: 3 train files, 1 of validation."""
  features = tfds.features.FeaturesDict(
    {name: tfds.features.Text() for name in ('text', 'timestamp', 'url')}
  )

  folder = tmp_path_factory.mktemp('tfds')
  version = folder / 'c4' / 'en' / '3.1.0'
  version.mkdir(parents=True)
  splits = []
  for split, files in [
    ('train', [DOCUMENTS[:8], DOCUMENTS[8:10], DOCUMENTS[10:]]),
    ('validation', [['held out a', 'held out b']]),
  ]:
    for i, texts in enumerate(files):
      write_records(
        version / f'c4-{split}.tfrecord-{i:05d}-of-{len(files):05d}',
        [features_of(text=t, timestamp='2020', url='http://u') for t in texts],
      )
    splits.append(
      tfds.core.SplitInfo(
        name=split, shard_lengths=[len(texts) for texts in files], num_bytes=0
      )
    )
  tfds.folder_dataset.write_metadata(
    data_dir=version,
    features=features,
    split_infos=splits,
    filename_template='{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}',
  )
  return folder


@pytest.fixture
def c4_task(c4_dir):
  seqio_tasks.register_c4('c4_tiny', data_dir=str(c4_dir))
  return 'c4_tiny'


def as_pairs(corpus, **shard):
  return [(row.id, row.text) for row in corpus.rows(**shard)]


# --- TFRecord and TFDS files --------------------------------------------------


def test_tfrecord_rows(tmp_path):
  path = tmp_path / 'a.tfrecord'
  examples = [
    features_of(text='naïve', id=5, v=[1.0, 2.0]),
    features_of(text='b', domain='web', v=[0.5, 1.0]),
  ]
  write_records(path, examples)
  rows = list(open_corpus([str(path)], vector_field='v').rows())
  assert [row[:3] for row in rows] == [
    ('5', 'naïve', None),
    ('a.tfrecord:1', 'b', 'web'),
  ]
  np.testing.assert_array_equal(rows[0].vector, [1.0, 2.0])


def test_tfrecord_compressed_and_remote(tmp_path):
  import fsspec

  write_records(tmp_path / 'a.tfrecord', [features_of(text='x')] * 600)
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


def test_damaged_tfrecords_keep_the_rows_before(tmp_path):
  path = tmp_path / 'a.tfrecord'
  write_records(path, [features_of(text=f't{i}') for i in range(700)])
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
  with tf.io.TFRecordWriter(str(tmp_path / 'a.tfrecord')) as writer:
    writer.write(b'\xff\xff not a proto')
  with pytest.raises(UserError, match=r'a\.tfrecord:0: broken record'):
    list(open_corpus([str(tmp_path)]).rows())


def test_tfds_folder_has_the_ids_that_tfds_gives(c4_dir):
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
  assert set(as_pairs(open_corpus([str(c4_dir)]))) == expected
  one_split = open_corpus([f'{c4_dir}/**/*-validation.tfrecord*'])
  assert {text for _, text in as_pairs(one_split)} == {
    'held out a',
    'held out b',
  }


# --- tasks --------------------------------------------------------------------


def test_c4_task_equals_the_direct_reader(c4_dir, c4_task):
  direct = as_pairs(open_corpus([f'{c4_dir}/c4/en/3.1.0/*-train.tfrecord*']))
  task = open_task(c4_task)
  assert as_pairs(task) == direct
  assert len(task.sources) == 3
  sharded = [as_pairs(task, shard=i, num_shards=2) for i in range(2)]
  assert sorted(sharded[0] + sharded[1]) == sorted(direct)
  assert as_pairs(open_task(c4_task, split='validation'))[0][1].startswith(
    'held out'
  )


def test_task_resumes_in_the_middle(c4_task):
  task = open_task(c4_task)
  whole = list(task.blocks(block_rows=3))
  done = {block[:2] for block in whole[::2]}
  rest = list(task.blocks(block_rows=3, done=lambda *key: key in done))
  assert [b[:5] for b in rest] == [b[:5] for b in whole[1::2]]


def json_task(path, name='json_task'):
  """A Task over JSON Lines, parsed by a preprocessor, as users write them."""

  def parse(dataset):
    def fields(line):
      row = json.loads(line.numpy())
      return row['text'], row['id']

    def element(line):
      text, row_id = tf.py_function(fields, [line], [tf.string, tf.string])
      text.set_shape([])
      row_id.set_shape([])
      return {'text': text, 'id': row_id}

    return dataset.map(element)

  seqio.TaskRegistry.add(
    name,
    source=seqio.TextLineDataSource({'train': str(path)}),
    preprocessors=[
      parse,
      functools.partial(seqio.preprocessors.rekey, key_map={'targets': 'text'}),
      seqio.preprocessors.tokenize,
      seqio.preprocessors.append_eos,
    ],
    output_features={'targets': BYTES},
  )
  return name


def write_jsonl(path):
  rows = [{'text': text, 'id': f'w{i}'} for i, text in enumerate(DOCUMENTS)]
  path.write_text(''.join(json.dumps(row) + '\n' for row in rows))


def test_task_over_json_lines_equals_the_direct_reader(tmp_path):
  path = tmp_path / 'a.jsonl'
  write_jsonl(path)
  name = json_task(path)
  assert as_pairs(open_task(name)) == as_pairs(open_corpus([str(path)]))


def test_task_without_text_column_gives_its_strings(tmp_path):
  (tmp_path / 'a.tsv').write_text('q1\ta1\nq2\ta2\n')
  seqio.TaskRegistry.add(
    'pairs',
    source=seqio.TextLineDataSource({'train': str(tmp_path / 'a.tsv')}),
    preprocessors=[
      lambda dataset: dataset.map(
        lambda line: dict(
          zip(
            ['inputs', 'targets'], tf.unstack(tf.strings.split(line, '\t'), 2)
          )
        )
      ),
      seqio.preprocessors.tokenize,
    ],
    output_features={'inputs': BYTES, 'targets': BYTES},
  )
  assert as_pairs(open_task('pairs')) == [
    ('pairs/train:0', 'q1\na1'),
    ('pairs/train:1', 'q2\na2'),
  ]


def test_real_c4_documents_from_token_ids(shared_data):
  seqio.TaskRegistry.add(
    'c4_500',
    source=seqio.TFExampleDataSource(
      {
        'train': str(
          shared_data / 'checkpoints' / 'airio_c4_t5vocab_500.tfrecord'
        )
      },
      {'targets': tf.io.RaggedFeature(tf.int64)},
    ),
    preprocessors=[seqio.preprocessors.append_eos],
    output_features={
      'targets': seqio.Feature(
        seqio.SentencePieceVocabulary(
          str(shared_data / 'tokenizers' / 't5_spiece.model'), extra_ids=100
        )
      )
    },
  )
  rows = list(open_task('c4_500').rows())
  assert len(rows) == 500
  assert rows[499].id == 'c4_500/train:499'
  assert np.mean([len(row.text) for row in rows]) > 500
  assert sum(' the ' in row.text for row in rows) > 400
  assert not any('<extra_id' in row.text for row in rows)


def test_mixture_is_all_its_tasks(tmp_path, c4_task):
  path = tmp_path / 'a.jsonl'
  write_jsonl(path)
  seqio.MixtureRegistry.add('both', [(json_task(path), 1), (c4_task, 3)])
  rows = list(open_task('both').rows())
  assert len(rows) == 2 * len(DOCUMENTS)
  assert {row.domain for row in rows} == {'json_task', 'c4_tiny'}


def test_what_can_be_wrong_with_a_task(tmp_path, c4_task):
  with pytest.raises(UserError, match="named 'c5'; known: c4_en, c4_tiny"):
    open_task('c5')
  with pytest.raises(UserError, match=r"no split 'test'; known: train, val"):
    open_task(c4_task, split='test')
  with pytest.raises(UserError, match=r"module 'no\.such'"):
    open_task('x', module='no.such')
  seqio_tasks.register_c4('absent', data_dir=str(tmp_path))
  with pytest.raises(UserError, match=r"'absent' cannot be read .*tfds build"):
    open_task('absent')
  seqio.TaskRegistry.add(
    'textless',
    source=seqio.FunctionDataSource(
      lambda split, shuffle_files, seed=None: tf.data.Dataset.from_tensors(
        {'body': 'x'}
      ),
      splits=['train'],
    ),
    preprocessors=[],
    output_features={'targets': BYTES},
  )
  with pytest.raises(UserError, match='columns: body; name the text column'):
    open_task('textless')
  rows = list(open_task('textless', text_field='body').rows())
  assert [row.text for row in rows] == ['x']


# --- selections ---------------------------------------------------------------


def write_selection(folder, counts):
  from jaxcurate.io import tables
  from jaxcurate.types import Selection

  selection = Selection(
    id=np.array(list(counts), object),
    count=np.array(list(counts.values()), np.int32),
    expected_count=np.array(list(counts.values()), np.float64),
  )
  tables.write_selection(folder, selection, {})
  return folder


def decoded(name, **kwargs):
  dataset = seqio.get_mixture_or_task(name).get_dataset(
    {'targets': 10_000}, shuffle=False, **kwargs
  )
  return [
    bytes(np.clip(row['targets'][:-1] - 3, 0, 255).astype(np.uint8)).decode()
    for row in dataset.as_numpy_iterator()
  ]


def add_c4_bytes(c4_dir, name='c4_bytes'):
  """C4 with a vocabulary that needs no file."""
  seqio_tasks.register_c4('c4_for_source', data_dir=str(c4_dir))
  task = seqio.TaskRegistry.get('c4_for_source')
  seqio.TaskRegistry.add_provider(
    name, task.replace(name=name, output_features={'targets': BYTES})
  )
  return name


def test_selection_filters_and_repeats_a_tfds_task(c4_dir, tmp_path):
  name = add_c4_bytes(c4_dir)
  rows = as_pairs(open_task(name))
  counts = {row_id: 1 + i % 3 for i, (row_id, _) in enumerate(rows[::2])}
  selection = write_selection(tmp_path / 'kept', {**counts, 'not there': 2})
  expected = sorted(
    text for row_id, text in rows for _ in range(counts.get(row_id, 0))
  )
  new = selected_tasks.select_task(name, selection)
  assert new == 'c4_bytes_selected'
  assert sorted(decoded(new, split='train')) == expected
  shards = [
    decoded(new, split='train', shard_info=seqio.ShardInfo(i, 2))
    for i in range(2)
  ]
  assert sorted(shards[0] + shards[1]) == expected
  assert min(map(len, shards)) > 0
  assert sorted(decoded(new, split='validation')) == [
    'held out a',
    'held out b',
  ]
  # What is selected is a Task like any other.
  assert sorted(row.text for row in open_task(new, on_bad_row='skip').rows())


def test_selection_by_an_id_column_and_by_position(tmp_path):
  path = tmp_path / 'a.jsonl'
  write_jsonl(path)
  by_id = write_selection(tmp_path / 'by_id', {'w3': 2, 'w20': 1})
  new = selected_tasks.select_task(json_task(path), by_id, new_name='some')
  texts = [DOCUMENTS[3], DOCUMENTS[3], DOCUMENTS[20]]
  assert decoded(new, split='train') == texts
  lines = tmp_path / 'lines.txt'
  lines.write_text('zero\none\ntwo\n')
  seqio.TaskRegistry.add(
    'lines',
    source=seqio.TextLineDataSource({'train': str(lines)}),
    preprocessors=[
      lambda dataset: dataset.map(lambda line: {'targets': line}),
      seqio.preprocessors.tokenize,
      seqio.preprocessors.append_eos,
    ],
    output_features={'targets': BYTES},
  )
  assert as_pairs(open_task('lines'))[2] == ('lines/train:2', 'two')
  by_row = write_selection(tmp_path / 'by_row', {'lines/train:2': 3})
  new = selected_tasks.select_task('lines', by_row)
  assert decoded(new, split='train') == ['two'] * 3


def test_selection_of_a_mixture_keeps_its_rates(c4_dir, tmp_path):
  path = tmp_path / 'a.jsonl'
  write_jsonl(path)
  parts = [(json_task(path), 1), (add_c4_bytes(c4_dir), 3)]
  seqio.MixtureRegistry.add('both', parts)
  ids = [row.id for row in open_task('both').rows()]
  selection = write_selection(tmp_path / 'kept', dict.fromkeys(ids[::3], 1))
  mixture = seqio.MixtureRegistry.get(
    selected_tasks.select_task('both', selection)
  )
  assert sorted(map(mixture.get_rate, mixture.tasks)) == [1, 3]
  kept = [
    text for task in mixture.tasks for text in decoded(task.name, split='train')
  ]
  assert len(kept) == len(ids[::3])


def test_index_is_written_once_and_follows_the_selection(tmp_path):
  selection = write_selection(tmp_path / 'kept', {'a': 1, 'b': 2})
  path = selected_tasks.write_index(selection)
  hashes, counts = np.load(path)
  assert (np.diff(hashes) > 0).all()
  assert sorted(counts) == [1, 2]
  before = path.stat().mtime
  os.utime(tmp_path / 'kept' / 'selection.parquet', (1, 1))
  assert selected_tasks.write_index(selection).stat().mtime == before
  write_selection(tmp_path / 'kept', {'a': 1})
  later = path.stat().mtime + 10
  os.utime(tmp_path / 'kept' / 'selection.parquet', (later, later))
  assert np.load(selected_tasks.write_index(selection)).shape == (2, 1)


def test_what_can_be_wrong_with_a_selection(c4_dir, tmp_path):
  name = add_c4_bytes(c4_dir)
  with pytest.raises(UserError, match='holds no selection'):
    selected_tasks.select_task(name, tmp_path)
  twice = write_selection(tmp_path / 'twice', {'a': 1})
  table = pq.read_table(twice / 'selection.parquet')
  pq.write_table(pa.concat_tables([table] * 2), twice / 'selection.parquet')
  with pytest.raises(UserError, match='names an id twice'):
    selected_tasks.select_task(name, twice)
  empty = write_selection(tmp_path / 'empty', {})
  new = selected_tasks.select_task(name, empty)
  assert decoded(new, split='train') == []
  with pytest.raises(UserError, match='already registered'):
    selected_tasks.select_task(name, empty)
