"""From chosen rows to this host's part of a batch."""

from collections.abc import Mapping, Sequence

from jaxtyping import Float32
import numpy as np

from jaxcurate.data import planned_rows, token_part
from jaxcurate.data.row_shape import RowSettings
from jaxcurate.data.row_stream import Pick, Windowing
from jaxcurate.data.token_part import TokenPart
from jaxcurate.io.errors import UserError
from jaxcurate.types import Vocabulary


class BatchRows:
  """Fills batches of one shape; a class because every iterator has one.

  Attributes:
    number: rows per batch, over all hosts.
  """

  def __init__(
    self,
    part: TokenPart,
    vocabulary: Vocabulary,
    settings: RowSettings,
    *,
    rows_per_batch: int,
    windowing: Windowing,
    columns: Mapping[str, Float32[np.ndarray, ' N']] | None,
    shard: int,
    num_shards: int,
  ):
    """Reads nothing yet; arguments as of `training.TrainingBatches`.

    Raises:
      UserError: there is nothing to train on, or the settings clash.
    """
    if not token_part.num_copies(part):
      raise UserError('there is no document to train on; check the selection')
    if rows_per_batch < 1 or rows_per_batch % num_shards:
      raise UserError(
        f'{rows_per_batch} rows per batch cannot be split among {num_shards}'
        ' hosts; make the batch size a multiple'
      )
    if columns and windowing == 'concat':
      raise UserError(
        f'document columns ({", ".join(columns)}) need windowing="document":'
        ' windows of "concat" cross documents'
      )
    if len(part.spoken) and windowing == 'concat':
      raise UserError(
        'conversations need windowing="document": those of "concat" cross them'
      )
    for name, values in (columns or {}).items():
      if len(values) != token_part.num_documents(part):
        raise ValueError(
          f'column {name!r} has {len(values)} values, the part'
          f' {token_part.num_documents(part)} documents'
        )
    self._part, self._vocabulary, self._settings = part, vocabulary, settings
    self._columns = dict(columns or {})
    self.number = rows_per_batch
    local = rows_per_batch // num_shards
    self._mine = slice(shard * local, (shard + 1) * local)

  def fill(self, picks: Sequence[Pick]) -> dict[str, np.ndarray]:
    """This host's rows of the batch made of `number` picks."""
    batch, _ = planned_rows.fill_rows(
      picks[self._mine],
      self._part,
      self._settings,
      self._vocabulary,
      self._columns,
    )
    return batch

  def document_id(self, id_hash: int) -> str | None:
    """Id of the document with this hash, None where there is none."""
    found = np.flatnonzero(self._part.id_hash == np.uint64(id_hash))
    return token_part.document_id(self._part, found[0]) if len(found) else None
