"""Figures of scores: histograms, and rank agreement between scorers."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxcurate.evaluate import agreement
from jaxcurate.report import artefacts, plotting, text

_BINS = 40
_TAIL = 0.005


def commands_of(
  folders: Sequence[artefacts.Scores] | Sequence[artefacts.Kept],
) -> list[str]:
  """The different command lines of some folders."""
  return list(dict.fromkeys(artefacts.command(f.manifest) for f in folders))


def histograms(study: artefacts.Study) -> plotting.Figure | None:
  """The distribution of every score, and of what was kept by it."""
  table = study.table
  if table is None:
    return None
  panels = {}
  for name, column in table.scores.items():
    values = column[np.isfinite(column)].astype(np.float64)
    if not len(values):
      continue
    low, high = np.quantile(values, [_TAIL, 1 - _TAIL])
    if low == high:
      low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, _BINS + 1)
    panel = {
      'unit': table.units.get(name, ''),
      'edges': edges,
      'count': _count(values, edges),
      'missing': len(column) - len(values),
      'kept': {},
    }
    for kept in study.selections:
      if artefacts.criterion(kept) == name.split(': ')[-1]:
        chosen = set(kept.selection.id)
        inside = np.array([i in chosen for i in table.id], bool)
        own = column[inside & np.isfinite(column)].astype(np.float64)
        panel['kept'][kept.method] = _count(own, edges)
    panels[name] = panel
  if not panels:
    return None
  columns = min(len(panels), 3)
  rows = -(-len(panels) // columns)

  def paint(canvas: Any) -> None:
    grid = canvas.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(panels) :]:
      axes.set_visible(False)
    for axes, (name, panel) in zip(grid.flat, panels.items(), strict=False):
      edges = panel['edges']
      axes.stairs(
        panel['count'], edges, fill=True, color=plotting.GRAY, alpha=0.55
      )
      for k, count in enumerate(panel['kept'].values()):
        axes.stairs(
          count,
          edges,
          fill=True,
          alpha=0.75,
          color=plotting.COLORS[k % len(plotting.COLORS)],
        )
      axes.set_title(text.label(name))
      axes.set_xlabel(text.label(panel['unit'], 40))
      axes.margins(x=0)
    for axes in grid[:, 0]:
      axes.set_ylabel('documents')

  drawn = sorted({m for panel in panels.values() for m in panel['kept']})
  kept_text = (
    ' Coloured: the documents kept by that score'
    f' ({", ".join(text.label(name) for name in drawn)}).'
    if drawn
    else ''
  )
  return plotting.draw(
    'score_histograms',
    title='Distribution of scores',
    caption=(
      'Documents per score; higher = keep. The outer half per cent on either'
      f' side is counted in the first and last bar.{kept_text}'
    ),
    data={'columns': panels},
    commands=commands_of(study.scores),
    size=(3.2 * columns + (1.2 if columns == 1 else 0), 0.3 + 2.3 * rows),
    paint=paint,
  )


def _count(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
  """Documents per bin; what lies outside counts in the outer bins."""
  return np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0]


def kendall(study: artefacts.Study) -> plotting.Figure | None:
  """Rank agreement between all scorers."""
  table = study.table
  if table is None or len(table.scores) < 2:
    return None
  names = list(table.scores)
  tau, error = agreement.tau_matrix(np.stack([table.scores[n] for n in names]))
  labels = [text.label(name) for name in names]
  # The diagonal is always 1 and would be the darkest thing on the page.
  shown = np.where(np.eye(len(names), dtype=bool), np.nan, tau)
  if not np.isfinite(shown).any():
    return None

  def paint(canvas: Any) -> None:
    plotting.heat_map(
      canvas.subplots(),
      shown,
      labels,
      labels,
      vmin=-1.0,
      vmax=1.0,
      cmap='RdBu',
      show=lambda i, j: text.number(float(tau[i, j]), 2),
    )

  largest = float(error.max())
  sampled = (
    f' Estimated on sampled pairs, standard error {largest:.3f}.'
    if largest
    else ''
  )
  side = 0.62 * len(names)
  return plotting.draw(
    'kendall',
    title='Rank agreement between scorers',
    caption=(
      'Kendall’s τ-b over documents with both scores: 1 = the same order,'
      f' 0 = unrelated, −1 = reversed.{sampled}'
    ),
    data={'columns': names, 'tau_b': tau, 'standard_error': error},
    commands=commands_of(study.scores),
    size=(2.4 + 1.45 * side, 1.1 + side),
    paint=paint,
  )
