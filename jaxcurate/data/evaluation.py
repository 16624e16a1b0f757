"""Batches over every held-out document once, with masks fixed by id.

The masks never change, so that losses of different models, runs and steps are
compared on the same targets.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from jaxcurate.data import planned_rows, token_part
from jaxcurate.data.row_shape import RowSettings
from jaxcurate.data.token_part import TokenPart
from jaxcurate.io.errors import UserError
from jaxcurate.types import Vocabulary

# Keys the masks; never a training seed's (those have two more words).
MASK_SEED = 0


class EvalBatch(NamedTuple):
  """Rows, and whose they are.

  Attributes:
    batch: as `TrainingBatches` yields them.
    document: [R, S] int32, index into the part of segment s + 1 of a row, -1
      where there is none. The windows of a long document are several
      segments: a document's mean loss is the sum over its segments' targets
      divided by their number.
  """

  batch: dict[str, np.ndarray]
  document: np.ndarray


def eval_batches(
  part: TokenPart,
  vocabulary: Vocabulary,
  settings: RowSettings,
  *,
  rows_per_batch: int,
  shard: int = 0,
  num_shards: int = 1,
  block_documents: int = 1024,
) -> Iterator[EvalBatch]:
  """Every window of every document once; windows never cross documents.

  Args:
    part: the held-out documents.
    vocabulary: the one that tokenized them.
    settings: of the rows, as for training.
    rows_per_batch: over all shards; the last batch is padded with empty rows.
    shard: which consecutive part of every batch to make.
    num_shards: must divide rows_per_batch. All shards get equally many
      batches.
    block_documents: documents packed together.

  Raises:
    UserError: there are no documents.
  """
  num_documents = token_part.num_documents(part)
  if not num_documents:
    raise UserError(
      'no document is held out; raise holdout_share'
      ' (--gin.train.run.holdout_share=0.1) or give an'
      ' evaluation corpus (--eval_input)'
    )
  if rows_per_batch < 1 or rows_per_batch % num_shards:
    raise UserError(
      f'{rows_per_batch} rows per batch cannot be split among {num_shards}'
      ' hosts; make the batch size a multiple'
    )
  local = rows_per_batch // num_shards
  mine = slice(shard * local, (shard + 1) * local)

  def generate() -> Iterator[EvalBatch]:
    picks = []
    for first in range(0, num_documents, block_documents):
      last = min(first + block_documents, num_documents)
      document = np.arange(first, last)
      block = planned_rows.plan_documents(
        part, document, np.zeros_like(document), settings, MASK_SEED
      )
      picks += [(block, row) for row in range(block.num_rows)]
      if last == num_documents:  # fill up with a row that holds nothing
        picks += [(block, block.num_rows)] * (-len(picks) % rows_per_batch)
      while len(picks) >= rows_per_batch:
        chosen, picks = picks[:rows_per_batch][mine], picks[rows_per_batch:]
        yield EvalBatch(
          *planned_rows.fill_rows(chosen, part, settings, vocabulary, {})
        )

  return generate()
