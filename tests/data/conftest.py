"""What the tests of TFRecord files, TFDS folders and seqio tasks share.

tensorflow and seqio take seconds to import: only inside the fixtures.
"""

import functools
import json
import os

import pytest

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
DOCUMENTS = [
  f'Document {i} of the web, naïve. ' * (1 + i % 5) for i in range(23)
]


@pytest.fixture
def documents():
  """The train texts of `c4_dir` and the texts of `add_json_task`."""
  return DOCUMENTS


@pytest.fixture
def seqio():
  """The module, with registries that are empty afterwards."""
  module = pytest.importorskip('seqio')
  yield module
  module.TaskRegistry.reset()
  module.MixtureRegistry.reset()


@pytest.fixture
def byte_feature(seqio):
  """A feature whose vocabulary needs no file."""
  return seqio.Feature(seqio.ByteVocabulary(), add_eos=True)


def _example(**values):
  import tensorflow as tf

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


def _write_records(path, rows):
  import tensorflow as tf

  with tf.io.TFRecordWriter(str(path)) as writer:
    for row in rows:
      writer.write(_example(**row).SerializeToString())


@pytest.fixture(scope='session')
def write_records():
  """(path, rows as dicts) -> a TFRecord file of tf.train.Example."""
  return _write_records


@pytest.fixture(scope='session')
def c4_dir(tmp_path_factory):
  """A TFDS folder in the shape of C4: 3 train files, 1 of validation."""
  tfds = pytest.importorskip('tensorflow_datasets')
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
      _write_records(
        version / f'c4-{split}.tfrecord-{i:05d}-of-{len(files):05d}',
        [{'text': t, 'timestamp': '2020', 'url': 'http://u'} for t in texts],
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
def write_jsonl(tmp_path):
  """Writes the documents with ids as JSON Lines; returns the path."""

  def write():
    path = tmp_path / 'a.jsonl'
    rows = [{'text': text, 'id': f'w{i}'} for i, text in enumerate(DOCUMENTS)]
    path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
    return path

  return write


@pytest.fixture
def json_task(seqio, write_jsonl, byte_feature):
  """A Task over JSON Lines, parsed by a preprocessor, as users write them."""
  import tensorflow as tf

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
    'json_task',
    source=seqio.TextLineDataSource({'train': str(write_jsonl())}),
    preprocessors=[
      parse,
      functools.partial(seqio.preprocessors.rekey, key_map={'targets': 'text'}),
      seqio.preprocessors.tokenize,
      seqio.preprocessors.append_eos,
    ],
    output_features={'targets': byte_feature},
  )
  return 'json_task'
