"""Figures of mixtures: shares of domains, and quality within them."""

import re
from typing import Any

import numpy as np

from jaxcurate.report import artefacts, mixtures, plotting, text

_MAX_DOMAINS = 26  # those of the usual domain classifier
_MAX_LINES = 8  # as many colours as there are


def shares(study: artefacts.Study) -> plotting.Figure | None:
  """Shares of every mixture beside those of the corpus."""
  if not study.mixtures:
    return None
  panels = {}
  for mixed in study.mixtures:
    natural = mixtures.facts(mixed).natural_M
    rows = _largest(mixed, natural)
    panels[mixed.name] = {
      'domains': [mixed.mixture.domains[row] for row in rows],
      'share': np.asarray(mixed.mixture.share_M)[rows],
      'natural': natural[rows],
      'left_out': len(mixed.mixture.domains) - len(rows),
    }
  columns = min(len(panels), 3)
  lines = -(-len(panels) // columns)
  longest = max(len(panel['domains']) for panel in panels.values())

  def paint(canvas: Any) -> None:
    grid = canvas.subplots(lines, columns, squeeze=False)
    for axes in grid.flat[len(panels) :]:
      axes.set_visible(False)
    for axes, (name, panel) in zip(grid.flat, panels.items(), strict=False):
      place = np.arange(len(panel['domains']))
      axes.barh(
        place - 0.2,
        100 * panel['share'],
        0.4,
        color=plotting.COLORS[0],
        label='mixture',
      )
      axes.barh(
        place + 0.2,
        100 * np.nan_to_num(panel['natural']),
        0.4,
        color=plotting.GRAY,
        label='corpus',
      )
      axes.set_yticks(place, [text.label(d) for d in panel['domains']])
      axes.set_ylim(len(place) - 0.4, -0.6)
      axes.grid(axis='x')
      axes.set_title(text.label(name))
      axes.set_xlabel('per cent of the tokens')
    grid[0, 0].legend(loc='lower right')

  return plotting.draw(
    'mixture_shares',
    title='Shares of domains',
    caption=(
      'Share of the tokens to sample, and of the corpus’s own. Largest'
      f' domains of either first, at most {_MAX_DOMAINS}.'
    ),
    data={'mixtures': panels},
    commands=_commands(study.mixtures),
    size=(3.6 * columns + 1.4, lines * (1.1 + 0.34 * longest)),
    paint=paint,
  )


def quality(study: artefacts.Study) -> list[plotting.Figure]:
  """Of each mixture with quality: what is sampled, and by which criteria."""
  return [
    _quality(mixed)
    for mixed in study.mixtures
    if mixed.mixture.shape is not None
  ]


def _quality(mixed: artefacts.Mixed) -> plotting.Figure:
  mixture, shape = mixed.mixture, mixed.mixture.shape
  assert shape is not None
  rows = _largest(mixed, mixtures.facts(mixed).natural_M)
  domains = [mixture.domains[row] for row in rows]
  labels = [text.label(name) for name in domains]
  # A little beyond the last cut: from there on only the floor is left.
  end = min(1.0, 1.25 * float(shape.keep_fraction_M[rows].max()) or 1.0)
  rank = np.linspace(0.0, end, 201)
  value = np.stack([mixtures.values(shape, row, rank) for row in rows])
  weights = shape.weights_MxQ[rows]

  def paint(canvas: Any) -> None:
    left, right = canvas.subplots(
      1, 2, width_ratios=[1.6, 0.5 + 0.5 * len(shape.criteria)]
    )
    for k, line in enumerate(value):
      own = k < _MAX_LINES
      left.plot(
        100 * rank,
        line,
        color=plotting.COLORS[k] if own else plotting.GRAY,
        alpha=1.0 if own else 0.4,
        label=labels[k] if own else None,
      )
    left.set_xlabel('rank in the domain, per cent of its tokens (0: best)')
    left.set_ylabel('sampling value')
    left.set_ylim(bottom=0)
    left.margins(x=0)
    left.grid(axis='y')
    canvas.legend(loc='outside lower center', ncols=4, fontsize=8)
    plotting.heat_map(
      right,
      weights,
      labels,
      [text.label(name) for name in shape.criteria],
      vmin=0.0,
      vmax=1.0,
      cmap='Blues',
      show=lambda i, j: f'{weights[i, j]:.2f}',
    )
    right.set_title('weights of criteria')

  name = re.sub(r'[^A-Za-z0-9_.-]+', '_', mixed.name)
  return plotting.draw(
    f'mixture_quality_{name}',
    title=f'Quality in {text.label(mixed.name)}',
    caption=(
      'Left: how often documents are sampled by their rank within the domain,'
      ' before all are scaled to the shares and the budget; a line ends at its'
      f' floor. The {_MAX_LINES} largest domains have a colour. Right: how much'
      ' each criterion counts for the rank.'
    ),
    data={
      'domains': domains,
      'rank': rank,
      'sampling_value': value,
      'criteria': list(shape.criteria),
      'weights': weights,
    },
    commands=_commands([mixed]),
    size=(9.4, 2.0 + 0.32 * max(len(rows), 5)),
    paint=paint,
  )


def _largest(mixed: artefacts.Mixed, natural_M: np.ndarray) -> list[int]:
  """Rows of the domains that are largest in the mixture or the corpus."""
  share_M = np.asarray(mixed.mixture.share_M, np.float64)
  size_M = np.maximum(share_M, np.nan_to_num(natural_M))
  return np.argsort(-size_M, kind='stable')[:_MAX_DOMAINS].tolist()


def _commands(folders: Any) -> list[str]:
  return list(dict.fromkeys(artefacts.command(f.manifest) for f in folders))
