"""From documents to what the training loop reads: batches and anchors."""

from collections.abc import Iterable, Mapping, Sequence
import os
import pathlib
from typing import Any

import numpy as np

from jaxcurate.data import evaluation as data_evaluation
from jaxcurate.data import row_shape, token_cache, token_part
from jaxcurate.data.token_builder import Spell
from jaxcurate.data.token_part import TokenPart
from jaxcurate.io.errors import UserError
from jaxcurate.train.evaluation import EvalBatch
from jaxcurate.types import AnchorSet, Document, Vocabulary


def held_out_batches(
  part: TokenPart,
  domains: Sequence[str],
  vocabulary: Vocabulary,
  settings: row_shape.RowSettings,
  rows_per_batch: int,
) -> list[EvalBatch]:
  """Every window of every document, under a mask fixed by its id.

  Args:
    part: the documents.
    domains: names of the domain codes.
    vocabulary: the one that tokenized them.
    settings: of the rows, as for training.
    rows_per_batch: rows per batch.

  Raises:
    UserError: nothing is held out, or no answer within reach.
  """
  names = [
    token_part.document_id(part, document)
    for document in range(token_part.num_documents(part))
  ]
  of_domain = [
    domains[code] if code >= 0 else None for code in part.domain.tolist()
  ]
  batches = []
  for batch, documents in data_evaluation.eval_batches(
    part, vocabulary, settings, rows_per_batch=rows_per_batch
  ):
    index = documents.reshape(-1).tolist()
    batches.append(
      EvalBatch(
        batch=batch,
        id=[names[i] if i >= 0 else None for i in index],
        domain=[of_domain[i] if i >= 0 else None for i in index],
      )
    )
  _check_reach('held-out text', batches, settings)
  return batches


def make_anchors(
  folder: str | os.PathLike[str],
  name: str,
  rows: Iterable[Document],
  vocabulary: Vocabulary,
  settings: row_shape.RowSettings,
  rows_per_batch: int,
  cache_settings: Mapping[str, Any],
  spell: Spell | None = None,
) -> AnchorSet:
  """An anchor set of all documents, tokenized once into `folder`.

  Args:
    folder: of its token cache.
    name: what the manifest calls it.
    rows: the trusted documents.
    vocabulary: tokenizes.
    settings: of the rows, as for training.
    rows_per_batch: rows per batch.
    cache_settings: what determines the rows, see `token_cache.build`.
    spell: reads conversations, likewise.

  Raises:
    UserError: there is no anchor, or none with an answer within reach.
  """
  cache = token_cache.build(
    pathlib.Path(folder),
    rows,
    vocabulary,
    settings=cache_settings,
    holdout_share=0.0,
    spell=spell,
  )
  batches = data_evaluation.eval_batches(
    cache.train, vocabulary, settings, rows_per_batch=rows_per_batch
  )
  anchors = tuple(
    {key: np.asarray(value) for key, value in batch.items()}
    for batch, _ in batches
  )
  _check_reach('anchors', anchors, settings)
  return AnchorSet(name=name, batches=anchors, domains=cache.domains)


def _check_reach(
  what: str, batches: Sequence[Any], settings: row_shape.RowSettings
) -> None:
  """Raises where conversations were left out, and nothing is left."""
  if not batches:
    raise UserError(
      f'{what}: no conversation has an answer that begins within'
      f' {settings.decoder_length} tokens; raise train.run.encoder_length'
    )
