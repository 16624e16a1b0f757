import time

import numpy as np
import pytest

from jaxcurate.data.vocabulary import ByteVocabulary
from jaxcurate.ops import span_corruption

VOCABULARY = ByteVocabulary(extra_ids=100)  # sentinels 358, 357, ...


def _mask(pattern):
  return np.array([letter == 'x' for letter in pattern], bool)


@pytest.mark.parametrize(
  'pattern, inputs, targets',
  [
    ('..xx.x', [10, 11, 358, 14, 357, 1], [358, 12, 13, 357, 15, 1]),
    ('......', [10, 11, 12, 13, 14, 15, 1], [358, 1]),
    ('xxxxxx', [358, 1], [10, 11, 12, 13, 14, 15, 1]),
    ('x....x', [358, 11, 12, 13, 14, 357, 1], [10, 358, 15, 1]),
    ('.x.x.x', [10, 358, 12, 357, 14, 356, 1], [358, 11, 357, 13, 356, 15, 1]),
  ],
)
def test_corrupt_by_hand(pattern, inputs, targets):
  tokens = np.arange(10, 16, dtype=np.int32)
  got = span_corruption.corrupt(tokens, _mask(pattern), VOCABULARY)
  assert [part.tolist() for part in got] == [inputs, targets]
  assert all(part.dtype == np.int32 for part in got)


def _slow_corrupt(tokens, mask):
  """T5's definition, one token at a time."""
  sides = []
  for gone in (True, False):
    output, used = [], 0
    for index, (token, noisy) in enumerate(zip(tokens, mask, strict=True)):
      if noisy != gone:
        output.append(int(token))
      elif index == 0 or mask[index - 1] != gone:
        output.append(358 - used)
        used += 1
    sides.append([*output, 1])
  return sides


def test_corrupt_equals_the_slow_definition_on_any_mask():
  rng = np.random.default_rng(0)
  for length in [0, 1, 2, 3, 17, 150]:
    for density in (0.1, 0.5, 0.9):
      tokens = rng.integers(3, 259, length).astype(np.uint16)
      mask = rng.random(length) < density
      got = span_corruption.corrupt(tokens, mask, VOCABULARY)
      assert [part.tolist() for part in got] == _slow_corrupt(tokens, mask)


def test_carry_follows_every_token():
  rng = np.random.default_rng(1)
  for length in (1, 2, 60):
    tokens = np.arange(3, 3 + length, dtype=np.int32)
    mask = rng.random(length) < 0.3
    sides = span_corruption.corrupt(tokens, mask, VOCABULARY)
    carried = span_corruption.carry(tokens, mask)
    for side, values in zip(sides, carried, strict=True):
      assert len(side) == len(values)
      kept = (side >= 3) & (side < 259)
      np.testing.assert_array_equal(side[kept], values[kept])
      assert values[-1] == tokens[-1]


@pytest.mark.parametrize(
  'length, noise, spans',
  # By hand: round(l * 0.15), round(noise / 3), half to even.
  [
    (0, 1, 1),
    (1, 1, 1),
    (2, 1, 1),
    (10, 2, 1),
    (30, 4, 1),
    (50, 8, 3),
    (568, 85, 28),
    (10_000, 1500, 500),
  ],
)
def test_counts_by_hand(length, noise, spans):
  got = span_corruption.noise_counts(length)
  assert [int(count) for count in got] == [noise, spans]


def test_inputs_512_are_568_raw_tokens_and_114_targets():
  assert span_corruption.raw_length(512) == (568, 114)
  # Expected values of T5's own test of random_spans_helper.
  for span, expected in [(2.0, (70, 22)), (1.0, (63, 27))]:
    got = span_corruption.raw_length(
      64, noise_density=0.2, mean_span_length=span
    )
    assert got == expected


def _slow_raw_length(inputs_length, density, span):
  """The longest text that fits, by counting in Python's own floats."""
  fitting = []
  for raw in range(2, 3 * inputs_length):
    noise = min(max(round(raw * density), 1), raw - 1)
    spans = min(max(round(noise / span), 1), raw - noise)
    if raw - noise + spans + 1 <= inputs_length:
      fitting.append((raw, noise + spans + 1))
  return fitting[-1]


