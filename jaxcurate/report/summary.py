"""The tables of the page: runs, cost, held-out perplexity, provenance."""

from collections.abc import Mapping, Sequence
import json
from typing import Any

import numpy as np

from jaxcurate.evaluate import cost
from jaxcurate.report import artefacts, figures_outcome, page, text
from jaxcurate.report import results as results_lib

esc = text.escape


def runs_table(
  study: artefacts.Study, results: Sequence[results_lib.Result]
) -> str:
  """Quality of every method and its verdict."""
  if not results:
    return ''
  rows = []
  for result in results:
    found = result.comparison
    under = text.interval(found.low, found.high, sign=True) if found else ''
    spread = f'± {text.number(result.loss_std)}' if result.loss_std else ''
    rows.append(
      [
        page.cell(text.label(result.method)),
        page.cell(str(len(result.seeds))),
        page.cell(text.number(result.loss), spread),
        page.cell(text.signed(found.difference), under)
        if found
        else _baseline_cell(study, result),
        page.pill(found.verdict) if found else '',
        page.cell(text.flops(result.total_flops)),
        _speed(result.faster_flops),
        _even(study, result),
      ]
    )
  head = [
    'method',
    'seeds',
    'held-out loss',
    f'difference to {text.label(study.baseline or "baseline")}',
    'verdict',
    'total FLOPs',
    'speed-up',
    'scoring pays from',
  ]
  note = (
    'Loss: nats per target token, weighted by tokens, after the last step;'
    ' ± one standard deviation over seeds. Intervals: 95 %. Total FLOPs:'
    ' scoring and training. Speed-up: total FLOPs of the baseline until its'
    ' own final quality, divided by those of the method until that quality.'
  )
  return page.table(head, rows, note)


def _baseline_cell(study: artefacts.Study, result: results_lib.Result) -> str:
  """What stands where a method has no difference."""
  return 'baseline' if result.method == study.baseline else text.NONE


def _speed(found: cost.SpeedUp | None) -> str:
  """'1.32 x' over its interval, or how many seeds got there."""
  if found is None or not found.num_seeds:
    return text.NONE
  if found.ratio is None:
    count = f'{found.num_reached} of {found.num_seeds} seeds'
    return page.cell('not reached', count if found.num_reached else '')
  ends = text.interval(found.low, found.high, 2)
  under = ends if ends != text.NONE else 'one seed'
  return page.cell(f'{text.number(found.ratio, 2)} ×', under)


def _even(study: artefacts.Study, result: results_lib.Result) -> str:
  """The run from which scoring has paid for itself."""
  if result.method == study.baseline or result.reach_flops is None:
    return text.NONE
  if not result.scoring_flops:
    return page.cell('no scoring' if result.scoring_flops == 0 else text.NONE)
  if result.break_even is None:
    return page.cell('never')
  return page.cell(f'run {result.break_even:,}')


def cost_table(
  study: artefacts.Study, results: Sequence[results_lib.Result]
) -> str:
  """Where the operations and the time went."""
  shown = [r for r in results if r.training_flops is not None]
  if not shown:
    return ''
  rows = [
    [
      page.cell(text.label(r.method)),
      page.cell(text.flops(r.scoring_flops)),
      page.cell(text.flops(r.training_flops)),
      page.cell(text.number(r.steps, 0)),
      page.cell(_reached(r.reach_steps, r, 0)),
      page.cell(_reached(r.reach_flops, r, None)),
      _speed(r.faster_steps),
      page.cell(text.seconds(r.seconds)),
    ]
    for r in shown
  ]
  head = [
    'method',
    'scoring',
    'training',
    'steps',
    'steps to full-data quality',
    'training to full-data quality',
    'speed-up in steps',
    'training time',
  ]
  note = (
    'Means over seeds. Full-data quality: the held-out loss at which'
    f' {text.label(study.baseline or "the baseline")} ended, same seed; curves'
    ' are read with straight lines between evaluations and count as soon as'
    ' they first fall to it.'
  )
  return page.table(head, rows, note)


