"""`--task`: a seqio Task gives the ids and scores of the files it reads."""

import json
import re

import numpy as np
import pytest

from jaxcurate.io import manifest as manifests
from jaxcurate.io import tables
from jaxcurate.types import Selection

MODULE = """
import functools, json
import seqio, tensorflow as tf

def parse(dataset):
  def fields(line):
    row = json.loads(line.numpy())
    return row['body'], row['key'], row['topic'], row['vector']
  def element(line):
    kinds = [tf.string, tf.string, tf.string, tf.float32]
    found = tf.py_function(fields, [line], kinds)
    for value, shape in zip(found, ([], [], [], [3])):
      value.set_shape(shape)
    return dict(zip(('body', 'key', 'topic', 'vector'), found))
  return dataset.map(element)

seqio.TaskRegistry.add(
  'own_docs',
  source=seqio.TextLineDataSource({'train': PATH, 'test': PATH}),
  preprocessors=[
    parse,
    functools.partial(seqio.preprocessors.rekey, key_map={'targets': 'body'}),
    seqio.preprocessors.tokenize,
  ],
  output_features={'targets': seqio.Feature(seqio.ByteVocabulary())},
)
"""
FIELDS = ('--text_field=body', '--id_field=key', '--domain_field=topic')


@pytest.fixture(scope='module')
def seqio():
  """The module, with registries that are empty afterwards."""
  module = pytest.importorskip('seqio')
  yield module
  module.TaskRegistry.reset()


@pytest.fixture(scope='module')
def own(seqio, documents, tmp_path_factory):
  """JSON Lines under other column names, and a module with their Task."""
  folder = tmp_path_factory.mktemp('own')
  path = folder / 'docs.jsonl'
  rows = [
    {'body': d['text'], 'key': f'k{i}', 'topic': d['domain'],
     'vector': [i, 1.0, i % 3]}
    for i, d in enumerate(documents)
  ]  # fmt: skip
  path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
  (folder / 'own_tasks.py').write_text(f'PATH = {str(path)!r}\n' + MODULE)
  with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(folder)
    yield path


def read(folder):
  table, _ = tables.read_score_table([str(folder)])
  order = np.argsort(table.id)
  [column] = table.scores.values()
  return table.id[order].tolist(), table.domain[order].tolist(), column[order]


def same(one, two):
  assert one[:2] == two[:2]
  np.testing.assert_array_equal(one[2], two[2])


def test_task_and_files_give_the_same_ids_domains_and_scores(
  run, ask_llm, own, tmp_path
):
  for name, source in {
    'files': (f'--input={own}',),
    'task': ('--task=own_docs', '--task_module=own_tasks', '--split=test'),
  }.items():
    result = run(*ask_llm, *FIELDS, *source, f'--output={tmp_path / name}')
    assert result.code == 0, result.err
  same(read(tmp_path / 'files'), read(tmp_path / 'task'))
  assert read(tmp_path / 'task')[0][:2] == ['k0', 'k1']
  manifest = manifests.read_manifest(tmp_path / 'task')
  assert manifest['inputs'] == ['own_docs/test']


def test_vectors_of_a_task(run, tiny_model, own, tmp_path):
  for name, source in {
    'files': (f'--input={own}',),
    'task': ('--task=own_docs', '--task_module=own_tasks'),
  }.items():
    result = run(
      'score', '--method=density_references', f'--model={tiny_model}',
      "--gin.density_references.make.embedding='column:vector'",
      *FIELDS, *source, f'--output={tmp_path / name}',
    )  # fmt: skip
    assert result.code == 0, result.err
  same(read(tmp_path / 'files'), read(tmp_path / 'task'))


def test_a_selection_filters_a_task_for_training(
  run, tiny_model, own, documents, tmp_path
):
  ids = np.array([f'k{i}' for i in range(4, 20)], object)
  ones = np.ones(len(ids))
  chosen = Selection(ids, ones.astype(np.int32), ones)
  tables.write_selection(tmp_path / 'kept', chosen, {})
  result = run(
    'train', '--weighting=uniform', f'--model={tiny_model}', '--steps=1',
    '--task=own_docs', '--task_module=own_tasks', *FIELDS,
    f'--selection={tmp_path / "kept"}', f'--output={tmp_path / "model"}',
    '--gin.train.run.rows_per_batch=8', '--gin.train.run.encoder_length=32',
    '--gin.train.run.max_segments=2', '--gin.train.run.holdout_share=0.2',
  )  # fmt: skip
  assert result.code == 0, result.err
  found = re.search(r'on (\d+) documents .*, (\d+) held out', result.out)
  assert int(found[1]) + int(found[2]) < len(documents)  # not all of them


def test_c4_by_name_and_by_files(run, ask_llm, seqio, documents, tmp_path):
  tfds = pytest.importorskip('tensorflow_datasets')
  import tensorflow as tf

  version = tmp_path / 'tfds' / 'c4' / 'en' / '3.1.0'
  version.mkdir(parents=True)
  texts = [row['text'] for row in documents]
  for shard, own in enumerate((texts[:7], texts[7:])):
    path = version / f'c4-train.tfrecord-{shard:05d}-of-00002'
    with tf.io.TFRecordWriter(str(path)) as writer:
      for text in own:
        bytes_ = tf.train.BytesList(value=[text.encode()])
        feature = {'text': tf.train.Feature(bytes_list=bytes_)}
        features = tf.train.Features(feature=feature)
        example = tf.train.Example(features=features)
        writer.write(example.SerializeToString())
  tfds.folder_dataset.write_metadata(
    data_dir=version,
    features=tfds.features.FeaturesDict({'text': tfds.features.Text()}),
    split_infos=[
      tfds.core.SplitInfo(name='train', shard_lengths=[7, 23], num_bytes=0)
    ],
    filename_template='{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}',
  )
  seqio.set_tfds_data_dir_override(str(tmp_path / 'tfds'))
  try:
    for name, source in {
      'task': '--gin_file=corpora/c4.gin',
      'files': f'--input={version}',
    }.items():
      result = run(*ask_llm, source, f'--output={tmp_path / name}')
      assert result.code == 0, result.err
  finally:
    seqio.set_tfds_data_dir_override(None)
  same(read(tmp_path / 'files'), read(tmp_path / 'task'))
  ids = read(tmp_path / 'task')[0]
  assert len(ids) == 30
  assert ids[0] == 'c4-train.tfrecord-00000-of-00002__0'


@pytest.mark.parametrize(
  'more, words',
  [
    (['--task=own_dogs'], ["named 'own_dogs'", 'own_docs', '--task_module']),
    (['--task=own_docs', '--split=dev'], ["no split 'dev'", 'train, test']),
    (['--task=own_docs', '--task_module=no_module'], ["'no_module'"]),
    (['--task=own_docs', '--text_field=x', '--on_bad_row=no'], ['on_bad_row']),
  ],
)
def test_mistakes_are_one_clear_line(
  run, ask_llm, own, tmp_path, fails_clearly, more, words
):
  more = ['--task_module=own_tasks', *more]
  result = run(*ask_llm, *more, f'--output={tmp_path / "out"}')
  assert fails_clearly(result, *words)
