"""Rows of contexts and their continuations."""

import numpy as np
import pytest

from jaxcurate.evaluate import continuation_rows as rows_lib


def test_equal_contexts_share_a_row():
  pairs = [([5, 6], [7]), ([5], [7]), ([5, 6], [8, 9])]
  shared, alone = sorted(
    rows_lib.gather(pairs, 10, causal=True), key=lambda row: row.places
  )
  assert shared == ([5], [[6], [6, 8]], [[7], [8, 9]], [0, 2])
  assert alone == ([], [[5]], [[7]], [1])


def test_an_encoder_reads_the_whole_context():
  [row] = rows_lib.gather([([5, 6], [7, 8])], 10, causal=False)
  assert row == ([5, 6], [[0, 7]], [[7, 8]], [0])


def test_contexts_that_are_cut_differently_part():
  pairs = [([1, 2, 3, 4], [5]), ([1, 2, 3, 4], [5, 6, 7])]
  one, three = rows_lib.gather(pairs, 4, causal=True)
  assert (one.context, one.inputs) == ([1, 2, 3], [[4]])
  assert (three.context, three.inputs) == ([3], [[4, 5, 6]])
  [row] = rows_lib.gather(pairs, 4, causal=False)
  assert row.context == [1, 2, 3, 4]


@pytest.mark.parametrize('count', [1, 8, 9, 20])
def test_every_pair_has_one_place(count):
  rows = rows_lib.gather([([1], [i]) for i in range(count)], 4, causal=True)
  assert sorted(place for row in rows for place in row.places) == list(
    range(count)
  )
  assert max(len(row.places) for row in rows) <= rows_lib.MAX_CHOICES


def test_few_shapes_and_the_largest_first():
  rng = np.random.default_rng(0)
  pairs = [
    (rng.integers(1, 9, n).tolist(), [1] * m)
    for n, m in rng.integers(1, 200, (300, 2))
  ]
  shapes = [
    shape
    for shape, _ in rows_lib.by_shape(rows_lib.gather(pairs, 512, causal=True))
  ]
  assert len(set(shapes)) == len(shapes) <= 5 * 6
  assert shapes == sorted(shapes, reverse=True)
  assert shapes[0].slots == 256 + 256


def test_arrays_of_a_row():
  pairs = [([5, 6], [7]), ([5, 6], [8, 9])]
  [(shape, rows)] = rows_lib.by_shape(rows_lib.gather(pairs, 10, causal=True))
  assert shape == (32, 2, 8)
  prepared = rows_lib.prepare(rows, shape)
  batch = prepared.batch
  assert batch['context'][0, :2].tolist() == [5, 0]
  assert batch['context_length'].tolist() == [1]
  assert batch['inputs'][0, :, :3].tolist() == [[6, 0, 0], [6, 8, 0]]
  assert batch['targets'][0, :, :3].tolist() == [[7, 0, 0], [8, 9, 0]]
  assert batch['lengths'].tolist() == [[1, 2]]
  assert (prepared.row.tolist(), prepared.segment.tolist()) == ([0, 0], [1, 2])
  assert (prepared.tokens, prepared.slots) == (1 + 3, 32 + 16)


def test_a_context_of_one_token_leaves_nothing_to_read():
  [(shape, rows)] = rows_lib.by_shape(
    rows_lib.gather([([5], [6])], 10, causal=True)
  )
  assert shape == (0, 1, 8)
  assert 'context' not in rows_lib.prepare(rows, shape).batch
  assert rows_lib.gather([([5], [])], 10, causal=True) == []
