"""Endless span-corrupted training batches that can be left and re-entered.

Rows come as a `row_stream.RowStream` has them, and batches are taken off.
Nothing depends on what was read before, on the number of hosts or on the size
of the batches: a place is (epoch, block, row).
"""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float32
import numpy as np

from jaxcurate.data.batch_rows import BatchRows
from jaxcurate.data.made_ahead import MadeAhead
from jaxcurate.data.row_shape import RowSettings
from jaxcurate.data.row_stream import Place, RowStream, Windowing
from jaxcurate.data.token_part import TokenPart
from jaxcurate.io.errors import UserError
from jaxcurate.types import Vocabulary


class TrainingBatches:
  """An iterator over batches, never ending.

  A class because it is an iterator with a place that can be saved.
  Construction reads nothing, so a population of models can each have their own
  stream by giving each its seed.
  """

  def __init__(
    self,
    part: TokenPart,
    vocabulary: Vocabulary,
    settings: RowSettings,
    *,
    rows_per_batch: int,
    seed: int,
    windowing: Windowing = 'document',
    columns: Mapping[str, Float32[np.ndarray, ' N']] | None = None,
    shard: int = 0,
    num_shards: int = 1,
    block_documents: int = 1024,
    prefetch: int = 2,
  ):
    """Starts at the first row of epoch 0.

    Args:
      part: documents to train on.
      vocabulary: the one that tokenized them.
      settings: of the rows, see `row_shape.row_settings`.
      rows_per_batch: over all shards.
      seed: of order and masks.
      windowing: 'document' never crosses documents; 'concat' is T5's.
      columns: values per document, carried as document_<name> [rows, S];
        only with windowing='document'.
      shard: which consecutive part of every batch to make.
      num_shards: must divide rows_per_batch.
      block_documents: documents packed together; rows are shuffled within.
      prefetch: batches made ahead in a background thread; 0 for none.

    Raises:
      UserError: there is nothing to train on, or the settings clash.
    """
    self._rows = BatchRows(
      part,
      vocabulary,
      settings,
      rows_per_batch=rows_per_batch,
      windowing=windowing,
      columns=columns,
      shard=shard,
      num_shards=num_shards,
    )
    self._stream = RowStream(
      part,
      settings,
      eos_id=vocabulary.eos_id,
      seed=seed,
      windowing=windowing,
      block_documents=block_documents,
    )
    self._ahead = MadeAhead(self._make, Place(), prefetch=prefetch)

  def __iter__(self) -> 'TrainingBatches':
    return self

  def __next__(self) -> dict[str, np.ndarray]:
    return self._ahead.take()

  def rows_per_epoch(self) -> int:
    """Rows of an epoch; a large one's from its first blocks."""
    return self._stream.rows_per_epoch()

  def state(self) -> dict[str, Any]:
    """Where the batch that `next` would return begins; JSON-able."""
    place = self._ahead.place
    return {**place._asdict(), 'data': self._stream.fingerprint()}

  def restore(self, state: Mapping[str, Any]) -> None:
    """Goes to a place; from there on batches are those of an undisturbed run.

    The batch size and the number of shards may differ from the run that saved
    it: places are rows.

    Raises:
      UserError: the state is of other data or settings.
    """
    if state.get('data') != self._stream.fingerprint():
      raise UserError(
        'the checkpoint was trained on other data (documents, seed, lengths,'
        ' noise or windowing differ); use the settings it was made with, or'
        ' another output folder'
      )
    self._ahead.go_to(Place.from_state(state))

  def epochs(self) -> int:
    """Whole passes over the documents, up to the last batch.

    A batch may hold rows of two epochs: it is the last one of the first.
    """
    return self._ahead.place.epoch

  def document_id(self, id_hash: int) -> str | None:
    """Id of the document with this hash, None where there is none."""
    return self._rows.document_id(id_hash)

  def close(self) -> None:
    """Stops the background thread; batches made ahead are made again."""
    self._ahead.close()

  def _make(self, place: Place) -> tuple[dict[str, np.ndarray], Place]:
    """The batch at a place, and the place after it."""
    picks, after = self._stream.take(place, self._rows.number)
    return self._rows.fill(picks), after
