"""What was found, in plain sentences, honest whichever method won."""

from collections.abc import Sequence
import math
from typing import NamedTuple

import numpy as np

from jaxcurate.evaluate import agreement
from jaxcurate.report import artefacts, text
from jaxcurate.report import results as results_lib

# Methods whose total FLOPs differ by more than this are not an equal race.
_UNEQUAL = 0.02


class Sentence(NamedTuple):
  """One finding.

  Attributes:
    text: plain text; names from data are already `text.label`s.
    verdict: 'better', 'worse', 'no difference shown', or '' for the rest.
  """

  text: str
  verdict: str = ''


def findings(study: artefacts.Study) -> list[str]:
  """Plain sentences for the terminal.

  Args:
    study: what `load.load` found.

  Returns:
    One sentence per finding, the comparison of methods first.
  """
  found = sentences(study, results_lib.compare(study))
  return [
    f'{line.text}: {line.verdict}' if line.verdict else line.text
    for line in found
  ]


def sentences(
  study: artefacts.Study, results: Sequence[results_lib.Result]
) -> list[Sentence]:
  """The findings with their verdicts apart.

  Args:
    study: what was found.
    results: `results.compare(study)`.

  Returns:
    Sentences on quality, then cost, then selections and scores.
  """
  return [
    *_quality(study, results),
    *_cost(study, results),
    *_selections(study),
    *_scores(study),
  ]


def _quality(
  study: artefacts.Study, results: Sequence[results_lib.Result]
) -> list[Sentence]:
  found = []
  for result in results:
    seeds = f'{len(result.seeds)} seed{"s" if len(result.seeds) > 1 else ""}'
    name = text.label(result.method)
    if result.loss is None:
      found.append(Sentence(f'{name}: no held-out loss was recorded'))
      continue
    line = f'{name}: held-out loss {text.number(result.loss)}'
    if result.comparison is None:
      spread = f' ± {text.number(result.loss_std)}' if result.loss_std else ''
      found.append(Sentence(f'{line}{spread}, {seeds}'))
      continue
    low, high = result.comparison.low, result.comparison.high
    ends = text.interval(low, high, sign=True)
    known = f'95 % interval {ends}' if ends != text.NONE else 'one document'
    found.append(
      Sentence(
        f'{line}, {text.signed(result.comparison.difference)} vs'
        f' {text.label(study.baseline)} ({known}, {seeds})',
        result.comparison.verdict,
      )
    )
  compared = [r for r in results if r.comparison is not None]
  if results and study.baseline is None:
    found.append(
      Sentence(
        'No run is called uniform, so nothing is compared: name the'
        ' baseline run, or its folder uniform'
      )
    )
  if any(r.comparison.num_seeds < 2 for r in compared if r.comparison):
    found.append(
      Sentence('With one seed an interval says nothing about other seeds')
    )
  return found


def _cost(
  study: artefacts.Study, results: Sequence[results_lib.Result]
) -> list[Sentence]:
  found = []
  base = text.label(study.baseline)
  for result in results:
    faster = result.faster_flops
    if faster is None or not faster.num_seeds:
      continue
    name = text.label(result.method)
    if faster.ratio is None:
      count = f'{faster.num_reached} of {faster.num_seeds} seeds'
      who = 'does not reach' if not faster.num_reached else f'({count}) reaches'
      found.append(Sentence(f"{name} {who} {base}'s final held-out loss"))
      continue
    scored = 'scoring included' if result.scoring_flops else 'nothing to score'
    ends = text.interval(faster.low, faster.high, 2)
    known = f', 95 % interval {ends}' if ends != text.NONE else ''
    line = (
      f"{name} reaches {base}'s final held-out loss with"
      f' {text.number(1 / faster.ratio, 2)} times its total FLOPs, {scored}'
      f' (speed-up {text.number(faster.ratio, 2)}{known})'
    )
    if result.break_even is None:
      line += '; scoring never pays, training is not shorter'
    elif result.scoring_flops and result.break_even > 1:
      line += f'; scoring pays from run {result.break_even:,} on'
    found.append(Sentence(line))
  totals = [r.total_flops for r in results if r.total_flops]
  if len(totals) > 1 and max(totals) > (1 + _UNEQUAL) * min(totals):
    found.append(
      Sentence(
        'Not an equal race: total FLOPs differ by a factor of'
        f' {text.number(max(totals) / min(totals), 2)} between methods'
      )
    )
  unknown = [r for r in results if r.scoring_flops is None]
  if unknown:
    names = ', '.join(text.label(result.method) for result in unknown)
    found.append(
      Sentence(
        f'Scoring cost unknown for {names}: give the selection and score'
        ' folders as inputs too'
      )
    )
  return found


def _selections(study: artefacts.Study) -> list[Sentence]:
  if not study.selections:
    return []
  total = None if study.table is None else len(study.table.id)
  parts = []
  for kept in study.selections:
    documents = len(kept.selection.id)
    part = f'{text.label(kept.method)} {documents:,}'
    if total:
      part += f' ({text.share(documents / total)})'
    copies = int(kept.selection.count.sum())
    if copies > documents:
      part += f', {copies:,} with repeats'
    parts.append(part)
  of_all = f'Of {total:,} documents kept' if total else 'Documents kept'
  return [Sentence(f'{of_all}: {"; ".join(parts)}')]


def _scores(study: artefacts.Study) -> list[Sentence]:
  table = study.table
  if table is None:
    return []
  names = list(table.scores)
  plural = 's' if len(names) != 1 else ''
  found = [
    Sentence(f'{len(names)} score column{plural}, {len(table.id):,} documents')
  ]
  if 2 <= len(names) and len(table.id):
    columns = np.stack([table.scores[name] for name in names])
    tau, _ = agreement.tau_matrix(columns)
    pairs = [
      (float(tau[i, j]), names[j], names[i])
      for i in range(len(names))
      for j in range(i)
      if math.isfinite(tau[i, j])
    ]
    if pairs:
      value, first, second = max(pairs)
      found.append(
        Sentence(
          f'Closest in rank: {text.label(first)} and {text.label(second)}'
          f' (Kendall τ {text.signed(value, 2)})'
        )
      )
  for name in names:
    missing = int((~np.isfinite(table.scores[name])).sum())
    if missing:
      found.append(
        Sentence(f'{missing:,} documents have no {text.label(name)} score')
      )
  return found
