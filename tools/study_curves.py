"""Held-out losses of several runs against those of a baseline, as tables."""

from collections.abc import Mapping, Sequence
import pathlib
from typing import NamedTuple

from etils import epath
import numpy as np
import scipy.stats

from jaxcurate.report import metrics

CONFIDENCE = 0.95


class Curve(NamedTuple):
  """Held-out loss along one run; arrays over its evaluations.

  Attributes:
    steps: optimizer steps.
    tokens: tokens read.
    flops: operations so far, what was paid before included.
    losses: group of domains -> nats per token, the mean over its domains.
  """

  steps: np.ndarray
  tokens: np.ndarray
  flops: np.ndarray
  losses: Mapping[str, np.ndarray]


class Difference(NamedTuple):
  """A contender against the baseline, paired over seeds.

  Attributes:
    loss: the contender's mean over seeds, nats per token.
    mean: of the differences; below 0 the contender is better.
    low, high: ends of the 95 % interval (Student's t over seeds).
    num_seeds: pairs.
  """

  loss: float
  mean: float
  low: float
  high: float
  num_seeds: int


def read_curve(
  folder: pathlib.Path, groups: Mapping[str, Sequence[str]], paid: float
) -> Curve:
  """The curve of one run.

  Args:
    folder: of `jaxcurate train`, which logged every step that it evaluated.
    groups: name -> domains.
    paid: operations before the first step.
  """
  lines = metrics.read_lines(epath.Path(folder) / 'metrics.jsonl')
  trained = metrics.columns(lines, 'tokens')
  found = metrics.columns(lines, 'eval/loss')
  return Curve(
    found['step'],
    np.interp(found['step'], trained['step'], trained['tokens']),
    found['flops'] + paid,
    {
      group: np.mean([found[f'eval/domain/{name}'] for name in names], axis=0)
      for group, names in groups.items()
    },
  )


def at(curve: Curve, axis: str, place: float, group: str) -> float:
  """Loss where a run had made so many steps, tokens or operations.

  Evaluations are joined by straight lines. NaN before the first and more than
  a thousandth after the last one.

  Args:
    curve: of a run.
    axis: 'steps', 'tokens' or 'flops'.
    place: on the axis.
    group: of domains.

  >>> curve = Curve(*[np.array([10.0, 20.0])] * 3, {'all': np.array([4.0, 2])})
  >>> at(curve, 'steps', 15.0, 'all'), at(curve, 'steps', 21.0, 'all')
  (3.0, nan)
  """
  along = getattr(curve, axis)
  if not along[0] <= place <= along[-1] * 1.001:
    return float('nan')
  return float(np.interp(place, along, curve.losses[group]))


def compare(ours: Sequence[float], base: Sequence[float]) -> Difference:
  """Paired difference of two contenders' losses, one of each seed.

  >>> compare([1.0, 2.0, 3.0], [2.0, 3.0, 4.0])[:4]
  (2.0, -1.0, -1.0, -1.0)
  """
  apart = np.subtract(ours, base)
  mean, low, high = float(np.mean(apart)), float('nan'), float('nan')
  if len(apart) > 1:
    error = np.std(apart, ddof=1) / np.sqrt(len(apart))
    reach = scipy.stats.t.ppf((1 + CONFIDENCE) / 2, len(apart) - 1) * error
    low, high = mean - float(reach), mean + float(reach)
  return Difference(float(np.mean(ours)), mean, low, high, len(apart))


def table(
  curves: Mapping[str, Sequence[Curve]], baseline: str, axis: str
) -> str:
  """Markdown: loss and difference per group, where the baseline ended.

  Args:
    curves: contender -> one curve per seed.
    baseline: the contender to compare with.
    axis: 'steps', 'tokens' or 'flops'.
  """
  base = curves[baseline]
  ends = [float(getattr(curve, axis)[-1]) for curve in base]
  groups = list(base[0].losses)
  rows = [
    ['contender', *groups, 'operations per step'],
    ['---'] * (len(groups) + 2),
  ]
  for name, own in curves.items():
    cells = [name]
    for group in groups:
      ours, theirs = (
        [at(one, axis, end, group) for one, end in zip(many, ends, strict=True)]
        for many in (own, base)
      )
      cells.append(_cell(compare(ours, theirs), name == baseline))
    rows.append([*cells, f'{_per_step(own) / _per_step(base):.2f}'])
  return '\n'.join('| ' + ' | '.join(row) + ' |' for row in rows)


def _cell(found: Difference, alone: bool) -> str:
  if np.isnan(found.loss):
    return 'did not come so far'
  if alone:
    return f'{found.loss:.3f}'
  ends = f'[{found.low:+.3f}, {found.high:+.3f}]'
  text = f'{found.loss:.3f}, {found.mean:+.3f} {ends}'
  return f'**{text}**' if found.low > 0 or found.high < 0 else text


def _per_step(curves: Sequence[Curve]) -> float:
  """Operations of a step, refreshes included, what was paid before not."""
  one = curves[0]
  if len(one.steps) == 1:
    return float(one.flops[0] / one.steps[0])
  return float((one.flops[-1] - one.flops[0]) / (one.steps[-1] - one.steps[0]))
