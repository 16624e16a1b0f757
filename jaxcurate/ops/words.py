"""Words of texts as numbers, and the buckets of their n-grams, on the host.

For methods that read no network: a text is lower-cased and cut into runs of
letters and digits and runs of other signs, each a number of 32 bits (CRC-32 of
its UTF-8, of whole blocks without a Python loop over words). N-grams of these
numbers are hashed as those of tokens are (`ops.ngrams`).
"""

from collections.abc import Sequence
import itertools
import re
import zlib

import numpy as np

from jaxcurate.ops import ngrams

# NLTK's WordPunctTokenizer, which DSIR's code uses (p-lambda/dsir).
_WORD = re.compile(r'\w+|[^\w\s]+')


def word_ids(texts: Sequence[str]) -> list[np.ndarray]:
  """A number for every word, the same for the same word everywhere.

  Args:
    texts: of any length, without lone surrogates.

  Returns:
    [L] uint32 of each text; none for a text of white space.

  >>> [first], [second, dot] = word_ids(['Cat', 'cat.'])
  >>> bool(first == second), bool(second == dot)
  (True, False)
  """
  found = [_WORD.findall(text.lower()) for text in texts]
  ends = np.cumsum([len(own) for own in found], dtype=np.int64)
  words = map(str.encode, itertools.chain.from_iterable(found))
  total = int(ends[-1]) if len(ends) else 0
  ids = np.fromiter(map(zlib.crc32, words), np.uint32, total)
  return np.split(ids, ends[:-1]) if len(ends) else []


def gram_buckets(
  words: Sequence[np.ndarray], max_order: int, num_buckets: int
) -> list[np.ndarray]:
  """Buckets of all n-grams of each text, unigrams first; repeats stay.

  Args:
    words: from `word_ids`.
    max_order: longest n-gram, >= 1.
    num_buckets: K, in [1, 2**31).

  Returns:
    [G] int32 in [0, K) of each text.

  >>> [found] = gram_buckets(word_ids(['a b a b']), 2, 1000)
  >>> len(found), bool(found[0] == found[2]), bool(found[4] == found[6])
  (7, True, True)
  """
  flat = np.concatenate([*words, np.zeros(0, np.uint32)])
  # The high bits of hash * K, no remainder: hashes are mixed at the top.
  every = [
    (
      ngrams.hashes(flat, order).astype(np.uint64) * np.uint64(num_buckets)
      >> np.uint64(32)
    ).astype(np.int32)
    for order in range(1, max_order + 1)
  ]
  found, end = [], 0
  for own in words:
    start, end = end, end + len(own)
    found.append(
      np.concatenate(
        [
          of_order[start : max(end - before, start)]
          for before, of_order in enumerate(every)
        ]
      )
    )
  return found
