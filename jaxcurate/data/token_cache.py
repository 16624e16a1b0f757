"""A tokenized corpus on disk: what training reads, epoch after epoch.

Built once from any stream of rows in fixed memory, filtered and repeated by a
Selection, a share held out for evaluation. The folder appears under its name
only when it is whole: a killed build is simply done again. It must be on a
local disk, for it is memory-mapped; one process builds it.
"""

from collections.abc import Iterable, Iterator, Mapping
import contextlib
import json
import os
import pathlib
import shutil
from typing import Any, NamedTuple

from jaxtyping import Float, Int64
import numpy as np

from jaxcurate.data import selection_filter, token_part
from jaxcurate.data.token_builder import META, Spell, TokenBuilder, sync
from jaxcurate.data.token_part import TokenPart
from jaxcurate.io import manifest
from jaxcurate.io.errors import UserError
from jaxcurate.ops.ids import hash_ids
from jaxcurate.types import Document, Selection, Vocabulary

# A block ends at this many rows or characters, whichever comes first.
_BLOCK_ROWS, _BLOCK_CHARACTERS = 1024, 1 << 23


class TokenCache(NamedTuple):
  """A tokenized corpus.

  Attributes:
    train: the documents to train on, with their copies.
    eval: the held-out documents.
    domains: names of the domain codes.
    fingerprint: hash of all settings it was built with.
    skipped: reason -> rows that are in neither part, and 'selected but not in
      the corpus' -> ids of the selection that no row had.
  """

  train: TokenPart
  eval: TokenPart
  domains: tuple[str, ...]
  fingerprint: str
  skipped: Mapping[str, int]


def build(
  directory: str | os.PathLike[str],
  rows: Iterable[Document],
  vocabulary: Vocabulary,
  *,
  settings: Mapping[str, Any],
  selection: Selection | None = None,
  holdout_share: float = 0.01,
  eval_rows: Iterable[Document] | None = None,
  spell: Spell | None = None,
) -> TokenCache:
  """Tokenizes a corpus into `directory`, or opens what is there already.

  Whether a row is held out depends on its id alone, so that all selections of
  one corpus share a held-out set; a selected row that is held out is not
  trained on.

  Args:
    directory: local folder; its parent is created.
    rows: with unique ids.
    vocabulary: tokenizes.
    settings: whatever else determines the rows (file names, sizes, fields);
      JSON-able. A cache built with other settings is refused.
    selection: keep these documents, so often; None keeps all once.
    holdout_share: share of documents, by id hash, that goes to `eval`.
    eval_rows: a corpus to evaluate on instead; nothing is then held out.
    spell: read conversations instead of text, see `spoken_rows.make_spell`;
      documents without an answer are then skipped.

  Returns:
    The cache, mapped.

  Raises:
    UserError: no document is left to train on; `directory` holds a cache with
      other settings; the chat template refuses a conversation; the disk is
      full.
  """
  if not 0.0 <= holdout_share < 1.0:
    raise UserError(f'the held-out share is {holdout_share}, expected [0, 1)')
  final = pathlib.Path(directory)
  selected = selection and selection_filter.from_selection(selection)
  everything = {
    **settings,
    'vocabulary': getattr(vocabulary, 'name', f'size {vocabulary.size}'),
    'selection': selected and selection_filter.digest(selected),
    'holdout_share': None if eval_rows is not None else holdout_share,
  }
  if (final / META).is_file():
    there = json.loads((final / META).read_text())['settings']
    manifest.refuse_other_settings(final, there, everything)
    return open_cache(final)
  building = final.with_name(f'{final.name}.building')
  with _writing(directory):
    shutil.rmtree(building, ignore_errors=True)
    builder = TokenBuilder(building, vocabulary, selected, spell)
  try:
    for block in _blocks(rows):
      with _writing(directory):
        builder.add(block, everything['holdout_share'] or 0.0)
    if not builder.train.num_documents:
      raise UserError(f'{directory}: {builder.why_empty()}')
    for block in _blocks(eval_rows or ()):
      with _writing(directory):
        builder.add_eval(block)
    with _writing(directory):
      builder.finish(everything)
      os.replace(building, final)
      sync(final.parent)
  finally:
    builder.close()
    shutil.rmtree(building, ignore_errors=True)  # gone already, if all is well
  return open_cache(final)


def open_cache(directory: str | os.PathLike[str]) -> TokenCache:
  """Maps a finished cache.

  Raises:
    UserError: there is none.
  """
  folder = pathlib.Path(directory)
  try:
    meta = json.loads((folder / META).read_text())
    parts = [
      token_part.open_part(folder / name, meta['token_dtype'])
      for name in ('train', 'eval')
    ]
  except (OSError, ValueError, KeyError) as error:
    raise UserError(
      f'{directory}: not a token cache ({error}); delete the folder to have it'
      ' built again'
    ) from error
  return TokenCache(
    *parts,
    domains=tuple(meta['domains']),
    fingerprint=meta['fingerprint'],
    skipped=meta['skipped'],
  )


def document_column(
  part: TokenPart,
  ids: np.ndarray,
  values: Float[np.ndarray, ' M'],
  name: str = 'column',
) -> Float[np.ndarray, ' N']:
  """A column of a table, joined by id to the documents of a part.

  Args:
    part: N documents.
    ids: [M] str (object array).
    values: [M].
    name: what the error calls it.

  Returns:
    [N] float32.

  Raises:
    UserError: a document has no value.
  """
  return values[document_rows(part, ids, name)].astype(np.float32)


def document_rows(
  part: TokenPart, ids: np.ndarray, name: str
) -> Int64[np.ndarray, ' N']:
  """Where the documents of a part stand in a table.

  Args:
    part: N documents.
    ids: [M] str (object array), of the table.
    name: what the error calls the table.

  Raises:
    UserError: a document is not in the table.
  """
  id_hash = hash_ids(ids)
  order = np.argsort(id_hash)
  place = np.searchsorted(id_hash[order], part.id_hash)
  if len(order):
    place = order[np.minimum(place, len(order) - 1)]
    missing = id_hash[place] != part.id_hash
  else:
    missing = np.ones(len(part.id_hash), bool)
  if missing.any():
    first = token_part.document_id(part, int(missing.argmax()))
    raise UserError(
      f'{name}: {missing.sum()} of {len(missing)} documents have no value, the'
      f' first is id {first!r}; score the same corpus that is trained on'
    )
  return place


@contextlib.contextmanager
def _writing(directory: str | os.PathLike[str]) -> Iterator[None]:
  """Says which folder could not be written, and what to do."""
  try:
    yield
  except OSError as error:
    raise UserError(
      f'{directory}: cannot write the token cache ({error.strerror}); free'
      ' some space or name another folder, and run the same command again'
    ) from error


def _blocks(rows: Iterable[Document]) -> Iterator[list[Document]]:
  """Lists of rows of bounded size."""
  block, characters = [], 0
  for row in rows:
    block.append(row)
    characters += len(row.text)
    if len(block) == _BLOCK_ROWS or characters >= _BLOCK_CHARACTERS:
      yield block
      block, characters = [], 0
  if block:
    yield block
