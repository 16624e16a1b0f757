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


@pytest.fixture(scope='session')
def tokenizer_folder(tmp_path_factory):
  """A byte-level BPE of 500 ids as tokenizer.json, with ChatML beside it.

  Ids 497 <|endoftext|>, 498 <|im_start|> and 499 <|im_end|> are special.
  """
  from pydoc_data import topics

  import tokenizers

  folder = tmp_path_factory.mktemp('tokenizer')
  tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
  tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(
    add_prefix_space=False
  )
  tokenizer.decoder = tokenizers.decoders.ByteLevel()
  trainer = tokenizers.trainers.BpeTrainer(
    vocab_size=497,
    initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
    show_progress=False,
  )
  lines = '\n'.join(topics.topics.values()).splitlines(keepends=True)
  tokenizer.train_from_iterator(lines[:2000], trainer)
  tokenizer.add_special_tokens(['<|endoftext|>', '<|im_start|>', '<|im_end|>'])
  tokenizer.save(str(folder / 'tokenizer.json'))
  template = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' +"
    " m['content'] + '<|im_end|>\\n' }}{% endfor %}{% if"
    " add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
  )
  config = {
    'add_bos_token': False,
    'bos_token': None,
    'eos_token': '<|im_end|>',
    'chat_template': template,
  }
  (folder / 'tokenizer_config.json').write_text(json.dumps(config))
  return folder
