"""Tasks by name, for run files that mention them more than once."""

import json

import numpy as np
import pytest

from jaxcurate.io import tables
from jaxcurate.io.errors import UserError
from jaxcurate.t5x import tasks
from jaxcurate.types import Selection


@pytest.fixture
def seqio():
  """The module, with registries that are empty afterwards."""
  module = pytest.importorskip('seqio')
  yield module
  module.TaskRegistry.reset()
  tasks._ADDED.clear()


@pytest.fixture
def like(seqio):
  """A Task of texts in bytes, whose own source is empty."""
  feature = seqio.Feature(seqio.ByteVocabulary(), add_eos=True)

  def rekey(dataset):
    return dataset.map(lambda row: {'targets': row['text']})

  seqio.TaskRegistry.add(
    'like',
    source=seqio.FunctionDataSource(
      lambda split, shuffle_files, seed=None: None, splits=['train']
    ),
    preprocessors=[
      rekey,
      seqio.preprocessors.tokenize,
      seqio.preprocessors.append_eos,
    ],
    output_features={'targets': feature},
  )
  return 'like'


def texts_of(seqio, name, split='train'):
  task = seqio.TaskRegistry.get(name)
  words = task.output_features['targets'].vocabulary
  rows = task.get_dataset({'targets': 99}, split=split, shuffle=False)
  return [
    words.decode(row['targets'].tolist()[:-1])
    for row in rows.as_numpy_iterator()
  ]


def write(path, texts):
  rows = [{'id': f'{path.stem}{i}', 'text': t} for i, t in enumerate(texts)]
  path.write_text('\n'.join(map(json.dumps, rows)) + '\n')
  return str(path)


def test_files_go_through_another_tasks_preprocessors(seqio, like, tmp_path):
  files = {
    'train': [write(tmp_path / 'a.jsonl', ['one', 'two']),
              write(tmp_path / 'b.jsonl', ['three'])],
    'validation': write(tmp_path / 'c.jsonl', ['four']),
  }  # fmt: skip
  name = tasks.from_files(files, like=like, name='mine')
  assert name == 'mine'
  assert texts_of(seqio, name) == ['one', 'two', 'three']
  assert texts_of(seqio, name, 'validation') == ['four']
  # Gin asks again wherever a macro is used.
  assert tasks.from_files(files, like=like, name='mine') == name


def test_a_selection_of_files_by_their_ids(seqio, like, tmp_path):
  texts = ['one', 'two', 'three']
  files = {'train': write(tmp_path / 'a.jsonl', texts)}
  name = tasks.from_files(files, like=like, name='mine')
  assert tasks.selected(name) == name
  kept = tmp_path / 'kept'
  ids, counts = np.array(['a0', 'a2'], object), np.array([1, 2], np.int32)
  tables.write_selection(kept, Selection(ids, counts, counts * 1.0), {})
  for _ in range(2):
    assert tasks.selected(name, selection=str(kept)) == 'mine_selected'
  assert texts_of(seqio, 'mine_selected') == ['one', 'three', 'three']


def test_what_is_not_there_is_named(seqio, like, tmp_path):
  with pytest.raises(UserError, match='nobody'):
    tasks.from_files({'train': 'a.jsonl'}, like='nobody', name='mine')
  with pytest.raises(UserError, match=r'none\.jsonl'):
    tasks.from_files(
      {'train': str(tmp_path / 'none.jsonl')}, like=like, name='mine'
    )
  files = {'train': write(tmp_path / 'a.jsonl', ['one'])}
  name = tasks.from_files(files, like=like, name='mine')
  with pytest.raises(UserError, match='no selection'):
    tasks.selected(name, selection=str(tmp_path / 'none'))


def test_files_in_the_shares_of_a_mixture(seqio, like, tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  rows = [
    {'id': f'{i}', 'text': 'xy'[i % 2] * 40, 'domain': 'xy'[i % 2]}
    for i in range(10)
  ]
  path = tmp_path / 'a.jsonl'
  path.write_text('\n'.join(map(json.dumps, rows)) + '\n')
  name = tasks.from_files({'train': str(path)}, like=like, name='mine')
  mixture = tmp_path / 'mixture.json'
  shares = {'x': {'share': 0.75}, 'y': {'share': 0.25}}
  mixture.write_text(json.dumps({'domains': shares}))
  lengths = {'inputs': 24, 'targets': 12}
  with pytest.raises(UserError, match='lacks inputs'):
    tasks.selected(name, mixture=str(mixture), lengths=lengths)
  task = seqio.TaskRegistry.get(name)
  feature = task.output_features['targets']
  seqio.TaskRegistry.remove(name)
  both = {'inputs': feature, 'targets': feature}
  seqio.TaskRegistry.add_provider(name, task.replace(output_features=both))
  for _ in range(2):  # Gin asks again
    assert 'mine_mixed' == tasks.selected(
      name, mixture=str(mixture), lengths=lengths
    )
  found = seqio.TaskRegistry.get('mine_mixed').get_dataset(
    lengths, shuffle=False
  )
  heads = [
    chr(int(min(token for token in row['targets'] if token > 2)) - 3)
    for row in found.take(40).as_numpy_iterator()
  ]
  assert abs(heads.count('x') - 30) <= 3
