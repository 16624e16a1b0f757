"""Stable 64-bit hashes of document ids.

Samplers, masks and splits depend on a document's id alone, never on where it
lies, so that shard layout and host count change nothing.
"""

from collections.abc import Iterable
import hashlib

from jaxtyping import UInt64
import numpy as np


def hash_ids(ids: Iterable[str], seed: int = 0) -> UInt64[np.ndarray, ' N']:
  """Keyed 64-bit BLAKE2b hash of each id.

  Args:
    ids: document ids.
    seed: 0 <= seed < 2**64; another seed gives an independent hash.

  Returns:
    [N] uint64.

  >>> hash_ids(['a', 'b', 'a']).tolist()[0] == hash_ids(['a']).tolist()[0]
  True
  """
  key = seed.to_bytes(8, 'little')
  digests = b''.join(
    hashlib.blake2b(
      text.encode('utf-8', 'surrogatepass'), digest_size=8, key=key
    ).digest()
    for text in ids
  )
  return np.frombuffer(digests, dtype='<u8').astype(np.uint64)
