"""Features of documents in the scratch, read back in batches for a summary.

A pass whose embeddings are bfloat16 is kept at two bytes a number: gradient
features are 8,192 numbers or more per document, and the rounding, 0.2 % of
each number, is far below the error of their random projection.
"""

from collections.abc import Iterator, Sequence

from etils import epath
import jax
import jax.numpy as jnp
from jaxtyping import Float
import ml_dtypes
import numpy as np
import pyarrow as pa

from jaxcurate.io import tables
from jaxcurate.ops import ids as ids_lib
from jaxcurate.scoring import parts as parts_lib

# A device call: documents, or numbers where vectors are long (128 MB).
_BATCH, _NUMBERS = 4096, 1 << 25


def batches(
  scratch: epath.PathLike, part: parts_lib.Part, name: str
) -> Iterator[tuple[np.ndarray, dict[str, jax.Array]]]:
  """Rows and features of one chunk's documents, in padded batches.

  Args:
    scratch: folder of the chunks.
    part: the chunk.
    name: of the pass.

  Yields:
    [n] rows of the chunk that have a vector, and what a summary sees of them:
    arrays of one size, the last ones masked.
  """
  table = tables.read_parquet(epath.Path(scratch) / part.name, ['id', name])
  ids = table.column('id').to_pylist()
  embedding = from_column(table.column(name))
  known = np.flatnonzero(np.isfinite(embedding).all(axis=1))
  size = batch_size(embedding.shape[1])
  for start in range(0, len(known), size):
    rows = known[start : start + size]
    yield rows, features_of(embedding[rows], [ids[i] for i in rows], size)


def batch_size(width: int) -> int:
  """Documents per device call, for vectors of `width` numbers."""
  return max(1, min(_BATCH, _NUMBERS // width))


def features_of(
  embedding_NxD: Float[np.ndarray, 'N D'], ids: Sequence[str], size: int
) -> dict[str, jax.Array]:
  """What a summary sees of N documents, padded to `size`.

  Args:
    embedding_NxD: [N, D] float32 or bfloat16.
    ids: of the documents.
    size: >= N.
  """
  hashes = ids_lib.hash_ids(list(ids))
  halves = np.stack([hashes >> np.uint64(32), hashes & np.uint64(2**32 - 1)], 1)
  pad = [(0, size - len(ids)), (0, 0)]
  embedding_NxD = np.asarray(embedding_NxD, np.float32)
  return {
    'embedding': jnp.asarray(np.pad(embedding_NxD, pad)),
    'id_hash': jnp.asarray(np.pad(halves.astype(np.uint32), pad)),
    'mask': jnp.arange(size) < len(ids),
  }


def from_column(
  column: pa.ChunkedArray,
) -> Float[np.ndarray, 'N D']:
  """A list column as [N, D] float32, a binary one as [N, D] bfloat16."""
  array = column.combine_chunks()
  if not pa.types.is_fixed_size_binary(array.type):
    width = array.type.list_size
    return array.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
  width = array.type.byte_width // 2  # bytes of a bfloat16
  numbers = np.frombuffer(array.buffers()[1], ml_dtypes.bfloat16)
  return numbers.reshape(-1, width)[array.offset : array.offset + len(array)]
