"""Figures of what was gained where, and at what cost."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxcurate.evaluate import held_out
from jaxcurate.report import artefacts, figures_runs, plotting, text
from jaxcurate.report import results as results_lib

_MAX_DOMAINS = 15
HIGH_QUALITY = 'high quality'


def named_sets(study: artefacts.Study) -> dict[str, list[str]]:
  """The high-quality set of held-out domains, if a run names one.

  The setting `high_quality` of a run is a domain, a list of domains, or a
  mapping from the set's name to its domains.

  Args:
    study: what was found.

  Returns:
    Name -> domains.
  """
  for run in study.runs:
    chosen = artefacts.setting(run.manifest, 'high_quality')
    if isinstance(chosen, Mapping):
      return {str(k): list(map(str, v)) for k, v in chosen.items()}
    if chosen:
      domains = [chosen] if isinstance(chosen, str) else list(map(str, chosen))
      return {f'{HIGH_QUALITY} ({", ".join(domains)})': domains}
  return {}


def perplexities(
  study: artefacts.Study,
) -> dict[str, dict[str, list[held_out.HeldOut]]]:
  """Held-out tables: method -> group -> one row per seed."""
  sets = named_sets(study)
  found: dict[str, dict[str, list[held_out.HeldOut]]] = {}
  for method, runs in study.methods().items():
    for run in runs:
      documents = run.documents
      if documents is None:
        continue
      for row in held_out.perplexity_table(
        documents.domain, documents.loss, documents.tokens, sets=sets
      ):
        groups = found.setdefault(method, {})
        groups.setdefault(row.name, []).append(row)
  return found


def domain_differences(study: artefacts.Study) -> plotting.Figure | None:
  """Difference to the baseline in every held-out domain, with intervals."""
  methods = study.methods()
  full = methods.pop(study.baseline or '', [])
  sizes: dict[str, int] = {}
  for run in full[:1]:
    if run.documents is not None:
      names = held_out.domain_names(run.documents.domain)
      for name, tokens in zip(names, run.documents.tokens, strict=True):
        sizes[name] = sizes.get(name, 0) + int(tokens)
  domains = sorted(sizes, key=lambda name: (-sizes[name], name))[:_MAX_DOMAINS]
  found = {}
  for method, runs in methods.items():
    rows = {name: results_lib.difference(runs, full, name) for name in domains}
    found[method] = {k: v for k, v in rows.items() if v is not None}
  found = {method: rows for method, rows in found.items() if rows}
  if not found or len(domains) < 2:
    return None
  colors = plotting.method_colors(list(study.methods()), study.baseline)
  pitch = 0.7 / len(found)

  def paint(canvas: Any) -> None:
    axes = canvas.subplots()
    axes.axvline(0, color=plotting.GRAY, linewidth=1)
    for k, (method, rows) in enumerate(found.items()):
      for name, row in rows.items():
        y = domains.index(name) + (k - (len(found) - 1) / 2) * pitch
        axes.plot([row.low, row.high], [y, y], color=colors[method], alpha=0.75)
        axes.plot(row.difference, y, 'o', color=colors[method], markersize=4)
    axes.set_yticks(range(len(domains)), [text.label(name) for name in domains])
    axes.set_ylim(len(domains) - 0.5, -0.5)
    for y in np.arange(len(domains) - 1) + 0.5:
      axes.axhline(y, color=plotting.GRAY, alpha=0.2, linewidth=0.7)
    axes.grid(axis='x')
    base = text.label(study.baseline)
    axes.set_xlabel(figures_runs.DIFFERENCE.format(base))
    figures_runs.legend(canvas, list(found), colors)

  height = 1.3 + len(domains) * max(0.4, 0.17 * len(found))
  return plotting.draw(
    'held_out_domains',
    title='Difference in held-out loss by domain',
    caption=(
      'As the figure of all documents, within each held-out domain, largest'
      f' first (at most {_MAX_DOMAINS}). So many intervals hold a few misses by'
      ' chance: read patterns, not single lines.'
    ),
    data={
      'unit': 'nats per token',
      'methods': {
        method: {name: row._asdict() for name, row in rows.items()}
        for method, rows in found.items()
      },
    },
    commands=figures_runs.commands_of(study.runs),
    size=(9.4, height),
    paint=paint,
  )


def cost_bars(
  study: artefacts.Study, results: Sequence[results_lib.Result]
) -> plotting.Figure | None:
  """Scoring and training FLOPs until full-data quality, per method."""
  shown = [r for r in results if r.training_flops is not None]
  if not shown or study.baseline is None:
    return None
  colors = plotting.method_colors(list(study.methods()), study.baseline)
  data = {}
  for result in shown:
    reached = result.reach_flops is not None
    spent = result.reach_flops if reached else result.training_flops
    data[result.method] = {
      'scoring_flops': result.scoring_flops,
      'training_flops': spent,
      'reached': reached,
    }

  def paint(canvas: Any) -> None:
    axes = canvas.subplots()
    for row, (method, bar) in enumerate(data.items()):
      scoring = bar['scoring_flops'] or 0.0
      axes.barh(
        row,
        scoring,
        0.6,
        color=colors[method],
        alpha=0.45,
        hatch='////',
        edgecolor='white',
        linewidth=0,
      )
      axes.barh(
        row,
        bar['training_flops'],
        0.6,
        left=scoring,
        color=colors[method] if bar['reached'] else 'none',
        edgecolor=colors[method],
        linestyle='-' if bar['reached'] else '--',
      )
      total = scoring + bar['training_flops']
      note = text.flops(total) + ('' if bar['reached'] else ', not reached')
      axes.annotate(
        note,
        (total, row),
        xytext=(5, 0),
        textcoords='offset points',
        va='center',
        fontsize=8.5,
      )
    axes.set_yticks(range(len(data)), [text.label(name) for name in data])
    axes.set_ylim(len(data) - 0.4, -0.6)
    axes.margins(x=0.22)
    axes.set_xlim(left=0)
    axes.grid(axis='x')
    plotting.flop_axis(axes.xaxis)

  return plotting.draw(
    'cost',
    title='What it costs to reach full-data quality',
    caption=(
      'Hatched: scoring the corpus, paid once. Solid: training until the'
      ' held-out loss first falls to where'
      f' {text.label(study.baseline)} ended (mean over seeds). Dashed outline:'
      ' the whole run, where not every seed got there.'
    ),
    data={'unit': 'FLOPs', 'methods': data},
    commands=[
      *figures_runs.commands_of(study.runs),
      *(artefacts.command(s.manifest) for s in study.scores),
    ],
    size=(9.4, 1.0 + 0.42 * len(shown)),
    paint=paint,
  )
