"""Tokenized documents as memory-mapped arrays: written in blocks, read at will.

tokens       all documents end to end, uint16 where the vocabulary allows
offsets      [N + 1] int64, where each document begins
id_hash      [N] uint64, `hash_ids(id)`
domain       [N] int32 code, -1 without a domain
copies_end   [N] int64, running sum of the copies per epoch
ids          UTF-8 bytes of the ids, end to end
ids_offsets  [N + 1] int64
spoken       of conversations: 1 for every token that the assistant has to say,
             else 0; empty where documents are plain text
"""

from collections.abc import Sequence
import os
import pathlib
from typing import NamedTuple

from jaxtyping import Int32, Int64, UInt64
import numpy as np

_DTYPES = {
  'offsets': np.int64,
  'id_hash': np.uint64,
  'domain': np.int32,
  'copies_end': np.int64,
  'ids': np.uint8,
  'ids_offsets': np.int64,
  'spoken': np.uint8,
}


class TokenPart(NamedTuple):
  """N documents in the order of the corpus; see the module for the arrays."""

  tokens: np.ndarray
  offsets: np.ndarray
  id_hash: np.ndarray
  domain: np.ndarray
  copies_end: np.ndarray
  ids: np.ndarray
  ids_offsets: np.ndarray
  spoken: np.ndarray


def num_documents(part: TokenPart) -> int:
  """N, every document counted once."""
  return len(part.id_hash)


def num_copies(part: TokenPart) -> int:
  """Documents per epoch, repeats counted."""
  return int(part.copies_end[-1]) if len(part.copies_end) else 0


def document_tokens(part: TokenPart, document: int | np.integer) -> np.ndarray:
  """[L] token ids of one document, without EOS; a view of the file."""
  return part.tokens[part.offsets[document] : part.offsets[document + 1]]


def document_id(part: TokenPart, document: int | np.integer) -> str:
  """Id of one document."""
  start, stop = part.ids_offsets[document], part.ids_offsets[document + 1]
  return part.ids[start:stop].tobytes().decode('utf-8', 'surrogatepass')


def copy_of(
  copies_end: Int64[np.ndarray, ' N'], number: Int64[np.ndarray, ' n']
) -> tuple[Int64[np.ndarray, ' n'], Int64[np.ndarray, ' n']]:
  """The documents behind places in the list with every copy written out.

  Args:
    copies_end: [N] running sum of the copies of N documents.
    number: [n] in [0, number of copies).

  Returns:
    (document [n], which of its copies [n], from 0).
  """
  document = np.searchsorted(copies_end, number, side='right')
  first = np.where(document > 0, copies_end[document - 1], 0)
  return document, number - first


def open_part(folder: pathlib.Path, token_dtype: str) -> TokenPart:
  """Maps what a `PartWriter` wrote; reads nothing yet.

  Args:
    folder: with one file per array.
    token_dtype: 'uint16' or 'int32'.
  """
  arrays = {}
  for name in TokenPart._fields:
    path = folder / name
    dtype = np.dtype(_DTYPES.get(name, token_dtype))
    if path.stat().st_size:
      # A plain view: slices of np.memmap itself are ten times as slow.
      arrays[name] = np.asarray(np.memmap(path, dtype, mode='r'))
    else:  # an empty file cannot be mapped
      arrays[name] = np.zeros(0, dtype)
  return TokenPart(**arrays)


class PartWriter:
  """Appends blocks of documents to the files of a part.

  A class because it holds the open files and the running offsets.
  """

  def __init__(self, folder: pathlib.Path, token_dtype: str):
    folder.mkdir(parents=True)
    self._dtypes = {**_DTYPES, 'tokens': token_dtype}
    self._files = {
      name: open(folder / name, 'wb') for name in TokenPart._fields
    }
    self.num_documents = self.num_tokens = self._copies = self._id_bytes = 0
    self._write('offsets', [0])
    self._write('ids_offsets', [0])

  def append(
    self,
    tokens: Sequence[Sequence[int]],
    ids: Sequence[str],
    id_hash: UInt64[np.ndarray, ' n'],
    domain: Int32[np.ndarray, ' n'],
    copies: Int32[np.ndarray, ' n'],
    spoken: Sequence[Sequence[bool]] = (),
  ) -> None:
    """Adds n documents; memory is that of the block."""
    encoded = [text.encode('utf-8', 'surrogatepass') for text in ids]
    ends = np.cumsum([len(document) for document in tokens], dtype=np.int64)
    id_ends = np.cumsum([len(text) for text in encoded], dtype=np.int64)
    copies_end = self._copies + np.cumsum(copies, dtype=np.int64)
    for document in tokens:
      self._write('tokens', document)
    for document in spoken:
      self._write('spoken', document)
    self._write('offsets', self.num_tokens + ends)
    self._write('id_hash', id_hash)
    self._write('domain', domain)
    self._write('copies_end', copies_end)
    self._files['ids'].write(b''.join(encoded))
    self._write('ids_offsets', self._id_bytes + id_ends)
    if len(ids):
      self.num_documents += len(ids)
      self.num_tokens += int(ends[-1])
      self._id_bytes += int(id_ends[-1])
      self._copies = int(copies_end[-1])

  def finish(self) -> None:
    """Flushes everything to disk and closes the files."""
    for file in self._files.values():
      file.flush()
      os.fsync(file.fileno())
    self.close()

  def close(self) -> None:
    """Closes the files, whatever they hold."""
    for file in self._files.values():
      file.close()

  def _write(
    self, name: str, values: Sequence[int] | Sequence[bool] | np.ndarray
  ) -> None:
    self._files[name].write(np.asarray(values, self._dtypes[name]).tobytes())
