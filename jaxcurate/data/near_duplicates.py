"""Which texts mostly repeat what earlier texts said, by shared word 6-grams."""

from collections.abc import Sequence
import re
import zlib

import numpy as np

_SHINGLE_WORDS = 6
_MAX_SEEN_SHARE = 0.5


def first_seen(texts: Sequence[str]) -> list[bool]:
  """Whether at most half of a text's word 6-grams are in earlier kept texts.

  Case, punctuation and white space do not count.

  Args:
    texts: in order of preference; of near-duplicates the first stays.

  Returns:
    One bool per text, True for those to keep.

  >>> first_seen(['One text.', 'Another, longer text', 'one  TEXT'])
  [True, True, False]
  """
  seen: set[int] = set()
  keep = []
  for text in texts:
    shingles = _shingles(text)
    repeated = sum(s in seen for s in shingles)
    keep.append(repeated <= _MAX_SEEN_SHARE * len(shingles))
    if keep[-1]:
      seen.update(shingles)
  return keep


def _shingles(text: str) -> list[int]:
  """64-bit hashes of a text's 6-grams; of the whole text if it is shorter."""
  words = re.findall(r'\w+', text.lower())
  codes = np.array(
    [zlib.crc32(w.encode()) for w in words] + [0] * _SHINGLE_WORDS, np.uint64
  )
  count = max(1, len(words) - _SHINGLE_WORDS + 1)
  mixed = np.zeros(count, np.uint64)
  for offset in range(_SHINGLE_WORDS):
    # An odd multiplier keeps the order of the words in the hash.
    mixed = mixed * np.uint64(0x9E3779B97F4A7C15) + (
      codes[offset : offset + count] + np.uint64(1)
    )
  return np.unique(mixed).tolist()
