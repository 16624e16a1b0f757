"""Words and their n-grams, a block at once and one by one."""

import zlib

import numpy as np
import pytest

from jaxcurate.ops import ngrams, words

TEXTS = [
  'The cat, the CAT.',
  '',
  ' \n',
  "don't... stop",
  'x',
  '日本語 ça_va 42',
]
CUT = [
  ['the', 'cat', ',', 'the', 'cat', '.'], [], [],
  ['don', "'", 't', '...', 'stop'], ['x'], ['日本語', 'ça_va', '42'],
]  # fmt: skip


def slow_buckets(terms, max_order, num_buckets):
  """One n-gram at a time, in Python's integers."""
  found = []
  for order in range(1, max_order + 1):
    for at in range(len(terms) - order + 1):
      ids = [zlib.crc32(term.encode()) for term in terms[at : at + order]]
      hashed = int(ngrams.hashes(np.array(ids, np.uint32), order)[0])
      found.append(hashed * num_buckets // 2**32)
  return found


def test_words_by_hand():
  found = words.word_ids(TEXTS)
  assert all(own.dtype == np.uint32 for own in found)
  expected = [[zlib.crc32(term.encode()) for term in own] for own in CUT]
  assert [own.tolist() for own in found] == expected


@pytest.mark.parametrize('max_order', [1, 2, 3])
@pytest.mark.parametrize('num_buckets', [1, 10_000, 2**20])
def test_buckets_equal_slow_ones(max_order, num_buckets):
  found = words.gram_buckets(words.word_ids(TEXTS), max_order, num_buckets)
  assert all(own.dtype == np.int32 for own in found)
  expected = [slow_buckets(own, max_order, num_buckets) for own in CUT]
  assert [own.tolist() for own in found] == expected


def test_a_text_has_the_same_buckets_in_every_block():
  together = words.gram_buckets(words.word_ids(TEXTS), 2, 1000)
  for text, own in zip(TEXTS, together, strict=True):
    [alone] = words.gram_buckets(words.word_ids([text]), 2, 1000)
    np.testing.assert_array_equal(alone, own)


def test_buckets_are_used_evenly():
  # 100 different words per bucket on average; chi-squared of 999 degrees.
  text = ' '.join(f'word{i}' for i in range(100_000))
  [found] = words.gram_buckets(words.word_ids([text]), 1, 1000)
  counts = np.bincount(found, minlength=1000)
  chi = np.sum((counts - 100) ** 2 / 100)
  assert abs(chi - 999) < 5 * np.sqrt(2 * 999)


def test_nothing():
  assert words.word_ids([]) == []
  assert words.gram_buckets([], 2, 10) == []
