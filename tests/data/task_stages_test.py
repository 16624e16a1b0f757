"""Which stage of a Task is read, and which ids its rows get."""

import pytest

from jaxcurate.data import task_stages
from jaxcurate.io.errors import UserError


@pytest.fixture
def add_task(seqio, byte_feature):
  """(elements, preprocessors, features) -> a registered Task of them."""
  import tensorflow as tf

  def add(elements, preprocessors=(), features=('targets',)):
    def dataset(split, shuffle_files, seed=None):
      del split, shuffle_files, seed
      return tf.data.Dataset.from_tensor_slices(elements)

    return seqio.TaskRegistry.add(
      'made',
      source=seqio.FunctionDataSource(dataset, splits=['train']),
      preprocessors=list(preprocessors),
      output_features=dict.fromkeys(features, byte_feature),
    )

  return add


def ids(task, stage, id_field='id'):
  rows = task_stages.documents(task, 'train', [0], stage, id_field)
  return [row_id.decode() for row_id, _ in rows.as_numpy_iterator()]


def test_the_earliest_text_column_wins(seqio, add_task):
  task = add_task(
    {'text': ['a', 'b'], 'url': ['u', 'v']},
    [
      lambda dataset: dataset.map(lambda row: {**row, 'targets': row['text']}),
      seqio.preprocessors.tokenize,
    ],
  )
  stage = task_stages.find_stage(task, 'train', 'text', ['id', 'url'])
  assert stage == (0, 'text', ('text', 'url'))
  assert task_stages.find_stage(task, 'train', 'nope')[:2] == (1, 'strings')


def test_strings_are_taken_just_before_they_are_tokenised(seqio, add_task):
  def shout(dataset):
    return dataset.map(lambda row: {'targets': row['targets'] + '!'})

  task = add_task(
    {'targets': ['a', 'b']}, [shout, shout, seqio.preprocessors.tokenize]
  )
  assert task_stages.find_stage(task, 'train', 'text') == (
    2,
    'strings',
    ('targets',),
  )


def test_token_ids_are_the_last_resort(seqio, add_task):
  task = add_task(
    {'inputs': [[5, 6], [7, 8]], 'targets': [[9], [10]]},
    [seqio.preprocessors.append_eos],
    ('inputs', 'targets'),
  )
  assert task_stages.find_stage(task, 'train', 'text') == (
    0,
    'tokens',
    ('inputs', 'targets'),
  )


def test_preprocessors_after_the_cache_are_not_run(seqio, add_task):
  def needs_lengths(dataset, sequence_length):
    raise AssertionError(f'run with {sequence_length}')

  task = add_task(
    {'targets': ['a']}, [seqio.CacheDatasetPlaceholder(), needs_lengths]
  )
  assert task_stages.find_stage(task, 'train', 'text').kind == 'strings'


def test_no_text_at_all(add_task):
  with pytest.raises(UserError, match='columns: label, score'):
    task_stages.find_stage(
      add_task({'score': [1.5], 'label': [3]}), 'train', 'text'
    )


def test_ids_by_column_by_tfds_and_by_position(add_task):
  columns = {
    'text': ['a', 'b', 'c'],
    'id': ['x', '', 'z'],
    'tfds_id': ['f__0', 'f__1', 'f__2'],
    'number': [7, 8, 9],
  }
  task = add_task(columns)
  positions = [f'made/train:{i}' for i in range(3)]
  for field, expected in [
    ('id', ['x', positions[1], 'z']),
    ('number', ['7', '8', '9']),
    ('absent', ['f__0', 'f__1', 'f__2']),
  ]:
    stage = task_stages.find_stage(task, 'train', 'text', [field])
    assert ids(task, stage, field) == expected
  without = task_stages.Stage(0, 'text', ('text',))
  assert ids(task, without) == positions


def test_ids_name_the_shard_where_there_are_several(tmp_path, seqio):
  for name, lines in [('a', 'one\ntwo\n'), ('b', 'three\n')]:
    (tmp_path / f'{name}.txt').write_text(lines)
  task = seqio.TaskRegistry.add(
    'lines',
    source=seqio.TextLineDataSource({'train': str(tmp_path / '*.txt')}),
    preprocessors=[lambda d: d.map(lambda line: {'text': line})],
    output_features={},
  )
  stage = task_stages.find_stage(task, 'train', 'text')
  assert stage.num_preprocessors == 1  # plain lines have no columns
  assert [
    name.rpartition('/')[2] for name in task_stages.shards_of(task, 'train')
  ] == ['a.txt', 'b.txt']
  both = task_stages.documents(task, 'train', [1, 0], stage, 'id')
  assert [
    (row_id.decode(), row['text'].decode())
    for row_id, row in both.as_numpy_iterator()
  ] == [
    ('lines/train/1:0', 'three'),
    ('lines/train/0:0', 'one'),
    ('lines/train/0:1', 'two'),
  ]


def test_preprocessors_that_draw_draw_the_same_again(seqio, add_task):
  import tensorflow as tf

  @seqio.map_over_dataset(num_seeds=1)
  def noisy(row, seed):
    noise = tf.random.stateless_uniform([], seed, maxval=10**6, dtype=tf.int32)
    return {'text': row['body'] + tf.strings.as_string(noise)}

  task = add_task({'body': ['a'] * 8}, [noisy])
  stage = task_stages.find_stage(task, 'train', 'text')

  def texts():
    rows = task_stages.documents(task, 'train', [0], stage, 'id')
    return [row['text'] for _, row in rows.as_numpy_iterator()]

  first = texts()
  assert len(set(first)) > 4
  assert texts() == first
