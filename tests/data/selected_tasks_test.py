"""A Selection filters and repeats any Task."""

import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jaxcurate.data import selected_tasks, seqio_tasks
from jaxcurate.data.seqio_tasks import open_task
from jaxcurate.io import tables
from jaxcurate.io.errors import UserError
from jaxcurate.types import Selection


def as_pairs(corpus, **shard):
  return [(row.id, row.text) for row in corpus.rows(**shard)]


def write_selection(folder, counts):
  selection = Selection(
    id=np.array(list(counts), object),
    count=np.array(list(counts.values()), np.int32),
    expected_count=np.array(list(counts.values()), np.float64),
  )
  tables.write_selection(folder, selection, {})
  return folder


def decoded(name, **kwargs):
  import seqio

  dataset = seqio.get_mixture_or_task(name).get_dataset(
    {'targets': 10_000}, shuffle=False, **kwargs
  )
  return [
    bytes(np.clip(row['targets'][:-1] - 3, 0, 255).astype(np.uint8)).decode()
    for row in dataset.as_numpy_iterator()
  ]


@pytest.fixture
def c4_bytes(c4_dir, seqio, byte_feature):
  """C4 with a vocabulary that needs no file."""
  name = 'c4_bytes'
  seqio_tasks.register_c4('c4_for_source', data_dir=str(c4_dir))
  task = seqio.TaskRegistry.get('c4_for_source')
  seqio.TaskRegistry.add_provider(
    name, task.replace(name=name, output_features={'targets': byte_feature})
  )
  return name


def test_selection_filters_and_repeats_a_tfds_task(c4_bytes, seqio, tmp_path):
  name = c4_bytes
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


def test_selection_by_an_id_column_and_by_position(
  tmp_path, seqio, json_task, byte_feature, documents
):
  by_id = write_selection(tmp_path / 'by_id', {'w3': 2, 'w20': 1})
  new = selected_tasks.select_task(json_task, by_id, new_name='some')
  texts = [documents[3], documents[3], documents[20]]
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
    output_features={'targets': byte_feature},
  )
  assert as_pairs(open_task('lines'))[2] == ('lines/train:2', 'two')
  by_row = write_selection(tmp_path / 'by_row', {'lines/train:2': 3})
  new = selected_tasks.select_task('lines', by_row)
  assert decoded(new, split='train') == ['two'] * 3


def test_selection_of_a_mixture_keeps_its_rates(
  c4_bytes, json_task, seqio, tmp_path
):
  parts = [(json_task, 1), (c4_bytes, 3)]
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


def test_what_can_be_wrong_with_a_selection(c4_bytes, tmp_path):
  name = c4_bytes
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