def _reached(
  value: float | None, result: results_lib.Result, digits: int | None
) -> str:
  if value is not None:
    return text.flops(value) if digits is None else text.number(value, digits)
  compared = result.faster_steps is not None
  return 'not reached' if compared else text.NONE


def perplexity_table(study: artefacts.Study) -> str:
  """Held-out perplexity per domain and method, mean over seeds."""
  found = figures_outcome.perplexities(study)
  if not found:
    return ''
  methods = list(found)
  names = list(dict.fromkeys(name for rows in found.values() for name in rows))
  rows = []
  for name in names:
    first = next(found[m][name][0] for m in methods if name in found[m])
    values = [
      _perplexity([row.loss for row in found[method].get(name, [])])
      for method in methods
    ]
    rows.append(
      [
        page.cell(text.label(name)),
        page.cell(f'{first.num_documents:,}'),
        page.cell(f'{first.num_tokens:,}'),
        *(page.cell(text.number(value, 2)) for value in values),
      ]
    )
  head = ['domain', 'documents', 'tokens', *map(text.label, methods)]
  note = (
    'exp of the token-weighted mean held-out loss, averaged over seeds before'
    ' the exponential; lower is better.'
  )
  return page.table(head, rows, note)


def _perplexity(losses: Sequence[float]) -> float | None:
  if not losses:
    return None
  with np.errstate(over='ignore'):
    return float(np.exp(np.mean(losses)))


def provenance(study: artefacts.Study, own_command: str) -> str:
  """Commands, versions, settings, seeds and skipped rows of every folder."""
  folders = [
    *((s.path, s.manifest) for s in study.scores),
    *((s.path, s.manifest) for s in study.selections),
    *((m.path, m.manifest) for m in study.mixtures),
    *((r.path, r.manifest) for r in study.runs),
  ]
  rows = []
  for path, content in folders:
    seed = artefacts.setting(content, 'seed')
    rows.append(
      [
        page.cell(path),
        page.cell(str(content.get('kind', ''))),
        page.cell(str(content.get('version', text.NONE))),
        page.cell(text.NONE if seed is None else str(seed)),
        page.cell(str(content.get('num_rows', text.NONE))),
        page.cell(_skipped(content)),
        page.cell(text.flops(artefacts.cost(content, 'flops'))),
        page.cell(
          text.seconds(artefacts.cost(content, 'seconds')), _device(content)
        ),
        page.cell(str(content.get('created', text.NONE))[:16]),
      ]
    )
  head = ['folder', 'kind', 'version', 'seed', 'rows', 'skipped', 'cost']
  whole = page.table([*head, 'time', 'created'], rows)
  details = ''.join(_details(path, content) for path, content in folders)
  own = f'<p class="note">This page: <code>{esc(own_command)}</code></p>'
  return whole + own + details


def _skipped(content: Mapping[str, Any]) -> str:
  """Skipped rows by reason."""
  skipped = content.get('skipped')
  if not isinstance(skipped, dict) or not skipped:
    return '0'
  return ', '.join(f'{count} {reason}' for reason, count in skipped.items())


def _device(content: Mapping[str, Any]) -> str:
  costs = content.get('cost')
  return str(costs.get('device', '')) if isinstance(costs, dict) else ''


def _details(path: str, content: Mapping[str, Any]) -> str:
  """Command, settings, inputs and diagnostics of one folder."""
  command = artefacts.command(content)
  rest = {
    name: content[name]
    for name in ('settings', 'inputs', 'diagnostics')
    if content.get(name)
  }
  body = json.dumps(rest, indent=2, ensure_ascii=False, default=str)
  return (
    f'<details><summary>{esc(path)}</summary><pre>{esc(command)}</pre>'
    f'<pre>{esc(body)}</pre></details>'
  )
