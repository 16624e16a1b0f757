"""Sorts blocks of rows into the parts of a token cache and tokenizes them."""

from collections.abc import Callable, Mapping, Sequence
import hashlib
import json
import os
import pathlib
from typing import Any

import numpy as np

from jaxcurate.data import selection_filter
from jaxcurate.data.token_part import PartWriter
from jaxcurate.io.errors import UserError
from jaxcurate.ops.ids import hash_ids
from jaxcurate.ops.spoken import Turns
from jaxcurate.types import Document, Vocabulary

META = 'cache.json'
# The key of the held-out share; never the 0 of `id_hash`, or samplers keyed
# by it would see the split.
HOLDOUT_SEED = 0x686F6C64


# Turns -> ids, and which of them the assistant has to say; none of no answer.
Spell = Callable[[Turns], tuple[list[int], list[bool]]]


class TokenBuilder:
  """The two parts while they grow.

  A class because it holds their open files and the running counts.
  """

  def __init__(
    self,
    folder: pathlib.Path,
    vocabulary: Vocabulary,
    selected: selection_filter.SelectionFilter | None,
    spell: Spell | None = None,
  ):
    self._folder, self._vocabulary = folder, vocabulary
    self._selected, self._spell = selected, spell
    self._dtype = 'uint16' if vocabulary.size < 1 << 16 else 'int32'
    self.train = PartWriter(folder / 'train', self._dtype)
    self.eval = PartWriter(folder / 'eval', self._dtype)
    self._domains: dict[str, int] = {}
    self._found = 0
    self._empty = 'no tokens' if spell is None else 'no answer'
    self._skipped = {self._empty: 0, 'not selected': 0}

  def add(self, block: Sequence[Document], holdout_share: float) -> None:
    """Rows to train on, less the held-out share of them."""
    ids = [row.id for row in block]
    id_hash = hash_ids(ids)
    keyed = hash_ids(ids, seed=HOLDOUT_SEED).astype(np.float64)
    held = keyed < holdout_share * 2.0**64
    copies = np.ones(len(block), np.int32)
    if self._selected is not None:
      copies = selection_filter.counts(self._selected, id_hash)
      self._found += int(np.count_nonzero(copies))
      self._skipped['not selected'] += int(np.sum(~held & (copies == 0)))
    self._append(self.eval, block, id_hash, held, np.ones_like(copies))
    self._append(self.train, block, id_hash, ~held & (copies > 0), copies)

  def add_eval(self, block: Sequence[Document]) -> None:
    """Rows to evaluate on."""
    id_hash = hash_ids([row.id for row in block])
    every = np.ones(len(block), np.int32)
    self._append(self.eval, block, id_hash, every > 0, every)

  def why_empty(self) -> str:
    """What to say when nothing is left to train on."""
    counts = {'held out': self.eval.num_documents, **self._skipped}
    found = ', '.join(f'{n} {why}' for why, n in counts.items() if n)
    return (
      f'no document is left to train on ({found or "the corpus is empty"});'
      ' check the input, the selection and the held-out share'
    )

  def finish(self, settings: Mapping[str, Any]) -> None:
    """Writes the description, last of all."""
    self.train.finish()
    self.eval.finish()
    if self._selected is not None:
      self._skipped['selected but not in the corpus'] = max(
        0, len(self._selected.id_hash) - self._found
      )
    meta = {
      'fingerprint': _fingerprint(settings),
      'token_dtype': self._dtype,
      'domains': list(self._domains),
      'skipped': self._skipped,
      'settings': settings,
    }
    path = self._folder / META
    path.write_text(json.dumps(meta, indent=1))
    sync(path)
    for folder in (self._folder / 'train', self._folder / 'eval', self._folder):
      sync(folder)

  def close(self) -> None:
    """Closes the files, whatever they hold."""
    self.train.close()
    self.eval.close()

  def _append(
    self,
    writer: PartWriter,
    block: Sequence[Document],
    id_hash: np.ndarray,
    keep: np.ndarray,
    copies: np.ndarray,
  ) -> None:
    rows = [row for row, kept in zip(block, keep, strict=True) if kept]
    tokens, spoken = self._encode(rows)
    some = np.array([len(document) > 0 for document in tokens], bool)
    self._skipped[self._empty] += int(np.sum(~some))
    chosen = np.flatnonzero(keep)[some]
    writer.append(
      [document for document in tokens if len(document)],
      [block[index].id for index in chosen],
      id_hash[chosen],
      np.array([self._code(block[i].domain) for i in chosen], np.int32),
      copies[chosen],
      [own for own in spoken if len(own)],
    )

  def _encode(
    self, rows: Sequence[Document]
  ) -> tuple[list[list[int]], list[list[bool]]]:
    """Ids of each row, none of an empty one, and what is said of them."""
    if self._spell is None:
      texts = [row.text for row in rows]
      return self._vocabulary.encode_batch(texts), []
    spelt = []
    for row in rows:
      try:
        spelt.append(self._spell(row.turns or ()))
      except ValueError as error:
        raise UserError(
          f'document {row.id!r}: {error}; repair it, or leave it out with'
          ' --on_bad_row=skip'
        ) from error
    return [ids for ids, _ in spelt], [spoken for _, spoken in spelt]

  def _code(self, domain: str | None) -> int:
    if domain is None:
      return -1
    return self._domains.setdefault(domain, len(self._domains))


def sync(path: pathlib.Path) -> None:
  """Forces a file's content or a folder's entries to disk."""
  descriptor = os.open(path, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)


def _fingerprint(settings: Mapping[str, Any]) -> str:
  text = json.dumps(settings, sort_keys=True)
  return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
