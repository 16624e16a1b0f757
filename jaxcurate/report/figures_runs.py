"""Figures of training runs: differences, loss curves, weights."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxcurate.report import artefacts, plotting, scoring_cost, text
from jaxcurate.report import results as results_lib

_EVAL = 'eval/loss'
DIFFERENCE = 'held-out loss minus {} (nats per token), lower = better'
# The first fifth of training falls so steeply that it hides the rest.
_CUT = 0.2


def commands_of(runs: Sequence[artefacts.Run]) -> list[str]:
  """The different command lines of some runs."""
  return list(dict.fromkeys(artefacts.command(run.manifest) for run in runs))


def differences(
  study: artefacts.Study, results: Sequence[results_lib.Result]
) -> plotting.Figure | None:
  """Held-out loss of every method minus the baseline's, with its interval."""
  shown = [r for r in results if r.comparison is not None]
  if not shown:
    return None
  colors = plotting.method_colors(list(study.methods()), study.baseline)

  def paint(canvas: Any) -> None:
    axes = canvas.subplots()
    axes.axvline(0, color=plotting.GRAY, linewidth=1)
    for row, result in enumerate(shown):
      found, color = result.comparison, colors[result.method]
      if found is None:
        continue
      axes.plot([found.low, found.high], [row, row], color=color)
      axes.plot(found.difference, row, 'o', color=color)
      axes.annotate(
        found.verdict,
        (np.nanmax([found.high, found.difference]), row),
        xytext=(6, 0),
        textcoords='offset points',
        va='center',
        fontsize=8.5,
      )
    axes.set_yticks(range(len(shown)), [text.label(r.method) for r in shown])
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.margins(x=0.12)
    axes.grid(axis='x')
    base = text.label(study.baseline)
    axes.set_xlabel(DIFFERENCE.format(base))

  data = {
    r.method: r.comparison._asdict() for r in shown if r.comparison is not None
  }
  return plotting.draw(
    'held_out_difference',
    title='Difference in held-out loss',
    caption=(
      'Dots: token-weighted mean difference in held-out loss to'
      f' {text.label(study.baseline)}; lines: its 95 % interval (paired'
      ' bootstrap over documents, Student t over seeds). An interval that'
      ' spans 0 shows no difference. Each interval stands for itself; with'
      ' many methods one in twenty misses by chance.'
    ),
    data={'unit': 'nats per token', 'methods': data},
    commands=commands_of(study.runs),
    size=(9.4, 1.0 + 0.42 * len(shown)),
    paint=paint,
  )


def curve(
  runs: Sequence[artefacts.Run], name: str
) -> dict[str, np.ndarray] | None:
  """Mean and range over seeds of one metric at the steps all seeds logged.

  Args:
    runs: the seeds of one method.
    name: metric, 'eval/loss' or a train metric.

  Returns:
    'step', 'flops' (mean), 'mean', 'low', 'high', or None without points.
  """
  tables = [run.evals if name == _EVAL else run.train for run in runs]
  tables = [table for table in tables if name in table]
  if not tables:
    return None
  steps = tables[0]['step']
  for table in tables[1:]:
    steps = np.intersect1d(steps, table['step'])
  if not len(steps):
    return None
  index = [np.searchsorted(table['step'], steps) for table in tables]
  nothing = np.full(len(steps), np.nan)
  rows = list(zip(tables, index, strict=True))
  values = np.stack([table[name][i] for table, i in rows])
  spent = np.stack(
    [t['flops'][i] if 'flops' in t else nothing for t, i in rows]
  )
  kept = np.isfinite(values).all(axis=0)
  kept = np.flatnonzero(kept)[plotting.thin(int(kept.sum()))]
  if not len(kept):
    return None
  return {
    'step': steps[kept],
    'flops': spent.mean(axis=0)[kept],
    'mean': values.mean(axis=0)[kept],
    'low': values.min(axis=0)[kept],
    'high': values.max(axis=0)[kept],
  }


