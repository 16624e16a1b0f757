"""Figures of selections: what was kept of each domain, and how they overlap."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxcurate.evaluate import agreement, held_out
from jaxcurate.report import artefacts, figures_scores, plotting, text
from jaxcurate.types import ScoreTable

_MAX_DOMAINS = 20
_OTHER = '(other domains)'


def kept_share(study: artefacts.Study) -> plotting.Figure | None:
  """Which share of every domain each selection keeps."""
  table = study.table
  if table is None or not study.selections or not len(table.id):
    return None
  names, sizes, kept = kept_by_domain(table, study.selections)
  total = sizes.sum(axis=0)
  whole = kept.sum(axis=0) / total
  values = np.concatenate([whole[None], kept / sizes])
  ratio = _log_ratio(values, np.broadcast_to(whole, values.shape))
  rows = ['all', *(text.label(name) for name in names)]
  rows = [
    f'{name} ({size:,})'
    for name, size in zip(rows, [int(total[0]), *sizes[:, 0]], strict=True)
  ]
  methods = [selection.method for selection in study.selections]

  def paint(canvas: Any) -> None:
    plotting.heat_map(
      canvas.subplots(),
      ratio,
      rows,
      [text.label(method) for method in methods],
      vmin=-2.0,
      vmax=2.0,
      cmap='RdBu',
      show=lambda i, j: text.share(float(values[i, j])),
    )

  return plotting.draw(
    'kept_share',
    title='Share of each domain that was kept',
    caption=(
      'Documents kept of the domain’s documents (number in brackets), repeats'
      ' counted once. Blue: kept more often than documents at large; red: less'
      ' often; full colour at four times or a quarter. A pale column keeps the'
      ' mixture of domains as it was.'
    ),
    data={
      'selections': methods,
      'domains': names,
      'documents': sizes[:, 0],
      'kept': kept,
      'share_of_all': whole,
    },
    commands=figures_scores.commands_of(study.selections),
    size=(3.0 + 1.15 * len(methods), 1.0 + 0.34 * len(rows)),
    paint=paint,
  )


def _log_ratio(value: np.ndarray, expected: np.ndarray) -> np.ndarray:
  """log2(value / expected), kept finite where either is 0."""
  return np.log2(np.maximum(value, 1e-9) / np.maximum(expected, 1e-9))


def kept_by_domain(
  table: ScoreTable, selections: Sequence[artefacts.Kept]
) -> tuple[list[str], np.ndarray, np.ndarray]:
  """Documents and kept documents of the largest domains.

  Args:
    table: all scored documents.
    selections: what was kept.

  Returns:
    Domain names, largest first, the smallest together as '(other domains)';
    [domains, selections] documents; [domains, selections] kept documents.
  """
  domain = held_out.domain_names(table.domain)
  sizes: dict[str, int] = {}
  for name in domain:
    sizes[name] = sizes.get(name, 0) + 1
  names = sorted(sizes, key=lambda name: (-sizes[name], name))
  row = {name: i for i, name in enumerate(names)}
  if len(names) > _MAX_DOMAINS:
    row = {name: min(i, _MAX_DOMAINS - 1) for name, i in row.items()}
    names = [*names[: _MAX_DOMAINS - 1], _OTHER]
  row_of_id = {
    name: row[where] for name, where in zip(table.id, domain, strict=True)
  }
  count = np.bincount(list(row_of_id.values()), minlength=len(names))
  kept = np.zeros((len(names), len(selections)), np.int64)
  for j, folder in enumerate(selections):
    for name in folder.selection.id:
      if name in row_of_id:
        kept[row_of_id[name], j] += 1
  return names, np.repeat(count[:, None], len(selections), axis=1), kept


def overlaps(study: artefacts.Study) -> plotting.Figure | None:
  """Jaccard index of every two selections, against chance."""
  table = study.table
  if table is None or len(study.selections) < 2:
    return None
  known = set(table.id)
  sets = [set(s.selection.id) & known for s in study.selections]
  num = len(sets)
  jaccard, chance = np.full((num, num), np.nan), np.full((num, num), np.nan)
  for i in range(num):
    for j in range(i):
      found = agreement.overlap(sets[i], sets[j], len(known))
      jaccard[i, j] = jaccard[j, i] = found.jaccard
      chance[i, j] = chance[j, i] = found.chance
  if not np.isfinite(jaccard).any():
    return None
  ratio = _log_ratio(jaccard, chance)
  methods = [s.method for s in study.selections]
  labels = [text.label(method) for method in methods]

  def paint(canvas: Any) -> None:
    plotting.heat_map(
      canvas.subplots(),
      ratio,
      labels,
      labels,
      vmin=-2.0,
      vmax=2.0,
      cmap='RdBu',
      show=lambda i, j: f'{jaccard[i, j]:.2f}\n({chance[i, j]:.2f})',
    )

  side = 0.62 * num
  return plotting.draw(
    'overlap',
    title='Overlap of selections',
    caption=(
      'Jaccard index (shared / union) of the documents kept, in brackets what'
      ' chance alone gives at these sizes. Blue: more alike than chance; red:'
      ' less.'
    ),
    data={'selections': methods, 'jaccard': jaccard, 'chance': chance},
    commands=figures_scores.commands_of(study.selections),
    size=(2.4 + 1.45 * side, 1.1 + side),
    paint=paint,
  )