@pytest.mark.parametrize('inputs_length', [4, 20, 64, 511, 1024])
@pytest.mark.parametrize('density, span', [(0.15, 3.0), (0.15, 2.0), (0.3, 8)])
def test_raw_length_is_the_longest_that_fits(inputs_length, density, span):
  got = span_corruption.raw_length(
    inputs_length, noise_density=density, mean_span_length=float(span)
  )
  assert got == _slow_raw_length(inputs_length, density, span)


@pytest.mark.parametrize('density, span', [(0.15, 3.0), (0.5, 1.0), (0.9, 4.0)])
def test_mask_has_exactly_the_counts_and_lengths_foretold(density, span):
  settings = {'noise_density': density, 'mean_span_length': span}
  rng = np.random.default_rng(2)
  for length in [1, 2, 3, 4, 5, 9, 33, 100, 201]:
    mask = span_corruption.noise_mask(length, rng=rng, **settings)
    assert mask.shape == (length,)
    assert not mask[0]
    noise, spans = span_corruption.noise_counts(length, **settings)
    if length > 1:
      starts = mask & ~np.concatenate([[False], mask[:-1]])
      assert (mask.sum(), starts.sum()) == (noise, spans)
      assert mask[-1]
    sides = span_corruption.corrupt(
      np.full(length, 9, np.int32), mask, ByteVocabulary(extra_ids=200)
    )
    foretold = span_corruption.corrupted_lengths(length, **settings)
    assert [len(side) for side in sides] == [int(n) for n in foretold]


def test_all_masks_are_equally_likely():
  # Length 8 at density 0.5 in spans of 2: 4 noise in 2 spans; 3 ways to cut
  # the noise, 3 to cut the rest: 9 masks.
  rng = np.random.default_rng(3)
  trials = 9000
  counts = {}
  for _ in range(trials):
    mask = span_corruption.noise_mask(
      8, noise_density=0.5, mean_span_length=2.0, rng=rng
    )
    counts[mask.tobytes()] = counts.get(mask.tobytes(), 0) + 1
  assert len(counts) == 9
  bound = 4 * np.sqrt(trials * (1 / 9) * (8 / 9))
  np.testing.assert_allclose(list(counts.values()), trials / 9, atol=bound)


def test_empty_text():
  rng = np.random.default_rng(0)
  mask = span_corruption.noise_mask(0, rng=rng)
  assert mask.shape == (0,)
  got = span_corruption.corrupt(np.zeros(0, np.int32), mask, VOCABULARY)
  assert [part.tolist() for part in got] == [[1], [1]]


def test_settings_and_sizes_are_checked():
  rng = np.random.default_rng(0)
  with pytest.raises(ValueError, match='noise_density is 1'):
    span_corruption.noise_mask(9, noise_density=1.0, rng=rng)
  with pytest.raises(ValueError, match='mean_span_length is 0'):
    span_corruption.noise_mask(9, mean_span_length=0.0, rng=rng)
  with pytest.raises(ValueError, match='inputs_length is 2'):
    span_corruption.raw_length(2)
  with pytest.raises(ValueError, match='vocabulary has 100'):
    span_corruption.corrupt(
      np.zeros(300, np.int32), np.arange(300) % 2 == 1, VOCABULARY
    )


def test_speed():
  # 6 M tokens/s on one core; the run-time type checks of the tests take most
  # of it away, and the bound only catches work that is not vectorised.
  rng = np.random.default_rng(4)
  tokens = rng.integers(3, 259, 568).astype(np.int32)
  start = time.process_time()
  rounds = 100
  for _ in range(rounds):
    mask = span_corruption.noise_mask(568, rng=rng)
    span_corruption.corrupt(tokens, mask, VOCABULARY)
  assert rounds * 568 / (time.process_time() - start) > 1e5
