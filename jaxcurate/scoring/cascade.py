"""A cascade: a large judge reads only what a small one is unsure of.

The small judge's finished table says which documents lie in the band around
the cut; those, and an audit sample drawn uniformly from all, go to the large
judge. Everything else gets the large judge's score that the small one's
predicts, by a rising curve fitted on the audit sample, so that the whole
column is on one scale and documents outside the band keep the small judge's
order. The audit sample also measures how well the cascade agrees with the
large judge. Cascades of models for cost are old (Viola and Jones, CVPR 2001);
for language models see FrugalGPT (arXiv 2305.05176). The design is ours.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jaxtyping import Bool
import numpy as np

from jaxcurate.io import manifest as manifests
from jaxcurate.io import tables
from jaxcurate.io.errors import UserError
from jaxcurate.ops import ids as ids_lib
from jaxcurate.types import Document, Scorer

_MIN_AUDIT = 10  # two documents in each fold of `cascade_table`


class Cascade(NamedTuple):
  """What the small judge said, and what the large one shall read.

  Attributes:
    folder: the small judge's table.
    column: of it.
    created: when it was finished.
    band: (low, high), shares of the documents by rising small score.
    seed: of the audit sample.
    row: id -> row, for the N documents of the table.
    score: [N] float32 small score; NaN where there is none.
    in_band: [N] bool.
    audit: [A] int64 rows of the audit sample, in random order.
    for_large: [N] bool: in the band or the audit sample, or without score.
    flops: operations the small judge took.
  """

  folder: str
  column: str
  created: str
  band: tuple[float, float]
  seed: int
  row: Mapping[str, int]
  score: np.ndarray
  in_band: np.ndarray
  audit: np.ndarray
  for_large: np.ndarray
  flops: float


def plan(
  folder: str,
  column: str,
  *,
  band: tuple[float, float],
  audit: int,
  seed: int = 0,
) -> Cascade:
  """Decides from a finished table which documents the large judge reads.

  Args:
    folder: score table of the small judge.
    column: its score.
    band: (low, high) with 0 <= low <= high <= 1: the documents from the
      quantile `low` of the small score to the quantile `high`, so that (0.7,
      0.9) is 20 % of them. Equal scores are ordered by (seed, id).
    audit: documents drawn uniformly from all that have a small score, >= 10;
      all of a smaller table.
    seed: of that draw.

  Raises:
    UserError: no such table or column, no score in it, or a setting out of
      its range.
  """
  low, high = band
  if not 0 <= low <= high <= 1:
    raise UserError(
      f'--band={low:g},{high:g}: expected 0 <= LOW <= HIGH <= 1, e.g. 0.7,0.9'
      ' for the documents between the 0.7 and 0.9 quantiles of the small score'
    )
  if audit < _MIN_AUDIT:
    raise UserError(
      f'audit is {audit}, expected at least {_MIN_AUDIT}: the scores of both'
      ' judges are compared on these documents'
    )
  table, _ = tables.read_score_table([folder], [column])
  score = table.scores[column]
  known = np.flatnonzero(np.isfinite(score))
  if not len(known):
    raise UserError(f'{folder}: no document has a score in column {column!r}')
  lot = ids_lib.hash_ids(table.id[known], seed)
  rising = known[np.lexsort((lot, score[known]))]
  in_band = np.zeros(len(score), bool)
  first, last = (int(share * len(known) + 0.5) for share in band)
  in_band[rising[first:last]] = True
  audited = known[np.argsort(lot, kind='stable')[:audit]]
  for_large = in_band | ~np.isfinite(score)
  for_large[audited] = True
  content = manifests.read_manifest(folder, 'scores')
  return Cascade(
    folder=folder,
    column=column,
    created=content['created'],
    band=(low, high),
    seed=seed,
    row={id_: row for row, id_ in enumerate(table.id)},
    score=score,
    in_band=in_band,
    audit=audited,
    for_large=for_large,
    flops=_flops(content, column),
  )


def settings(cascade: Cascade) -> dict[str, Any]:
  """All that decides who reads what, for the manifest."""
  return {
    'created': cascade.created,
    'column': cascade.column,
    'band': list(cascade.band),
    'audit': len(cascade.audit),
    'seed': cascade.seed,
  }


def choose(
  cascade: Cascade, documents: Sequence[Document]
) -> Bool[np.ndarray, ' N']:
  """Which documents the large judge reads.

  Args:
    cascade: of `plan`.
    documents: N documents of the corpus.

  Returns:
    [N] bool.

  Raises:
    UserError: one is not in the small judge's table.
  """
  for document in documents:
    if document.id not in cascade.row:
      raise UserError(
        f'id {document.id!r} is not in {cascade.folder}; score the same --input'
        ' with the small judge first'
      )
  return cascade.for_large[[cascade.row[d.id] for d in documents]]


def check(scorers: Sequence[Scorer]) -> None:
  """Raises UserError unless it is one method that reads document by document.

  A column that is not a score of the text alone (lamdas/count, density) has
  no prediction from a small judge's.
  """
  columns = [column for scorer in scorers for column in scorer.columns]
  if len(columns) != 1:
    raise UserError(
      f'a cascade completes one column, not {len(columns)}'
      f' ({", ".join(columns)}); give one --method with one column'
    )
  if scorers[0].summary is not None or scorers[0].features.column is not None:
    raise UserError(
      f'{columns[0]} is no judge of single documents; a cascade needs one, e.g.'
      ' --method=ask_llm'
    )


def _flops(content: Mapping[str, Any], column: str) -> float:
  """What a column of a table cost by its manifest; 0 where it does not say."""
  cost = content.get('cost', {})
  return float(cost.get('columns', {}).get(column, cost.get('flops', 0.0)))
