"""Any seqio Task or Mixture read as a corpus."""

import pathlib

import gin
import numpy as np
import pytest

from jaxcurate.data import seqio_tasks
from jaxcurate.data.readers import open_corpus
from jaxcurate.data.seqio_tasks import open_task
from jaxcurate.io.errors import UserError


@pytest.fixture
def c4_task(c4_dir, seqio):
  seqio_tasks.register_c4('c4_tiny', data_dir=str(c4_dir))
  return 'c4_tiny'


def as_pairs(corpus, **shard):
  return [(row.id, row.text) for row in corpus.rows(**shard)]


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


def test_task_over_json_lines_equals_the_direct_reader(tmp_path, json_task):
  path = tmp_path / 'a.jsonl'
  assert as_pairs(open_task(json_task)) == as_pairs(open_corpus([str(path)]))


def test_task_without_text_column_gives_its_strings(
  tmp_path, seqio, byte_feature
):
  import tensorflow as tf

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
    output_features={'inputs': byte_feature, 'targets': byte_feature},
  )
  assert as_pairs(open_task('pairs')) == [
    ('pairs/train:0', 'q1\na1'),
    ('pairs/train:1', 'q2\na2'),
  ]


def test_real_c4_documents_from_token_ids(shared_data, seqio):
  import tensorflow as tf

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


def test_mixture_is_all_its_tasks(seqio, json_task, c4_task, documents):
  seqio.MixtureRegistry.add('both', [(json_task, 1), (c4_task, 3)])
  rows = list(open_task('both').rows())
  assert len(rows) == 2 * len(documents)
  assert {row.domain for row in rows} == {'json_task', 'c4_tiny'}


def test_what_can_be_wrong_with_a_task(tmp_path, seqio, c4_task, byte_feature):
  import tensorflow as tf

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
    output_features={'targets': byte_feature},
  )
  with pytest.raises(UserError, match='columns: body; name the text column'):
    open_task('textless')
  rows = list(open_task('textless', text_field='body').rows())
  assert [row.text for row in rows] == ['x']


def test_c4_by_its_gin_file(c4_dir, seqio):
  root = pathlib.Path(seqio_tasks.__file__).parents[2]
  with gin.unlock_config():
    gin.parse_config_file(str(root / 'gin_configs' / 'corpora' / 'c4.gin'))
    name, split = (gin.query_parameter(f'%{m}') for m in ('TASK', 'SPLIT'))
    gin.clear_config()
  seqio.set_tfds_data_dir_override(str(c4_dir))
  try:
    assert len(list(open_task(name, split=split).rows())) == 23
  finally:
    seqio.set_tfds_data_dir_override(None)
