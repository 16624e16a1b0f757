import gzip
import json

import numpy as np
import pytest

from jaxcurate.data import best_fit


def _plan(encoder, decoder=None, *, lengths=(512, 114), max_segments=16):
  encoder = np.asarray(encoder)
  decoder = np.zeros_like(encoder) if decoder is None else np.asarray(decoder)
  return best_fit.plan(
    encoder,
    decoder,
    encoder_length=lengths[0],
    decoder_length=lengths[1],
    max_segments=max_segments,
  )


def test_by_hand():
  # 6 opens row 0 (4 left), 5 row 1 (5 left), 4 fills row 0, 3 goes to row 1
  # (2 left), 2 fills it.
  row, segment = _plan([3, 5, 2, 6, 4], lengths=(10, 0))
  assert row.tolist() == [1, 1, 1, 0, 0]
  assert segment.tolist() == [2, 1, 3, 1, 2]


def test_the_fullest_row_that_fits_is_taken():
  # After 8, 7 and 5 the free lengths are 2, 3, 5: 3 belongs in the second.
  row, _ = _plan([8, 7, 5, 3], lengths=(10, 0))
  assert row.tolist() == [0, 1, 2, 1]


def test_decoder_length_is_a_limit_too():
  row, _ = _plan([2, 2, 2], [6, 5, 5], lengths=(10, 10))
  assert row.tolist() == [0, 1, 1]


def _slow_rows(encoder, max_segments, capacity):
  """Number of rows of best fit decreasing, by looking at every row."""
  rows = []
  for need in sorted(encoder, reverse=True):
    fits = [r for r in rows if r[0] >= need and r[1] < max_segments]
    if fits:
      best = min(fits, key=lambda r: r[0])
      best[0] -= need
      best[1] += 1
    else:
      rows.append([capacity - need, 1])
  return len(rows)


@pytest.mark.parametrize('max_segments', [1, 2, 4, 100])
def test_as_many_rows_as_the_slow_way(max_segments):
  rng = np.random.default_rng(0)
  encoder = rng.integers(1, 65, 150)
  row, _ = _plan(encoder, lengths=(64, 0), max_segments=max_segments)
  assert row.max() + 1 == _slow_rows(encoder.tolist(), max_segments, 64)


def test_limits_hold_and_places_are_gapless():
  rng = np.random.default_rng(1)
  encoder, decoder = rng.integers(1, 513, 800), rng.integers(0, 115, 800)
  row, segment = _plan(encoder, decoder, max_segments=5)
  assert np.bincount(row, encoder).max() <= 512
  assert np.bincount(row, decoder).max() <= 114
  assert np.bincount(row).max() <= 5
  places = sorted(zip(row.tolist(), segment.tolist(), strict=True))
  expected = [
    (index, place + 1)
    for index, count in enumerate(np.bincount(row))
    for place in range(count)
  ]
  assert places == expected


def test_a_thousand_real_lengths_fill_95_percent(shared_data):
  with gzip.open(shared_data / 'text' / 'openwebtext_1k.jsonl.gz') as file:
    words = [len(json.loads(line)['text'].split()) for line in file]
  lengths = np.clip(np.array(words), 1, 512)
  row, _ = _plan(lengths, max_segments=8)
  assert len(lengths) >= 1000
  assert lengths.sum() / (512 * (row.max() + 1)) >= 0.95


def test_degenerate_input():
  row, segment = _plan(np.zeros(0, np.int64))
  assert len(row) == len(segment) == 0
  row, segment = _plan([512, 512])
  assert (row.tolist(), segment.tolist()) == ([0, 1], [1, 1])
  row, _ = _plan([1] * 7, max_segments=3)
  assert row.tolist() == [0, 0, 0, 1, 1, 1, 2]


def test_errors_name_both_sides():
  with pytest.raises(ValueError, match='example 1 has 513 encoder tokens'):
    _plan([5, 513])
  with pytest.raises(ValueError, match='example 0 has 0 encoder tokens'):
    _plan([0, 5])
  with pytest.raises(ValueError, match='115 decoder tokens, a row holds 0'):
    _plan([5], [115])
  with pytest.raises(ValueError, match='max_segments is 0'):
    _plan([5], max_segments=0)
