"""Judgements find their texts, and texts their places in packed rows."""

import numpy as np
import pytest

from jaxcurate.data import token_part
from jaxcurate.data.targets import Pairs, Targets
from jaxcurate.ops.ids import hash_ids
from jaxcurate.train import judge_data
from jaxcurate.types import Features

IDS = ['a', 'b', 'c', 'd', 'e']
TOKENS = [[5, 6, 7], [8], [9, 9, 9, 9, 9, 9, 9], [], [4, 4]]
WINDOW = 3


@pytest.fixture(scope='module')
def part(tmp_path_factory):
  folder = tmp_path_factory.mktemp('part') / 'text'
  writer = token_part.PartWriter(folder, 'uint16')
  none = np.full(len(IDS), -1, np.int32)
  writer.append(TOKENS, IDS, hash_ids(IDS), none, np.ones(len(IDS), np.int32))
  writer.finish()
  return token_part.open_part(folder, 'uint16')


def examples(documents, tokens):
  del documents
  return [
    [
      {'encoder': np.array(text[i : i + WINDOW], np.int32)}
      for i in range(0, len(text), WINDOW)
    ]
    for text in tokens
  ]


FEATURES = Features(
  name='windows', examples=examples, encoder_length=6, decoder_length=0,
  apply=lambda *_: {}, combine=lambda out: out, max_segments=4,
)  # fmt: skip


def targets(ids, *rows):
  values = np.array(rows, np.float64).reshape(len(ids), -1)
  names = tuple(f'c{i}' for i in range(values.shape[1]))
  return Targets(np.array(ids, object), values, names, '', 'file')


def pairs(*ids):
  values = np.full((len(ids), 1), 0.5)
  return Pairs(np.array(ids, object), values, ('p',), 'file')


def test_items_by_hand(part):
  found = judge_data.find_items(part, targets(['c', 'x', 'a'], 1, 2, 3))
  assert found.document.tolist() == [[2], [0]]
  assert found.target.tolist() == [[1], [3]]
  found = judge_data.find_items(part, pairs(['c', 'a'], ['a', 'x'], ['e', 'b']))
  assert found.document.tolist() == [[2, 0], [4, 1]]


def test_texts_without_tokens_and_rows_without_values_are_left_out(part):
  nan = np.nan
  judged = targets(['a', 'b', 'd'], [nan, nan], [1, nan], [1, 1])
  found = judge_data.find_items(part, judged)
  assert found.document.tolist() == [[1]]
  np.testing.assert_array_equal(found.target, [[1, nan]])


def windows_of(batch):
  """Text -> its windows' tokens, in order of rows and segments."""
  found = {}
  rows, segments = np.nonzero(batch['text'] >= 0)
  for row, segment in zip(rows, segments, strict=True):
    own = batch['encoder_segment_ids'][row] == segment + 1
    text = int(batch['text'][row, segment])
    tokens = batch['encoder_input_tokens'][row, own].tolist()
    found.setdefault(text, []).append(tokens)
  return {text: sorted(own) for text, own in found.items()}


@pytest.mark.parametrize('shards', [1, 4])
def test_every_window_is_of_its_text(part, shards):
  items = judge_data.find_items(part, pairs(['c', 'a'], ['e', 'b']))
  batch = judge_data.make_batch(part, items, FEATURES, 3, shards=shards)
  # First texts are 0 and 1 (2 is empty), second ones 3 and 4.
  assert windows_of(batch) == {
    0: [[9], [9, 9, 9], [9, 9, 9]], 1: [[4, 4]], 3: [[5, 6, 7]], 4: [[8]]
  }  # fmt: skip
  np.testing.assert_array_equal(batch['target'], [[0.5], [0.5], [np.nan]])
  assert len(batch['text']) % shards == 0


def test_row_counts_are_few(part):
  counts = set()
  for seed in range(40):
    rng = np.random.default_rng(seed)
    document = rng.choice([0, 1, 2, 4], (rng.integers(1, 30), 1))
    items = judge_data.Items(document, np.zeros((len(document), 1), np.float32))
    batch = judge_data.make_batch(part, items, FEATURES, 30)
    counts.add(len(batch['text']))
  assert len(counts) <= 13  # powers of 1.25 up to 23


def batches(part, seed=0):
  judged = targets(['a', 'b', 'c', 'e'], 0, 1, 2, 3)
  items = judge_data.find_items(part, judged)
  return judge_data.JudgeBatches(part, items, FEATURES, num_items=3, seed=seed)


def seen(iterator, count):
  return [next(iterator)['target'][:, 0].tolist() for _ in range(count)]


def test_every_pass_sees_everything_in_an_order_of_its_own(part):
  flat = [x for own in seen(batches(part), 12) for x in own]
  passes = [flat[i : i + 4] for i in range(0, 36, 4)]
  assert all(sorted(own) == [0, 1, 2, 3] for own in passes)
  assert len({tuple(own) for own in passes}) > 3
  assert seen(batches(part, seed=1), 12) != seen(batches(part), 12)


def test_a_place_in_the_data_is_a_number(part):
  whole = seen(batches(part), 9)
  first = batches(part)
  seen(first, 4)
  assert first.epochs() == 3  # of four items, after 4 x 3
  later = batches(part)
  later.restore(first.state())
  assert seen(later, 5) == whole[4:]


def test_in_order_passes_once(part):
  judged = targets(['a', 'b', 'c', 'e'], 0, 1, 2, 3)
  items = judge_data.find_items(part, judged)
  found = list(judge_data.in_order(part, items, FEATURES, num_items=3))
  assert [own.target[:, 0].tolist() for own, _ in found] == [[0, 1, 2], [3]]
  assert [len(batch['target']) for _, batch in found] == [3, 3]  # one shape
