"""The table of a cascade: both judges on one scale, saving and agreement.

Documents that the large judge did not read get what the audit sample predicts
for them, by a rising curve. How good that is, is measured on the same sample
with the curve fitted on the other folds.
"""

from collections.abc import Sequence
import math
from typing import Any

from etils import epath
import numpy as np
import pyarrow as pa

from jaxcurate.evaluate import agreement
from jaxcurate.io import tables
from jaxcurate.io.errors import UserError
from jaxcurate.ops import isotonic
from jaxcurate.scoring import parts as parts_lib
from jaxcurate.scoring.cascade import Cascade

JUDGE_COLUMN = 'scored_by'  # 'large' or 'small'; no score, so not in `columns`
_KEYS = ('id', 'domain', 'num_tokens')
_FOLDS = 5


def finish(
  cascade: Cascade,
  *,
  scratch: epath.PathLike,
  output: epath.PathLike,
  column: str,
) -> dict[str, Any]:
  """Writes the final chunks: every document with a score on the large scale.

  Args:
    cascade: of `cascade.plan`.
    scratch: folder of the large judge's chunks, complete.
    output: folder of the final table.
    column: the large judge's.

  Returns:
    What was saved and how well the two agree, for the manifest.

  Raises:
    UserError: the large judge has no score for the audit sample.
  """
  parts = parts_lib.committed(scratch)
  large = np.full(len(cascade.score), np.nan)
  found = np.zeros(len(large), bool)
  for part in parts:
    table = _read(scratch, part, column)
    rows = _rows(cascade, table)
    large[rows] = table.column(column).to_numpy()
    found[rows] = True
  by_large = cascade.for_large
  audit = cascade.audit[np.isfinite(large[cascade.audit])]
  value = large
  if not by_large[found].all():
    if len(audit) < 2:
      raise UserError(
        f'the large judge has a score for {len(audit)} of the'
        f' {len(cascade.audit)} documents of the audit sample, which is too'
        ' few to put the others on its scale; is --input the whole corpus of'
        f' {cascade.folder}?'
      )
    curve = isotonic.fit(cascade.score[audit], large[audit])
    value = np.where(by_large, large, isotonic.apply(curve, cascade.score))
  for part in parts:
    table = _read(scratch, part, column)
    rows = _rows(cascade, table)
    columns = {name: table.column(name) for name in _KEYS}
    columns[column] = value[rows].astype(np.float32)
    columns[JUDGE_COLUMN] = np.array(['small', 'large'], object)[
      by_large[rows].astype(int)
    ]
    parts_lib.commit(output, part, columns)
  cost = _cost(cascade, parts)
  whole = cost['large_on_all']
  return {
    'small': cascade.folder,
    'saving': {
      'documents': float(1 - by_large[found].mean()),
      'flops': 1 - (cost['small'] + cost['large']) / whole if whole else None,
    },
    'documents': {
      'all': int(found.sum()),
      'large': int((found & by_large).sum()),
      'band': int((found & cascade.in_band).sum()),
      'audit': int(found[cascade.audit].sum()),
      'without_small_score': int((found & ~np.isfinite(cascade.score)).sum()),
      'not_in_input': int((~found).sum()),
    },
    'flops': cost,
    'agreement': _agreement(cascade, large, audit),
  }


def _read(
  scratch: epath.PathLike, part: parts_lib.Part, column: str
) -> pa.Table:
  return tables.read_parquet(epath.Path(scratch) / part.name, [*_KEYS, column])


def _rows(cascade: Cascade, table: pa.Table) -> list[int]:
  """Rows of the small table in the order of the chunk."""
  return [cascade.row[id_] for id_ in table.column('id').to_pylist()]


def _cost(
  cascade: Cascade, parts: Sequence[parts_lib.Part]
) -> dict[str, float]:
  """Operations of both judges, and of the large one had it read all."""
  return {
    'small': cascade.flops,
    'large': sum(sum(part.flops.values()) for part in parts),
    'large_on_all': sum(sum(part.flops_of_all.values()) for part in parts),
  }


def _agreement(
  cascade: Cascade, large: np.ndarray, audit: np.ndarray
) -> dict[str, Any]:
  """Rank agreement with the large judge on the audit sample.

  The cascade's score is what a document would have got had it not been in the
  sample: its own curve is fitted on the other folds.
  """
  small, truth = cascade.score[audit].astype(np.float64), large[audit]
  value = truth.copy()
  fold = np.arange(len(audit)) % _FOLDS
  for held in range(_FOLDS):
    rows = (fold == held) & ~cascade.in_band[audit]
    if rows.any() and (fold != held).any():
      curve = isotonic.fit(small[fold != held], truth[fold != held])
      value[rows] = isotonic.apply(curve, small[rows])
  return {
    'documents': len(audit),
    'small': _ranks(small, truth),
    'cascade': _ranks(value, truth),
  }


def _ranks(first: np.ndarray, second: np.ndarray) -> dict[str, Any]:
  """Kendall's tau and Spearman's rho, with its 95 % interval."""
  found = agreement.rank_agreement(first, second)
  if math.isnan(found.spearman):
    return {'kendall': None, 'spearman': None, 'interval': None}
  interval = None
  if found.num_rows > 3:
    # Bonett and Wright, "Sample size requirements for estimating Pearson,
    # Kendall and Spearman correlations", Psychometrika 65 (2000).
    error = math.sqrt((1 + found.spearman**2 / 2) / (found.num_rows - 3))
    middle = np.arctanh(np.clip(found.spearman, -1 + 1e-12, 1 - 1e-12))
    interval = [float(np.tanh(middle + s * 1.96 * error)) for s in (-1, 1)]
  return {
    'kendall': found.tau,
    'spearman': found.spearman,
    'interval': interval,
  }
