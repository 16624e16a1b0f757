"""A seqio Task in the shares of a Mixture: its rows, shares and mistakes."""

import collections
import json
from typing import Any

import numpy as np
import pytest

from jaxcurate.data import mixture_task
from jaxcurate.io import tables
from jaxcurate.io.errors import UserError
from jaxcurate.types import Selection

LENGTHS = {'inputs': 24, 'targets': 12}
TEXTS = [(f'id{i}', 'ab'[i % 2] * (30 + i), 'ab'[i % 2]) for i in range(12)]


@pytest.fixture
def seqio():
  """The module, with registries that are empty afterwards."""
  module = pytest.importorskip('seqio')
  yield module
  module.TaskRegistry.reset()
  module.MixtureRegistry.reset()


@pytest.fixture
def task(seqio):
  """(name, texts, vocabulary) -> a Task of texts, ids and domains."""

  def add(name='docs', texts=TEXTS, vocabulary=None):
    import tensorflow as tf

    def dataset(split, shuffle_files, seed=None):
      keys = ('id', 'text', 'domain')
      columns: Any = dict(zip(keys, map(list, zip(*texts, strict=True))))
      return tf.data.Dataset.from_tensor_slices(columns)

    def rekey(rows):
      return rows.map(lambda row: {name: row['text'] for name in LENGTHS})

    words = vocabulary or seqio.ByteVocabulary(extra_ids=100)
    seqio.TaskRegistry.add(
      name,
      source=seqio.FunctionDataSource(dataset, splits=['train', 'validation']),
      preprocessors=[rekey, seqio.preprocessors.tokenize],
      output_features={f: seqio.Feature(words) for f in LENGTHS},
    )
    return name

  return add


@pytest.fixture
def mixture(tmp_path):
  def write(**shares):
    path = tmp_path / '-'.join(shares)
    domains = {name: {'share': share} for name, share in shares.items()}
    path.write_text(json.dumps({'domains': domains}))
    return str(path)

  return write


def rows_of(seqio, name, count, split='train', seed=None):
  rows = seqio.TaskRegistry.get(name).get_dataset(
    LENGTHS, split=split, shuffle=False, seed=seed
  )
  return list(rows.take(count).as_numpy_iterator())


def mix(name, path, folder, **options):
  options = {'lengths': LENGTHS, 'new_name': 'mixed', **options}
  return mixture_task.mix_task(name, path, folder=str(folder), **options)


def test_rows_come_in_the_shares_and_other_splits_stay(
  seqio, task, mixture, tmp_path
):
  name = mix(task(), mixture(a=0.75, b=0.25), tmp_path / 'tokens')
  rows = rows_of(seqio, name, 80)
  counts = collections.Counter()
  for row in rows:
    assert len(row['inputs']) <= 24 and len(row['targets']) <= 12
    assert row['inputs'][-1] == row['targets'][-1] == 1  # EOS
    letters = {int(t) - 3 for t in np.concatenate(list(row.values()))}
    [letter] = letters & {ord('a'), ord('b')}
    counts[chr(letter)] += 1
  assert abs(counts['a'] - 60) <= 2
  again = rows_of(seqio, name, 80)
  other = rows_of(seqio, name, 80, seed=5)
  same = [
    all(np.array_equal(a[f], b[f]) for f in LENGTHS)
    for stream in (again, other)
    for a, b in zip(rows, stream, strict=True)
  ]
  assert all(same[:80]) and sum(same[80:]) < 60
  others = rows_of(seqio, name, 99, split='validation')
  assert len(others) == 12 and set(others[0]) == set(LENGTHS)


def test_a_selection_chooses_and_repeats(seqio, task, mixture, tmp_path):
  kept = Selection(
    np.array(['id1'], object), np.array([2], np.int32), np.ones(1)
  )
  tables.write_selection(tmp_path / 'kept', kept, {})
  name = mix(
    task(), mixture(b=1.0), tmp_path / 'tokens',
    selection=str(tmp_path / 'kept'),
  )  # fmt: skip
  tokens = {int(t) for row in rows_of(seqio, name, 9) for t in row['inputs']}
  assert ord('b') + 3 in tokens and ord('a') + 3 not in tokens
  with pytest.raises(UserError, match='in domain a of the mixture'):
    mix('docs', mixture(a=1.0), tmp_path / 'tokens', new_name='other',
        selection=str(tmp_path / 'kept'))  # fmt: skip


def test_tasks_of_a_seqio_mixture_are_domains(seqio, task, mixture, tmp_path):
  for letter in 'ab':
    own = [(i, text, '') for i, text, domain in TEXTS if domain == letter]
    task(f'only_{letter}', [(i, text) for i, text, _ in own])
  seqio.MixtureRegistry.add('both', ['only_a', 'only_b'], default_rate=1.0)
  path = mixture(only_a=0.2, only_b=0.8)
  name = mix('both', path, tmp_path / 'tokens', domain_field='none')
  heads = [int(row['inputs'][0]) - 3 for row in rows_of(seqio, name, 40)]
  heads = [head for head in heads if head in (ord('a'), ord('b'))]
  assert heads.count(ord('b')) > 2 * heads.count(ord('a')) > 0


def test_mistakes_are_one_clear_line(seqio, task, mixture, tmp_path):
  name, tokens = task(), tmp_path / 'tokens'
  with pytest.raises(UserError, match='have 6 targets, and TASK_FEATURE'):
    mix(name, mixture(a=1.0), tokens, lengths={'inputs': 24, 'targets': 5})
  with pytest.raises(UserError, match='TASK_FEATURE_LENGTHS, lacks inputs'):
    mix(name, mixture(a=1.0), tokens, lengths={'targets': 5})
  with pytest.raises(UserError, match=r'names zz, the corpus has .* in a, b'):
    mix(name, mixture(zz=1.0), tokens)
  with pytest.raises(UserError, match="no seqio task or mixture is named 'x'"):
    mix('x', mixture(a=1.0), tokens)
  other = task('other', vocabulary=seqio.PassThroughVocabulary(99))
  with pytest.raises(UserError, match='PassThroughVocabulary; MIXTURE needs'):
    mix(other, mixture(a=1.0), tokens)
  shaped = tmp_path / 'shaped'
  shape = {'share': 1.0, 'steepness': 9.0, 'keep_fraction': 0.5, 'floor': 0.0,
           'repetition': 1.0, 'criteria': {'x': 1.0}}  # fmt: skip
  shaped.write_text(json.dumps({'domains': {'a': shape}}))
  with pytest.raises(UserError, match='give the Selection that'):
    mix(name, shaped, tokens)
