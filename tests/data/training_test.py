import json

import numpy as np
import pytest

from jaxcurate.data import row_shape, token_cache, training
from jaxcurate.data.vocabulary import ByteVocabulary
from jaxcurate.io.errors import UserError
from jaxcurate.types import Document, Selection

VOCABULARY = ByteVocabulary()
SETTINGS = row_shape.row_settings(encoder_length=24, max_segments=3)
# 30 documents of 1 to 60 tokens; one of four is repeated.
COPIES = {f'id{i}': 1 + 2 * (i % 4 == 0) for i in range(30)}


@pytest.fixture(scope='module')
def part(tmp_path_factory):
  rng = np.random.default_rng(0)
  rows = [
    Document(f'id{i}', chr(97 + i % 26) * int(size), 'web')
    for i, size in enumerate(rng.integers(1, 60, 30))
  ]
  selection = Selection(
    id=np.array(list(COPIES), object),
    count=np.array(list(COPIES.values()), np.int32),
    expected_count=np.ones(30),
  )
  return token_cache.build(
    tmp_path_factory.mktemp('data') / 'cache',
    rows,
    VOCABULARY,
    settings={},
    selection=selection,
    holdout_share=0.0,
  ).train


def _batches(part, **kwargs):
  kwargs = {
    'rows_per_batch': 4,
    'seed': 7,
    'block_documents': 16,
    'prefetch': 0,
    **kwargs,
  }
  return training.TrainingBatches(part, VOCABULARY, SETTINGS, **kwargs)


def _take(batches, count):
  return [next(batches) for _ in range(count)]


def _assert_same(first, second):
  assert first.keys() == second.keys()
  for name in first:
    np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def _rows_of(batches):
  """Every row as bytes, in order."""
  return [
    b''.join(batch[name][row].tobytes() for name in sorted(batch))
    for batch in batches
    for row in range(len(batch['encoder_input_tokens']))
  ]


def _epoch_rows(part, **kwargs):
  """Number of rows in epoch 0."""
  batches = _batches(part, rows_per_batch=1, **kwargs)
  count = 0
  while batches.epochs() == 0:
    next(batches)
    count += 1
  return count


@pytest.mark.parametrize('windowing', ['document', 'concat'])
def test_shapes_never_change(part, windowing):
  batches = _batches(part, windowing=windowing)
  shapes = {
    tuple((name, batch[name].shape, str(batch[name].dtype)) for name in batch)
    for batch in _take(batches, 12)
  }
  assert len(shapes) == 1
  table = {name: shape for name, shape, _ in shapes.pop()}
  assert table['encoder_input_tokens'] == (4, 24)
  assert table['decoder_target_tokens'] == (4, SETTINGS.decoder_length)


