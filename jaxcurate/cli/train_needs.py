"""What a weighting needs besides the batch, from flags: and nothing else.

Anchors, a second model, a score column, domains: what is missing is named, and
so is what is given to a weighting that makes no use of it.
"""

from collections.abc import Callable, Sequence
import sys
from typing import NamedTuple

import jax
from jaxtyping import Float32
import numpy as np

from jaxcurate.cli import inputs as inputs_lib
from jaxcurate.data import (
  readers,
  row_shape,
  shared_documents,
  token_cache,
  token_part,
)
from jaxcurate.data.mixture_batches import MixtureBatches
from jaxcurate.data.token_builder import Spell
from jaxcurate.data.token_part import TokenPart
from jaxcurate.data.training import TrainingBatches
from jaxcurate.io import hosts, tables
from jaxcurate.io.errors import UserError
from jaxcurate.train import forward, text
from jaxcurate.train.program import Reference
from jaxcurate.types import AnchorSet, Network, Vocabulary, Weighting


class ScoreColumn(NamedTuple):
  """Scores by id; M rows."""

  name: str
  ids: np.ndarray
  values: Float32[np.ndarray, ' M']


def read_anchors(
  weighting: Weighting,
  name: str,
  anchors: Sequence[str],
  open_documents: Callable[..., readers.Corpus],
  words: Vocabulary,
  rows: row_shape.RowSettings,
  rows_per_batch: int,
  tokens: str,
  spell: Spell | None = None,
) -> AnchorSet | None:
  """The anchor set, for a weighting that wants one; cached under `tokens`.

  Raises:
    UserError: it wants one and none is given, or the other way round.
  """
  if weighting.refresh is None:
    if anchors:
      raise UserError(f'weighting {name} has no anchors; drop --anchors')
    return None
  if not anchors:
    raise UserError(
      f'weighting {name} needs --anchors: a small corpus that you trust'
    )
  trusted = open_documents(inputs=anchors, task=None)
  return hosts.first_then_others(
    'anchors tokenized',
    lambda: text.make_anchors(
      f'{tokens}/anchors',
      ', '.join(anchors),
      trusted.rows(),
      words,
      rows,
      rows_per_batch,
      {'files': [source.name for source in trusted.sources]},
      spell,
    ),
  )


def warn_shared(
  anchors: AnchorSet | None, tokens: str, part: TokenPart
) -> None:
  """Says on stderr how many documents to train on are anchors themselves.

  Args:
    anchors: of `read_anchors`.
    tokens: where that cached them.
    part: the documents to train on.
  """
  if anchors is None:
    return
  trusted = token_cache.open_cache(f'{tokens}/anchors').train
  shared, total = (
    shared_documents.count_shared(part, trusted),
    token_part.num_documents(part),
  )
  if shared:
    print(
      f'{"all" if shared == total else f"{shared:,}"} of {total:,} documents to'
      ' train on are also in --anchors: they are favoured for being known, not'
      ' for being like them; take them out of one of the two',
      file=sys.stderr,
    )


def read_reference(
  weighting: Weighting,
  name: str,
  reference: str | None,
  network: Network,
  words: Vocabulary,
  devices: jax.sharding.Mesh,
  dtype: str,
) -> Reference | None:
  """The frozen second model, on the devices, where the weighting has one.

  Args:
    weighting: says what it needs.
    name: of the weighting.
    reference: checkpoint, as `load.load` takes it.
    network: the one in training.
    words: its vocabulary.
    devices: where the parameters go.
    dtype: of activations.

  Raises:
    UserError: it is missing, not wanted, or reads other tokens.
  """
  if not forward.REFERENCE & weighting.needs:
    if reference:
      raise UserError(
        f'weighting {name} compares with no second model; drop --reference'
      )
    return None
  if not reference:
    raise UserError(
      f'weighting {name} compares with a second model; give --reference=MODEL'
    )
  second = inputs_lib.load_model(reference, devices, dtype=dtype)
  ours, theirs = (getattr(v, 'name', None) for v in (words, second.vocabulary))
  if ours != theirs:
    raise UserError(
      f'--reference={reference}: its vocabulary ({theirs}) is not the'
      f" model's ({ours}); {name} compares losses of the same tokens"
    )
  if (network.encode is None) != (second.network.encode is None):
    kinds = {True: 'decoder-only', False: 'an encoder-decoder'}
    raise UserError(
      f'--reference={reference}: is {kinds[second.network.encode is None]} and'
      f' the model {kinds[network.encode is None]}; {name} compares losses on'
      ' the same rows'
    )
  return Reference(second.network, second.params)


def read_scores(
  weighting: Weighting, name: str, scores: Sequence[str], by: str | None
) -> ScoreColumn | None:
  """The score column, for a weighting that reads one.

  Args:
    weighting: says whether it needs one.
    name: of the weighting.
    scores: score folders.
    by: the column; None is the only one.

  Raises:
    UserError: it is missing, not wanted or not there, or there are several.
  """
  if 'score' not in weighting.needs:
    if scores or by:
      raise UserError(
        f'weighting {name} reads no score; drop --scores and --by'
      )
    return None
  if not scores:
    raise UserError(
      f'weighting {name} reads a score: give --scores=FOLDER that `jaxcurate'
      ' score` wrote, and --by=COLUMN'
    )
  table, _ = tables.read_score_table(list(scores), [by] if by else None)
  if len(table.scores) > 1:
    raise UserError(
      f'{", ".join(scores)}: has the columns {", ".join(table.scores)}; name'
      ' one with --by'
    )
  [(column, values)] = table.scores.items()
  known = np.isfinite(values)
  return ScoreColumn(column, table.id[known], values[known])


def columns_of(
  column: ScoreColumn | None, part: TokenPart
) -> dict[str, Float32[np.ndarray, ' N']]:
  """The columns that the batches carry for the weighting.

  Args:
    column: of `read_scores`.
    part: N documents to train on.

  Raises:
    UserError: a document has no score.
  """
  if column is None:
    return {}
  values = token_cache.document_column(
    part, column.ids, column.values, f'score {column.name}'
  )
  return {'score': values}


def check_domains(
  weighting: Weighting, name: str, domains: Sequence[str]
) -> None:
  """Raises a UserError where a weighting of domains finds none."""
  if 'domain' in weighting.needs and not domains:
    raise UserError(
      f'weighting {name} weighs domains, and no document has one; name their'
      ' column with --domain_field'
    )


def refresh_by_epochs(
  weighting: Weighting,
  name: str,
  epochs: int | float | None,
  batches: TrainingBatches | MixtureBatches,
  rows_per_batch: int,
) -> Weighting:
  """The weighting, looking at its anchors every so many epochs.

  Args:
    weighting: what has its own interval in steps.
    name: of the weighting.
    epochs: > 0, may be a fraction; None leaves the interval as it is.
    batches: say how many rows an epoch has.
    rows_per_batch: rows of a step.

  Raises:
    UserError: the weighting never looks, or epochs is not above 0.
  """
  if epochs is None:
    return weighting
  if weighting.refresh is None:
    raise UserError(
      f'weighting {name} has nothing to refresh; drop refresh_epochs'
    )
  if epochs <= 0:
    raise UserError(f'refresh_epochs is {epochs}, expected above 0')
  steps = epochs * batches.rows_per_epoch() / rows_per_batch
  return weighting._replace(refresh_interval=max(1, round(steps)))