def loss_curves(study: artefacts.Study) -> plotting.Figure | None:
  """Loss against steps, and against total FLOPs with scoring included."""
  methods = study.methods()
  found = {name: curve(runs, _EVAL) for name, runs in methods.items()}
  kind = 'held-out loss'
  if not any(found.values()):
    found = {name: curve(runs, 'loss') for name, runs in methods.items()}
    kind = 'training loss'
  curves = {name: line for name, line in found.items() if line is not None}
  if not curves:
    return None
  scoring = {}
  for name, line in curves.items():
    first = methods[name][0]
    scoring[name] = scoring_cost.scoring_of_run(study, first) or 0.0
    line['total_flops'] = line['flops'] + scoring[name]
  colors = plotting.method_colors(list(study.methods()), study.baseline)
  target = None
  if study.baseline in curves:
    target = float(curves[study.baseline]['mean'][-1])

  def paint(canvas: Any) -> None:
    panels = canvas.subplots(1, 2, sharey=True)
    for axes, axis in zip(panels, ['step', 'total_flops'], strict=True):
      for name, line in curves.items():
        axes.plot(
          line[axis],
          line['mean'],
          color=colors[name],
          marker='o' if len(line['step']) < 12 else None,
          markersize=3.5,
          zorder=2 if name == study.baseline else 3,
        )
        axes.fill_between(
          line[axis],
          line['low'],
          line['high'],
          color=colors[name],
          alpha=0.18,
          linewidth=0,
        )
      if target is not None:
        axes.axhline(target, color=plotting.GRAY, linestyle=':', linewidth=1.2)
      axes.grid()
    panels[0].set_ylim(_limits(curves))
    panels[0].set_ylabel(f'{kind} (nats per token)')
    panels[0].set_xlabel('training steps')
    panels[1].set_xlabel('total FLOPs, scoring included')
    plotting.flop_axis(panels[1].xaxis)
    legend(canvas, list(curves), colors)

  return plotting.draw(
    'loss_curves',
    title=f'{kind.capitalize()} against steps and against total FLOPs',
    caption=(
      f'Lines: mean {kind} over seeds; bands: lowest to highest seed; dotted:'
      ' where the baseline ends. On the right every curve starts at what its'
      ' scores cost, so a cheaper method reaches the dotted line further left.'
      ' The steep beginning is cut off at the top.'
    ),
    data={
      'metric': kind,
      'baseline_final': target,
      'scoring_flops': scoring,
      'curves': curves,
    },
    commands=commands_of(study.runs),
    size=(9.4, 3.9),
    paint=paint,
  )


def _limits(curves: dict[str, dict[str, np.ndarray]]) -> tuple[float, float]:
  """From the lowest loss to the loss after the first fifth of the points."""
  low = min(float(line['low'].min()) for line in curves.values())
  tops = []
  for line in curves.values():
    num_points = len(line['step'])
    start = min(int(_CUT * num_points) + 1, num_points - 1)
    tops.append(float(line['high'][start:].max()))
  top = max(tops)
  pad = 0.06 * (top - low) or 0.5
  return low - pad, top + pad


def legend(canvas: Any, names: Sequence[str], colors: dict[str, str]) -> None:
  """Names above the panels, whatever characters they begin with."""
  from matplotlib.lines import Line2D

  handles = [Line2D([], [], color=colors[name], linewidth=3) for name in names]
  # A leading underscore would hide the entry.
  labels = [text.label(name) for name in names]
  labels = ['\u200b' + x if x.startswith('_') else x for x in labels]
  canvas.legend(
    handles,
    labels,
    loc='outside upper left',
    ncols=min(len(names), 5),
    handlelength=1.2,
  )


def weights(study: artefacts.Study) -> plotting.Figure | None:
  """Mean, spread and range of the example weights over training."""
  names = ('mean', 'std', 'min', 'max')
  found: dict[str, dict[str, np.ndarray]] = {}
  for method, runs in study.methods().items():
    curves = {name: curve(runs, f'weights/{name}') for name in names}
    mean = curves['mean']
    if mean is None:
      continue
    lines = {'step': mean['step']}
    for name, line in curves.items():
      if line is not None and len(line['mean']) == len(mean['mean']):
        lines[name] = line['mean']
    spread = lines.get('std', np.zeros(1))
    if np.ptp(lines['mean']) == 0 and not spread.any():
      continue  # every weight is the same at every step: nothing to see
    found[method] = lines
  if not found:
    return None
  colors = plotting.method_colors(list(study.methods()), study.baseline)
  columns = min(len(found), 3)
  rows = -(-len(found) // columns)

  def paint(canvas: Any) -> None:
    grid = canvas.subplots(rows, columns, squeeze=False, sharex=True)
    for axes in grid.flat[len(found) :]:
      axes.set_visible(False)
    for axes, (method, line) in zip(grid.flat, found.items(), strict=False):
      if 'min' in line and 'max' in line:
        axes.fill_between(
          line['step'],
          line['min'],
          line['max'],
          color=colors[method],
          alpha=0.13,
          linewidth=0,
        )
      if 'std' in line:
        low, high = line['mean'] - line['std'], line['mean'] + line['std']
        axes.fill_between(
          line['step'], low, high, color=colors[method], alpha=0.25, linewidth=0
        )
      axes.plot(line['step'], line['mean'], color=colors[method])
      axes.set_title(text.label(method))
      axes.grid()
      axes.set_xlabel('training steps')
    grid[0, 0].set_ylabel('weight of an example')

  return plotting.draw(
    'weights',
    title='Example weights over time',
    caption=(
      'Per logged step, averaged over seeds. Line: mean weight in the batch;'
      ' dark band: one standard deviation; light band: smallest to largest.'
      ' Methods that weigh every example the same are left out.'
    ),
    data={'methods': found},
    commands=commands_of([r for r in study.runs if r.method in found]),
    size=(3.3 * columns + (1.2 if columns == 1 else 0), 0.5 + 2.5 * rows),
    paint=paint,
  )