def test_an_epoch_has_every_copy_of_every_document_once(part):
  count = _epoch_rows(part)
  rows = _take(_batches(part, rows_per_batch=1), 2 * count)
  for epoch in (rows[:count], rows[count:]):
    seen = {}
    for batch in epoch:
      starts = batch['encoder_positions'] == 0
      for high, low in batch['document_id_hash'].reshape(-1, 2).tolist():
        seen[high << 32 | low] = seen.get(high << 32 | low, 0) + 1
      assert starts.any()
    seen.pop(0, None)
    lengths = np.diff(part.offsets)
    windows = -(-lengths // SETTINGS.raw_length)
    copies = np.diff(part.copies_end, prepend=0)
    expected = dict(
      zip(part.id_hash.tolist(), (windows * copies).tolist(), strict=True)
    )
    assert seen == expected


def test_epochs_and_seeds_differ(part):
  count = _epoch_rows(part)
  rows = _rows_of(_take(_batches(part), count // 2))
  other = _rows_of(_take(_batches(part, seed=8), count // 4))
  first, second = rows[:count], rows[count : 2 * count]
  for stream in (second, other):
    pairs = list(zip(first, stream, strict=False))
    assert sum(a == b for a, b in pairs) < len(pairs) / 10
    assert sorted(first) != sorted(stream)


@pytest.mark.parametrize('windowing', ['document', 'concat'])
@pytest.mark.parametrize('prefetch', [0, 3])
def test_restored_batches_are_those_of_an_undisturbed_run(
  part, windowing, prefetch
):
  options = {'windowing': windowing, 'prefetch': prefetch}
  undisturbed = _take(_batches(part, windowing=windowing), 26)
  running = _batches(part, **options)
  epochs = set()
  for stop in range(0, 24, 3):
    state = json.loads(json.dumps(running.state()))
    epochs.add(state['epoch'])
    fresh = _batches(part, **options)
    fresh.restore(state)
    assert fresh.state() == state
    for expected, batch in zip(undisturbed[stop:], _take(fresh, 2)):
      _assert_same(expected, batch)
    fresh.close()
    for expected, batch in zip(undisturbed[stop:], _take(running, 3)):
      _assert_same(expected, batch)
  assert len(epochs) > 1  # the test crossed an epoch
  running.close()


def test_restoring_the_iterator_itself_goes_back(part):
  batches = _batches(part, prefetch=2)
  first = _take(batches, 3)
  state = batches.state()
  after = _take(batches, 4)
  batches.restore(state)
  for expected, batch in zip(after, _take(batches, 4), strict=True):
    _assert_same(expected, batch)
  batches.restore(_batches(part).state())
  _assert_same(first[0], next(batches))
  batches.close()
  _assert_same(
    first[1], next(batches)
  )  # closing loses only what was made ahead
  batches.close()


@pytest.mark.parametrize('windowing', ['document', 'concat'])
def test_shards_are_parts_of_the_whole_batch(part, windowing):
  whole = _batches(part, windowing=windowing)
  shards = [
    _batches(part, windowing=windowing, shard=shard, num_shards=2)
    for shard in range(2)
  ]
  for _ in range(12):
    parts = [next(shard) for shard in shards]
    joined = {
      name: np.concatenate([piece[name] for piece in parts])
      for name in parts[0]
    }
    _assert_same(next(whole), joined)
  assert len({json.dumps(b.state()) for b in (whole, *shards)}) == 1


def test_rows_do_not_depend_on_the_batch_size(part):
  small = _rows_of(_take(_batches(part, rows_per_batch=2), 15))
  large = _rows_of(_take(_batches(part, rows_per_batch=6), 5))
  assert small == large
  state = {}
  batches = _batches(part, rows_per_batch=6)
  next(batches)
  state = batches.state()
  others = _batches(part, rows_per_batch=2)
  others.restore(state)
  assert _rows_of(_take(others, 3)) == large[6:12]


def test_columns_follow_their_documents(part):
  score = np.arange(30, dtype=np.float32) + 1
  batch = next(_batches(part, columns={'score': score}))
  table = dict(zip(part.id_hash.tolist(), score.tolist(), strict=True))
  for (high, low), value in zip(
    batch['document_id_hash'].reshape(-1, 2).tolist(),
    batch['document_score'].reshape(-1).tolist(),
    strict=True,
  ):
    assert value == table.get(high << 32 | low, 0.0)


def test_a_batch_larger_than_an_epoch(part):
  count = _epoch_rows(part)
  batches = _batches(part, rows_per_batch=3 * count)
  batch = next(batches)
  assert batch['encoder_segment_ids'].any(axis=1).all()
  assert batches.epochs() >= 2


def test_one_document_of_one_token(tmp_path):
  part = token_cache.build(
    tmp_path / 'c',
    [Document('a', 'x', None)],
    VOCABULARY,
    settings={},
    holdout_share=0.0,
  ).train
  batch = next(_batches(part, rows_per_batch=1))
  assert batch['encoder_input_tokens'][0, :3].tolist() == [123, 1, 0]
  assert batch['decoder_target_tokens'][0, :3].tolist() == [358, 1, 0]
  assert batch['document_domain'].tolist() == [[-1] * 3]


def test_errors_are_one_clear_line(part, tmp_path):
  empty = token_cache.build(
    tmp_path / 'c',
    [Document('a', 'x', None)],
    VOCABULARY,
    settings={},
    holdout_share=0.0,
  ).eval
  with pytest.raises(UserError, match='no document to train on'):
    _batches(empty)
  with pytest.raises(
    UserError, match='4 rows per batch cannot be split among 3'
  ):
    _batches(part, num_shards=3)
  with pytest.raises(UserError, match=r'document columns \(score\) need'):
    _batches(
      part, windowing='concat', columns={'score': np.ones(30, np.float32)}
    )
  with pytest.raises(ValueError, match="'score' has 29 values, the part 30"):
    _batches(part, columns={'score': np.ones(29, np.float32)})
  state = _batches(part).state()
  for other in ({'seed': 8}, {'windowing': 'concat'}, {'block_documents': 8}):
    with pytest.raises(UserError, match='trained on other data'):
      _batches(part, **other).restore(state)


def test_an_error_in_the_background_is_raised_in_front(part):
  settings = row_shape.row_settings(encoder_length=24, noise_density=0.4)
  batches = training.TrainingBatches(
    part, ByteVocabulary(extra_ids=1), settings, rows_per_batch=2, seed=0
  )
  with pytest.raises(ValueError, match='the vocabulary has 1'):
    _take(batches, 50)
  batches.close()
